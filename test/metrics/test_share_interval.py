# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Intervals of shares over the frames of a drive: against SciPy, and how often they hold the true share."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ad_compressed_perception.metrics.beta_quantile import beta_probability, beta_quantile, t_quantile
from ad_compressed_perception.metrics.share_interval import (
    clopper_pearson,
    independent_frames,
    share_intervals,
    widening,
)


def of_mean(values: NDArray[np.float64], trials: float | None = None) -> tuple[float, float]:
    (interval,) = share_intervals(
        np.stack([values, np.ones_like(values)], axis=1),
        lambda sums: sums[:, :1] / sums[:, 1:],
        trials=None if trials is None else [trials],
    )
    return interval


@settings(deadline=None)  # the first call imports scipy
@given(st.floats(0.01, 0.99), st.floats(0.05, 5000.0), st.floats(0.05, 5000.0))
def test_beta_and_t_quantiles_agree_with_scipy(probability: float, a: float, b: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert beta_probability(probability, a, b) == pytest.approx(stats.beta.cdf(probability, a, b), abs=1e-9)
    assert beta_quantile(probability, a, b) == pytest.approx(stats.beta.ppf(probability, a, b), abs=1e-9)
    assert t_quantile(0.95, 1.0 + a) == pytest.approx(stats.t.ppf(0.975, 1.0 + a), rel=1e-6)


@settings(deadline=None)
@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_binomial_interval_agrees_with_scipy(counts: tuple[int, int]) -> None:
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.binomtest(*counts).proportion_ci(0.95, method="exact")
    assert clopper_pearson(*counts) == pytest.approx((theirs.low, theirs.high), abs=1e-8)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60))
def test_an_interval_lies_in_0_to_1_around_its_share(values: list[float]) -> None:
    shares = np.array(values)
    low, high = of_mean(shares, trials=float(len(shares)))
    assert 0.0 <= low <= shares.mean() + 1e-9
    assert shares.mean() - 1e-9 <= high <= 1.0


@pytest.mark.parametrize(("correlation", "least"), [(0.0, 0.93), (0.8, 0.90)])
def test_the_interval_holds_the_true_share_of_correlated_frames(correlation: float, least: float) -> None:
    """600 drives of 100 frames; coverage of 95 % has a deviation of 0.9 % there.

    A loss of 8 % on average that difficulty scales, correlated over five frames (0.8^5 = 0.33). Blocks of
    n^(1/3) neighbors (5) of a percentile bootstrap hold it in 71 % of such drives.
    """
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(600):
        hard = rng.standard_normal(100)
        for place in range(1, 100):
            hard[place] = correlation * hard[place - 1] + math.sqrt(1 - correlation**2) * hard[place]
        low, high = of_mean(0.08 * np.exp(0.5 * hard - 0.125))
        inside += low <= 0.08 <= high
    assert inside / 600 >= least


def test_frames_that_all_agree_leave_the_doubt_of_their_number() -> None:
    """Rule of three: 0 of n is at most 1 - 0.025^(1/n), 0.036 for 100 and 0.168 for 20."""
    assert of_mean(np.zeros(100), trials=100.0) == pytest.approx((0.0, 0.0362), abs=1e-4)
    assert of_mean(np.ones(20), trials=20.0) == pytest.approx((1.0 - 0.1684, 1.0), abs=1e-4)
    assert of_mean(np.zeros(100)) == (0.0, 0.0), "trials unknown"


def test_clusters_of_extremes_count_as_fewer_frames() -> None:
    """Ten large offsets in one bend are about one event: r = 0.89, 100 (1 - r) / (1 + r) = 6 frames."""
    offsets = np.random.default_rng(0).uniform(0.0, 0.01, 100)
    apart = offsets.copy()
    apart[5::10] = 0.05
    together = offsets.copy()
    together[40:50] = 0.05
    assert independent_frames(apart) == 100.0
    assert independent_frames(together) == pytest.approx(5.9, abs=0.5)


def test_one_frame_that_decides_alone_leaves_everything_open() -> None:
    """A label that one frame has: without that frame there is no figure."""
    lost_of_pixels = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 10.0], [0.0, 0.0]])

    def shares(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        lost, pixels = sums.T
        first = np.divide(lost, pixels, out=np.full(len(sums), np.nan), where=pixels > 0)
        return np.stack([first, np.full(len(sums), np.nan)], axis=1)

    first, second = share_intervals(lost_of_pixels, shares)
    assert first == (0.0, 1.0)
    assert all(math.isnan(bound) for bound in second)


def test_a_ratio_of_sums_has_the_interval_of_its_linear_part() -> None:
    """F1-like: lost / objects, frames of 1 and 9 objects; deviation by the delta method, independent frames.

    s = std(lost - r objects) / (mean(objects) sqrt(n)). Student's t of 27 degrees makes the width 1.05 times
    2 * 1.96 s; that of one drive deviates by 14 %, the mean of 40 by 2 %.
    """
    rng = np.random.default_rng(4)
    ratios = []
    for _ in range(40):
        objects = rng.choice([1.0, 9.0], 400)
        lost = rng.binomial(objects.astype(int), 0.2).astype(float)
        parts = np.stack([lost, objects], axis=1)
        ((low, high),) = share_intervals(parts, lambda sums: sums[:, :1] / sums[:, 1:])
        deviation = np.std(lost - lost.sum() / objects.sum() * objects) / objects.mean() / 20.0
        ratios.append((high - low) / (2.0 * 1.96 * deviation))
    assert 0.97 <= np.mean(ratios) <= 1.15


def test_times_that_drift_widen_the_interval_of_their_ratio() -> None:
    """Independent frames: Student's t of 11 degrees / 1.96 = 1.12, and more where they correlate by chance.

    A first-order series of r = 0.8 has the variance (1 + r) / (1 - r) = 9 times as large, its signs about 5
    times (their correlation is 2 asin(r) / pi = 0.59): a factor of 2.2 and Student's t.
    """
    rng = np.random.default_rng(0)
    factors: dict[float, list[float]] = {0.0: [], 0.8: []}
    for correlation, found in factors.items():
        for _ in range(50):
            series = rng.standard_normal(100)
            for place in range(1, 100):
                series[place] += correlation * series[place - 1]
            found.append(widening(series))
    assert 1.1 <= np.mean(factors[0.0]) <= 1.4
    assert 2.0 <= np.mean(factors[0.8]) <= 4.0
    assert widening(np.ones(100)) == 1.0
