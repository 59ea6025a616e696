# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Every frame is counted once: received = processed + dropped_stale + dropped_busy + failed."""

from __future__ import annotations

import math
from threading import Event
from time import monotonic, sleep

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_compressed_perception.core.timing import FrameCounters, FrameTiming
from ad_compressed_perception.nodes.frame_slot import LatestFrameSlot
from ad_compressed_perception.nodes.worker import Arrival, FrameWorker, Processed


class FrameLog:
    """Stores every completed frame and the last counters."""

    def __init__(self) -> None:
        self.timings: list[FrameTiming] = []
        self.counters = FrameCounters()

    def __call__(self, timing: FrameTiming, counters: FrameCounters) -> None:
        self.timings.append(timing)
        if sum(counters.counts.values()) >= sum(self.counters.counts.values()):
            self.counters = counters

    def outcomes(self) -> dict[int, str]:
        return {timing.stamp_ns: timing.outcome for timing in self.timings}


def test_a_newer_frame_displaces_the_waiting_one_never_the_one_in_work() -> None:
    log, entered, leave = FrameLog(), Event(), Event()

    def process(arrival: Arrival) -> Processed:
        entered.set()
        assert leave.wait(30)
        return Processed({"infer": 1.0})

    worker = FrameWorker(process, log)
    worker.start()
    worker.offer(Arrival(None, 1, 0.0))
    assert entered.wait(30)
    worker.offer(Arrival(None, 2, 0.0))
    worker.offer(Arrival(None, 3, 0.0))
    assert log.outcomes() == {2: "dropped_busy"}
    entered.clear()
    leave.set()
    assert entered.wait(30)
    worker.stop()
    assert log.outcomes() == {1: "processed", 2: "dropped_busy", 3: "processed"}
    assert worker.counters().pending == 0


def test_a_waiting_frame_is_counted_when_the_node_is_deactivated() -> None:
    log, entered, leave = FrameLog(), Event(), Event()

    def process(arrival: Arrival) -> Processed:
        entered.set()
        assert leave.wait(30)
        return Processed({})

    worker = FrameWorker(process, log)
    worker.start()
    worker.offer(Arrival(None, 1, 0.0))
    assert entered.wait(30)
    worker.offer(Arrival(None, 2, 0.0))
    leave.set()
    worker.stop()
    worker.offer(Arrival(None, 3, 0.0))
    assert log.outcomes()[3] == "dropped_busy"
    counters = worker.counters()
    assert counters.received == 3
    assert counters.pending == 0


def test_a_frame_that_raises_is_failed_with_its_reason_and_the_next_one_runs() -> None:
    log, done = FrameLog(), Event()

    def process(arrival: Arrival) -> Processed:
        if arrival.stamp_ns == 1:
            raise ValueError("truncated JPEG")
        return Processed({"infer": 2.0})

    def on_frame_done(timing: FrameTiming, counters: FrameCounters) -> None:
        log(timing, counters)
        done.set()

    worker = FrameWorker(process, on_frame_done)
    worker.start()
    for stamp in (1, 2):
        done.clear()
        worker.offer(Arrival(None, stamp, 0.5))
        assert done.wait(30)
    worker.stop()
    assert log.outcomes() == {1: "failed", 2: "processed"}
    assert log.timings[0].reason == "ValueError: truncated JPEG"
    assert math.isnan(log.timings[0].end_to_end_ms)


def test_a_listener_that_raises_does_not_end_the_worker() -> None:
    reported, done = [], Event()

    def on_frame_done(timing: FrameTiming, counters: FrameCounters) -> None:
        reported.append(timing.stamp_ns)
        done.set()
        raise RuntimeError("the publisher is gone")

    worker = FrameWorker(lambda arrival: Processed({}), on_frame_done)
    worker.start()
    for stamp in (1, 2):
        done.clear()
        worker.offer(Arrival(None, stamp, 0.0))
        assert done.wait(30)
    worker.stop()
    assert reported == [1, 2]
    assert worker.counters().pending == 0


