# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Stages in threads: order, errors of one frame, hung stages, and the end of it all; stages by script."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_compressed_perception.backends import stage_pipeline
from ad_compressed_perception.backends.base import Session
from ad_compressed_perception.backends.stage_pipeline import PipelineStage, StagePipeline
from ad_compressed_perception.core.errors import BackendError

PATIENCE_S = 30.0
Act = Callable[[int], None]


class Scripted(Session):
    """Adds 1 to its input; before that it does what a script says of the frame's number."""

    def __init__(self, source: str, target: str, act: Act) -> None:
        self.source, self.target, self.act = source, target, act
        self.closed = threading.Event()
        self.in_use = False

    def infer(self, feeds: Any) -> Any:
        assert not self.in_use, "one thread at a time"
        self.in_use = True
        try:
            self.act(int(feeds[self.source]) % 1000)
            return {self.target: feeds[self.source] + 1000}
        finally:
            self.in_use = False

    def layers(self) -> Any:
        return []

    def close(self) -> None:
        assert not self.in_use, "a session in use was closed"
        self.closed.set()


def nothing(number: int) -> None:
    """Do nothing."""


def pipeline(*acts: Act, depth: int = 0, timeout_s: float = 0.0) -> tuple[StagePipeline, list[Scripted]]:
    """Return a pipeline of x -> t0 -> t1 ... of as many stages as acts."""
    names = ["x", *(f"t{number}" for number in range(len(acts)))]
    sessions = [Scripted(names[i], names[i + 1], act) for i, act in enumerate(acts)]
    stages = [
        PipelineStage(
            f"stage {i + 1}", session, (session.source,), (session.target,), frozenset({names[i + 1]})
        )
        for i, session in enumerate(sessions)
    ]
    return StagePipeline(stages, names[-1:], depth or len(acts), timeout_s), sessions


def frame(number: int) -> dict[str, Any]:
    """Return the feeds of a frame."""
    return {"x": np.array(number)}


def ended(sessions: list[Scripted]) -> bool:
    """Whether every stage is released, soon."""
    return all(session.closed.wait(PATIENCE_S) for session in sessions)


@settings(max_examples=25)
@given(st.integers(1, 4), st.integers(0, 3), st.integers(0, 10_000))
def test_results_are_those_of_their_frames_and_come_in_order(stages: int, more: int, seed: int) -> None:
    rng = random.Random(seed)
    delays = [[rng.choice([0, 0, 0.001, 0.003]) for _ in range(20)] for _ in range(stages)]
    acts = [lambda number, own=own: time.sleep(own[number]) for own in delays]
    running, sessions = pipeline(*acts, depth=stages + more)
    done: list[int] = []
    futures: list[Future[Any]] = []
    for number in range(20):
        future = running.submit(frame(number))
        future.add_done_callback(lambda _, number=number: done.append(number))
        futures.append(future)
        # No more than the depth are in flight.
        assert sum(not one.done() for one in futures) <= stages + more
    assert [int(one.result(PATIENCE_S)[f"t{stages - 1}"]) for one in futures] == [
        number + 1000 * stages for number in range(20)
    ]
    running.close()
    assert done == list(range(20))
    assert ended(sessions)


def test_stages_are_at_work_on_different_frames_at_the_same_time() -> None:
    """The first stage's second frame waits for the second stage's first one: else nothing would end."""
    second_begins = threading.Event()

    def first(number: int) -> None:
        assert number == 0 or second_begins.wait(PATIENCE_S)

    def second(number: int) -> None:
        second_begins.set()
        if number == 0:
            assert first_is_in_second.wait(PATIENCE_S)

    first_is_in_second = threading.Event()
    running, _ = pipeline(lambda n: (first_is_in_second.set() if n == 1 else None, first(n))[1], second)
    futures = [running.submit(frame(number)) for number in (0, 1)]
    assert [int(one.result(PATIENCE_S)["t1"]) for one in futures] == [2000, 2001]
    running.close()


def fail(number: int) -> None:
    """Fail on every third frame, in two ways."""
    if number == 3:
        raise RuntimeError("the accelerator\nis gone")
    if number == 6:
        raise SystemExit(3)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_error_of_a_stage_is_that_of_its_frame_and_names_the_stage(place: int) -> None:
    acts = [nothing] * 3
    acts[place] = fail
    running, sessions = pipeline(*acts)
    futures = [running.submit(frame(number)) for number in range(9)]
    wait(futures, PATIENCE_S)
    errors = {number: str(one.exception(0)) for number, one in enumerate(futures) if one.exception(0)}
    assert errors == {
        3: f"stage {place + 1}: RuntimeError: the accelerator is gone",
        6: f"stage {place + 1}: SystemExit: 3",
    }
    assert all(isinstance(futures[number].exception(0), BackendError) for number in errors)
    running.close()
    assert ended(sessions)


def test_stage_that_lacks_an_output_is_named_not_the_one_after_it() -> None:
    running, sessions = pipeline(nothing, nothing)
    sessions[0].target = "other"
    with pytest.raises(BackendError, match="stage 1: it gave no output 't0'"):
        running.wait(running.submit(frame(0)))
    running.close()


def test_hung_stage_is_named_and_closing_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_pipeline, "_LOOK_PERIOD_S", 0.02)
    monkeypatch.setattr(stage_pipeline, "CLOSE_LIMIT_S", 0.2)
    released = threading.Event()
    running, sessions = pipeline(nothing, lambda number: released.wait(PATIENCE_S), timeout_s=0.1)
    first = running.submit(frame(0))
    with pytest.raises(BackendError, match=r"stage 2 has not returned for 0\.\d s \(timeout_s is 0\.1\)"):
        running.wait(first)
    with pytest.raises(BackendError, match="stage 2 has not returned"):
        running.submit(frame(1))
    running.close()
    with pytest.raises(BackendError, match="closed"):
        first.result(0)
    with pytest.raises(BackendError, match="stage 2 has not returned|closed"):
        running.submit(frame(2))
    assert sessions[0].closed.wait(PATIENCE_S) and not sessions[1].closed.is_set()
    released.set()  # a session in use is not released before it returns
    assert ended(sessions)


def test_closing_while_frames_are_in_work_ends_everything() -> None:
    earlier = threading.enumerate()
    running, sessions = pipeline(*[lambda number: time.sleep(0.01)] * 3, depth=9)
    futures = [running.submit(frame(number)) for number in range(9)]
    running.close()
    running.close()
    for future in futures:
        error = future.exception(PATIENCE_S)
        assert error is None or str(error) == "the stages were closed"
    assert futures[-1].exception(0) is not None
    assert ended(sessions)
    with pytest.raises(BackendError, match="closed"):
        running.submit(frame(0))
    gc.collect()
    later = [thread for thread in threading.enumerate() if thread not in earlier]
    assert not [thread for thread in later if thread.name.startswith("adcp-stage")]
