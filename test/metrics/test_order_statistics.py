# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Percentiles with a bound over a whole run, and runs of misses: against exact arithmetic and simulation."""

from __future__ import annotations

import math
import random
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_compressed_perception.metrics import run_distribution
from ad_compressed_perception.metrics.clock_steps import ClockSteps
from ad_compressed_perception.metrics.miss_runs import Fate, MissRuns
from ad_compressed_perception.metrics.order_statistics import frames_needed, values_above_bound
from ad_compressed_perception.metrics.run_distribution import RunDistribution


def test_frames_needed_are_those_of_the_largest_value() -> None:
    # 1 - 0.999^n >= 0.95 from n = 2995 on, 1 - 0.99^n from 299 on.
    assert (frames_needed(0.999), frames_needed(0.99)) == (2995, 299)
    assert values_above_bound(2994, 0.999) is None
    assert values_above_bound(2995, 0.999) == 0


@given(st.integers(1, 400), st.sampled_from([0.5, 0.9, 0.99]))
def test_the_bound_is_the_least_one_by_exact_sums(count: int, share: float) -> None:
    def probability(most: int) -> float:
        return sum(comb(count, k) * (1 - share) ** k * share ** (count - k) for k in range(most + 1))

    above = values_above_bound(count, share)
    if above is None:
        assert probability(0) > 0.05
    else:
        assert probability(above) <= 0.05 + 1e-9
        assert probability(above + 1) > 0.05 - 1e-9


@pytest.mark.parametrize("count", [3000, 20_000, 1_000_000])
def test_the_bound_covers_the_true_quantile_as_often_as_it_says(count: int) -> None:
    """Uniform values: only the m + 1 largest matter, and those are known without drawing the others.

    The share that lies above the value with m larger ones is Beta(m + 1, n - m); it covers p99.9 where that
    is at most 0.001. 4000 drawings of 95 % have a standard deviation of 0.35 %.
    """
    above = values_above_bound(count, 0.999)
    assert above is not None
    drawn = np.random.default_rng(5).beta(above + 1, count - above, 4000)
    covered = float((drawn <= 0.001).mean())
    assert covered >= 0.95 - 0.011
    # Not far too wide either: the next order statistic would fall short.
    if count > 3000:
        tighter = np.random.default_rng(5).beta(above + 2, count - above - 1, 4000)
        assert float((tighter <= 0.001).mean()) < 0.95 + 0.011


def test_a_long_run_forgets_nothing() -> None:
    """Failed before: a long run was sampled, and the one frame of a second's length was not in its p99.9."""
    values = np.random.default_rng(1).gamma(4.0, 5.0, 60_000)
    values[7] = 1000.0  # early, once
    run = RunDistribution()
    for value in values.tolist():
        run.add(value)
    total = run.total()
    assert not run.is_exact
    assert (total.count, total.max) == (60_000, 1000.0)
    # The 600 largest are among the exact ones; the median is binned.
    assert total.p99 == pytest.approx(np.percentile(values, 99.0), rel=1e-12)
    assert run.quantile(0.999) == pytest.approx(np.percentile(values, 99.9), rel=1e-12)
    assert total.p50 == pytest.approx(np.percentile(values, 50.0), rel=run_distribution.BIN_WIDTH)
    above = values_above_bound(60_000, 0.999)
    assert above is not None
    assert run.upper_bound(0.999) == np.sort(values)[-1 - above]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from([1.0, -1.0, 1e9]))
def test_every_rank_is_right_to_a_bin(seed: int, scale: float) -> None:
    """Ages are negative where a clock is wrong, and of years where a recording is played."""
    values = np.random.default_rng(seed).lognormal(3.0, 2.0, 20_000) * scale
    run = RunDistribution()
    for value in values.tolist():
        run.add(value)
    for share in (0.0, 0.01, 0.3, 0.5, 0.95, 1.0):
        assert run.quantile(share) == pytest.approx(np.quantile(values, share), rel=0.01)


# Runs of misses ---------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["in_time", "missed", "unknown"]), min_size=1, max_size=300), st.randoms())
def test_the_longest_run_is_that_in_the_order_of_stamps(fates: list[Fate], chance: random.Random) -> None:
    """A node reports a frame that was displaced before the older one in work: here up to 20 places early."""
    order = sorted(range(len(fates)), key=lambda place: place + chance.uniform(0.0, 20.0))
    runs = MissRuns()
    for place in order:
        runs.add(1000 + place, fates[place])
    text = "".join({"in_time": " ", "missed": "x", "unknown": ""}[fate] for fate in fates)
    longest, _, missed = runs.found()
    assert longest.frames == max(map(len, text.split(" ")))
    assert missed == text.count("x")


def test_a_run_has_the_stamps_of_its_ends_and_goes_on_over_unknown_ages() -> None:
    runs = MissRuns()
    for stamp, fate in enumerate(("missed", "in_time", "missed", "unknown", "missed", "in_time"), start=1):
        runs.add(stamp, fate)  # type: ignore[arg-type]
    longest, current, missed = runs.found()
    assert (longest.frames, longest.first_stamp_ns, longest.last_stamp_ns) == (2, 3, 5)
    assert (current.frames, missed) == (0, 3)


def test_a_recording_that_starts_again_is_no_reordering() -> None:
    runs = MissRuns()
    for _ in range(2):
        for stamp, fate in ((1, "in_time"), (2, "missed"), (3, "missed")):
            runs.add(stamp, fate)  # type: ignore[arg-type]
    assert runs.found()[0].frames == 2


# Clocks -----------------------------------------------------------------------------------------


def test_a_clock_that_is_set_differs_from_one_that_is_slewed() -> None:
    clock, start_ns = ClockSteps(), 1_700_000_000_000_000_000

    def at(seconds: float, offset_ms: float) -> float:
        return clock.step_ms(start_ns + int(seconds * 1e9 + offset_ms * 1e6), seconds, is_simulated=False)

    # 500 ppm over 100 s, at 10 Hz, are 50 ms in all and no step.
    assert not any(at(0.1 * n, 0.05 * n) for n in range(1000))
    assert at(100.0, 50.0 - 3000.0) == pytest.approx(-3000.0, abs=1.0)
    assert at(100.1, 50.0 - 3000.0) == 0.0
    assert at(100.2, 50.0) == pytest.approx(3000.0, abs=1.0)
    # A frame stamped before the step ahead has an age that is three seconds too long.
    assert clock.is_before_step(start_ns + int(98e9))
    assert not clock.is_before_step(start_ns + int(100.3e9))
    # Ten seconds later such a frame is old: its camera did not set its clock, or stands still.
    assert at(111.0, 50.0) == 0.0
    assert not clock.is_before_step(start_ns + int(98e9))


def test_simulated_time_may_run_fast_or_stand_still_and_steps_where_a_bag_loops() -> None:
    clock = ClockSteps()
    assert not any(clock.step_ms(int(n * 1e9), 0.1 * n, is_simulated=True) for n in range(1, 50))
    assert clock.step_ms(49_000_000_000, 8.0, is_simulated=True) == 0.0
    assert clock.step_ms(1_000_000_000, 8.1, is_simulated=True) == pytest.approx(-48_000.0)
    assert clock.step_ms(600_000_000_000, 8.2, is_simulated=True) > 0.0
    assert math.isfinite(clock.step_ms(0, 8.3, is_simulated=True))