def test_an_old_frame_is_dropped_as_stale_only_when_an_age_limit_is_set() -> None:
    log, done = FrameLog(), Event()

    def on_frame_done(timing: FrameTiming, counters: FrameCounters) -> None:
        log(timing, counters)
        done.set()

    worker = FrameWorker(lambda arrival: Processed({}), on_frame_done)
    worker.start()
    hour_ms = 3.6e6
    for stamp, limit_ms in ((1, 0.0), (2, hour_ms / 2), (3, hour_ms * 2)):
        worker.max_age_ms = limit_ms
        done.clear()
        worker.offer(Arrival(None, stamp, hour_ms))
        assert done.wait(30)
    worker.stop()
    assert log.outcomes() == {1: "processed", 2: "dropped_stale", 3: "processed"}


def test_end_to_end_is_the_age_and_all_stages_and_unknown_without_an_age() -> None:
    log, done = FrameLog(), Event()

    def on_frame_done(timing: FrameTiming, counters: FrameCounters) -> None:
        log(timing, counters)
        done.set()

    stages = {"decode": 1.0, "prepare": 2.0, "infer": 3.0, "post": 4.0, "publish": 5.0}
    worker = FrameWorker(lambda arrival: Processed(dict(stages)), on_frame_done)
    worker.start()
    for stamp, age_ms in ((1, -7.0), (2, math.nan)):
        done.clear()
        worker.offer(Arrival(None, stamp, age_ms))
        assert done.wait(30)
    worker.stop()
    known, unknown = log.timings
    # A negative age (clocks apart) is kept, not clipped.
    assert known.stages_ms["transport_age"] == -7.0
    assert known.end_to_end_ms == pytest.approx(-7.0 + 15.0 + known.stages_ms["queue_wait"])
    assert "transport_age" not in unknown.stages_ms
    assert math.isnan(unknown.end_to_end_ms)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["good", "bad", "old"]), max_size=30))
def test_the_counters_account_for_every_arrival(kinds: list[str]) -> None:
    log = FrameLog()

    def process(arrival: Arrival) -> Processed:
        if arrival.message == "bad":
            raise RuntimeError("bad")
        return Processed({})

    worker = FrameWorker(process, log)
    worker.max_age_ms = 3.6e6
    worker.start()
    for index, kind in enumerate(kinds):
        worker.offer(Arrival(kind, index, 1e9 if kind == "old" else 0.0))
    worker.stop()
    counters = worker.counters()
    assert counters.received == len(kinds)
    assert counters.pending == 0
    assert sorted(log.outcomes()) == list(range(len(kinds)))


def test_a_closed_slot_returns_every_item() -> None:
    slot: LatestFrameSlot[int] = LatestFrameSlot()
    assert slot.put(1) is None
    assert slot.put(2) == 1
    assert slot.close() == 2
    assert slot.put(3) == 3
    assert slot.take() is None


def test_a_frame_that_another_thread_takes_over_is_not_dropped_for_its_age() -> None:
    """Failed before: with max_age_ms below the time-out the frame of a hung model was dropped as stale."""
    log, entered, leave = FrameLog(), Event(), Event()

    def process(arrival: Arrival) -> Processed:
        if not entered.is_set():
            entered.set()
            assert leave.wait(30)
        return Processed({"infer": 1.0})

    worker = FrameWorker(process, log)
    worker.max_age_ms = 5000.0
    worker.start()
    worker.offer(Arrival(None, 1, 0.0))
    assert entered.wait(30)
    worker.max_age_ms = 1e-6  # every age is beyond it now, without waiting

    assert worker.take_over(0.0)

    end = monotonic() + 30.0
    while not log.timings and monotonic() < end:
        sleep(0.005)
    leave.set()
    worker.stop()
    assert log.outcomes() == {1: "processed"}
