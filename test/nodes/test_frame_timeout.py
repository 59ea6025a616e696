# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The thread that looks at the frame in work when its time is up."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

import pytest

from ad_compressed_perception.nodes import frame_timeout
from ad_compressed_perception.nodes.frame_timeout import FrameTimeout

PATIENCE_S = 30.0


def looks(timeout_of: Callable[[int], float], enough: int) -> list[float]:
    """Return when the first looks were."""
    times: list[float] = []
    done = Event()

    def look() -> float:
        times.append(time.monotonic())
        if len(times) >= enough:
            done.set()
        return timeout_of(len(times))

    watching = FrameTimeout(look)
    assert done.wait(PATIENCE_S)
    watching.stop()
    return times[:enough]


def test_it_looks_again_when_it_was_asked_to_and_not_before() -> None:
    times = looks(lambda number: 0.05, 5)
    assert all(after - before >= 0.049 for before, after in zip(times[:-1], times[1:], strict=True))


def test_it_goes_on_after_a_look_that_failed_and_waits_for_ever_where_nothing_is_timed() -> None:
    def look(number: int) -> float:
        if number == 1:
            raise RuntimeError("no worker yet")
        return 0.001

    assert len(looks(look, 3)) == 3
    woken = Event()
    idle = FrameTimeout(lambda: woken.set() or float("inf"))
    assert woken.wait(PATIENCE_S)
    woken.clear()
    idle.wake()
    assert woken.wait(PATIENCE_S)
    idle.stop()


def test_a_process_that_stood_still_gives_its_frame_time_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGSTOP or a frozen container: the clock jumps by more than was waited."""
    now_s, slept = [0.0], []

    def monotonic() -> float:
        now_s[0] += 5.0
        return now_s[0]

    monkeypatch.setattr(frame_timeout, "monotonic", monotonic)
    monkeypatch.setattr(frame_timeout, "sleep", slept.append)
    looks(lambda number: 0.001, 3)
    assert slept[:2] == [0.1, 0.1]
