# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rolling windows against a naive oracle that keeps everything and filters by age."""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_compressed_perception.core.timing import OUTCOMES, FrameTiming, Outcome
from ad_compressed_perception.monitor.windows import FrameWindow, RollingWindow

# Quarters of a second are exact in binary, so that entries of exactly the window's age occur.
STEPS_S = st.integers(0, 24).map(lambda quarters: quarters / 4)
FRAMES = st.tuples(
    STEPS_S, st.sampled_from(OUTCOMES), st.floats(0.0, 500.0) | st.just(math.nan), st.floats(0.1, 400.0)
)


@settings(max_examples=60)
@given(steps_s=st.lists(STEPS_S, max_size=60), later_s=STEPS_S, window_s=st.sampled_from([1.0, 2.5, 10.0]))
def test_a_window_holds_what_is_younger_than_it_and_an_entry_of_exactly_its_age_is_out(
    steps_s: list[float], later_s: float, window_s: float
) -> None:
    found: RollingWindow[int] = RollingWindow(10.0)
    times_s = list(accumulate(steps_s))
    for index, at_s in enumerate(times_s):
        found.add(index, at_s)
    now_s = (times_s[-1] if times_s else 0.0) + later_s
    expected = [index for index, at_s in enumerate(times_s) if at_s > now_s - window_s]
    assert found.last(window_s, now_s) == expected


@settings(max_examples=60, deadline=None)
@given(frames=st.lists(FRAMES, max_size=60), later_s=STEPS_S)
def test_the_figures_of_a_node_are_those_of_the_frames_in_the_window(
    frames: list[tuple[float, Outcome, float, float]], later_s: float
) -> None:
    window = FrameWindow(100.0, (2.0, 10.0))
    times_s = list(accumulate(frame[0] for frame in frames))
    for at_s, (_, outcome, end_to_end_ms, infer_ms) in zip(times_s, frames, strict=True):
        processed = outcome == "processed"
        window.add(
            FrameTiming(
                1, outcome, {"infer": infer_ms} if processed else {}, end_to_end_ms if processed else math.nan
            ),
            at_s,
        )
    now_s = (times_s[-1] if times_s else 0.0) + later_s
    for window_s in (2.0, 10.0):
        report = window.report(window_s, now_s, 0.0)
        inside = [f for f, at_s in zip(frames, times_s, strict=True) if at_s > now_s - window_s]
        results = [frame for frame in inside if frame[1] == "processed"]
        for outcome in OUTCOMES:
            assert getattr(report, outcome) == sum(frame[1] == outcome for frame in inside)
        known = [frame[2] for frame in results if math.isfinite(frame[2])]
        assert report.end_to_end_ms.count == len(known)
        assert report.deadline_misses == sum(ms > 100.0 for ms in known)
        if known:
            assert report.end_to_end_ms.p95 == pytest.approx(np.percentile(known, 95))
            assert report.deadline_miss_share == pytest.approx(report.deadline_misses / len(known))
        if not inside:  # nothing of what was true before
            assert report.drop_share is None
            assert report.deadline_miss_share is None
            assert report.infer_ms.p50 is None
        else:
            assert report.drop_share == pytest.approx(1.0 - len(results) / len(inside))


def test_a_rate_falls_to_zero_and_a_window_says_how_much_of_it_was_watched() -> None:
    window = FrameWindow(None, (10.0,))
    for index in range(20):  # 20 Hz for a second
        window.add(FrameTiming(index, "processed", {"infer": 1.0}, 2.0), index / 20)
    assert window.report(10.0, 2.0, 0.0).rate_hz == pytest.approx(10.0), (
        "20 results in the two seconds so far"
    )
    assert window.report(10.0, 2.0, 0.0).span_s == 2.0
    assert window.report(10.0, 30.0, 0.0).rate_hz == 0.0
    assert window.report(10.0, 30.0, 0.0).span_s == 10.0


def test_too_many_entries_shorten_the_window_and_its_span_says_so() -> None:
    window: RollingWindow[int] = RollingWindow(60.0, capacity=100)
    for index in range(1000):  # 100 Hz for 10 s
        window.add(index, index / 100)
    assert window.last(60.0, 10.0) == list(range(900, 1000))
    assert window.span_s(60.0, 10.0, 0.0) == pytest.approx(10.0 - 8.99)


def test_the_slowest_frame_is_named_by_its_stamp() -> None:
    window = FrameWindow(None, (10.0,))
    window.add(FrameTiming(1, "processed", {"infer": 5.0}, 50.0), 0.0)
    window.add(FrameTiming(2, "processed", {"infer": 30.0}, 40.0), 1.0)
    window.add(FrameTiming(3, "failed", {}, math.nan), 2.0)
    assert window.slowest_stamp_ns(10.0, 2.0) == 1
    assert window.slowest_stamp_ns(10.0, 2.0, inference=True) == 2
    assert window.slowest_stamp_ns(10.0, 60.0) is None
