# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Throughput under load: what is submitted and counted; no test asserts a duration."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from ad_compressed_perception.analysis.throughput import Flow, flow_ratio, measure_flows
from ad_compressed_perception.backends.base import Session
from ad_compressed_perception.core.errors import BackendError


class Counting(Session):
    """Counts frames; with a depth above 1 it computes in a thread, later than submit returns."""

    def __init__(self, depth: int = 1, fails_at: int = -1) -> None:
        self.depth, self.fails_at = depth, fails_at
        self.frames: list[int] = []
        self._pool = ThreadPoolExecutor(1)

    def infer(self, feeds: Any) -> Any:
        self.frames.append(int(feeds["x"]))
        if len(self.frames) == self.fails_at:
            raise BackendError("stage 2 of 2 is gone")
        return feeds

    def submit(self, feeds: Any) -> Future[Any]:
        return super().submit(feeds) if self.depth == 1 else self._pool.submit(self.infer, feeds)

    def layers(self) -> Any:
        return []


FEEDS = [{"x": np.array(number)} for number in range(3)]


def test_each_session_gets_the_same_frames_and_every_round_counts_once() -> None:
    sessions: dict[str, Session] = {"one": Counting(), "stages": Counting(depth=2)}
    seen: list[tuple[int, int]] = []
    flows = measure_flows(
        sessions,
        dict.fromkeys(sessions, FEEDS),
        rounds=4,
        frames=3,
        advance=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(number, 4) for number in range(1, 5)]
    for name, session in sessions.items():
        # Of five rounds, the first one not counted: 3 frames alone, then 3 and as many as the depth twice.
        assert len(session.frames) == 5 * (3 + 3 + 2 * session.depth)
        assert set(session.frames) == {0, 1, 2}
        assert {len(values) for values in vars(flows[name]).values()} == {4}
        assert all(value > 0 for values in vars(flows[name]).values() for value in values)


@pytest.mark.parametrize("depth", [1, 2])
def test_frame_that_fails_is_an_error_and_no_figure(depth: int) -> None:
    """A session that fails at once would be the fastest of all."""
    with pytest.raises(BackendError, match="stage 2 of 2 is gone"):
        measure_flows({"one": Counting(depth, fails_at=9)}, {"one": FEEDS}, rounds=2, frames=3)


def test_ratio_above_one_is_more_frames_and_longer_latencies() -> None:
    stages = Flow([11.0] * 6, [12.0] * 6, [180.0] * 6)
    ratio = flow_ratio(stages, Flow([10.0] * 6, [10.0] * 6, [100.0] * 6))
    assert [round(one.value, 6) for one in (ratio.latency, ratio.loaded, ratio.throughput)] == [1.1, 1.2, 1.8]
