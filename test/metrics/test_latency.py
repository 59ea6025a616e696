# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Latency statistics: percentiles, rate and deadlines on hand-computed cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.metrics.latency import (
    DeadlineTracker,
    LatencyWindow,
    RateTracker,
    percentiles,
)


def test_nothing_measured_is_nan_and_count_zero() -> None:
    window = LatencyWindow()
    for found in (window.recent(), window.total()):
        assert found.count == 0
        assert all(math.isnan(value) for value in (found.p50, found.p95, found.p99, found.max))
    assert math.isnan(window.mean)


def test_percentiles_interpolate_between_ranks() -> None:
    # 0..100: rank of the p-th percentile is p itself.
    found = percentiles(list(range(101)))
    assert (found.p50, found.p95, found.p99, found.max) == (50.0, 95.0, 99.0, 100.0)
    # Of two values the median lies half way between them.
    assert percentiles([1.0, 2.0]).p50 == 1.5


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80))
def test_percentiles_are_those_of_numpy(values: list[float]) -> None:
    """np.percentile takes three times as long, and the monitor computes about a hundred a second."""
    found = percentiles(values)
    assert (found.p50, found.p95, found.p99) == pytest.approx(
        np.percentile(values, (50.0, 95.0, 99.0)), rel=1e-12
    )
    assert (found.max, found.count) == (max(values), len(values))


def test_recent_is_a_window_and_total_is_not() -> None:
    window = LatencyWindow(recent=2)
    for value in (100.0, 1.0, 2.0):
        window.add(value)
    assert window.recent().max == 2.0
    assert window.recent().count == 2
    assert window.total().max == 100.0
    assert window.total().count == 3


def test_what_was_not_measured_is_not_counted() -> None:
    window = LatencyWindow()
    window.add(math.nan)
    window.add(math.inf)
    window.add(3.0)
    assert window.total().count == 1


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.integers(2, 33))
def test_long_runs_keep_an_even_sample_and_exact_extremes(values: list[float], capacity: int) -> None:
    window = LatencyWindow(recent=1, capacity=capacity)
    for value in values:
        window.add(value)
    total, kept = window.total(), window.values()
    assert total.count == len(values)
    assert total.max == max(values)
    assert window.min == min(values)
    assert len(kept) <= capacity
    assert window.exact == (len(values) <= capacity)
    # The sample is every k-th value from the first on, k a power of two.
    step = next(2**n for n in range(9) if np.array_equal(values[:: 2**n], kept))
    assert (step == 1) == window.exact


def test_rate_of_a_steady_stream() -> None:
    # 11 events from 0.0 to 1.0 s: 10 intervals of 0.1 s are 10 Hz.
    rate = RateTracker(window_s=1.0)
    for index in range(11):
        rate.add(index / 10)
    assert rate.total_hz == pytest.approx(10.0)
    assert rate.recent_hz(1.0) == pytest.approx(10.0)


def test_rate_falls_to_zero_when_the_stream_stops() -> None:
    rate = RateTracker(window_s=1.0)
    assert math.isnan(rate.recent_hz(0.0))
    rate.add(0.0)
    assert math.isnan(rate.total_hz)
    rate.add(0.5)
    assert rate.recent_hz(10.0) == 0.0
    assert rate.total_hz == pytest.approx(2.0)


def test_deadline_counts_misses_and_their_longest_run() -> None:
    deadline = DeadlineTracker(50.0)
    # Exactly the deadline is in time; a value without an age is not checked and does not end the run.
    for value in (50.0, 60.0, math.nan, 70.0, 10.0, 51.0):
        deadline.add(value)
    assert deadline.misses == 3
    assert deadline.longest_run == 2
    assert deadline.miss_rate == pytest.approx(3 / 5)


def test_no_deadline_misses_nothing() -> None:
    deadline = DeadlineTracker(None)
    assert not deadline.add(1e9)
    assert deadline.misses == 0
    assert math.isnan(deadline.miss_rate)


@pytest.mark.parametrize("deadline_ms", [0.0, -1.0, math.nan])
def test_a_deadline_must_lie_in_the_future(deadline_ms: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        DeadlineTracker(deadline_ms)


@given(st.lists(st.booleans(), max_size=60))
def test_longest_run_is_that_of_the_misses(missed: list[bool]) -> None:
    deadline = DeadlineTracker(10.0)
    for late in missed:
        deadline.add(20.0 if late else 5.0)
    runs = "".join("x" if late else " " for late in missed).split()
    assert deadline.longest_run == max((len(run) for run in runs), default=0)
    assert deadline.misses == sum(missed)
