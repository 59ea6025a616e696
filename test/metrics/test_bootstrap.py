# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bootstrap intervals: width, reproducibility, pairing and blocks of correlated samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.metrics.bootstrap import (
    bootstrap_interval,
    paired_bootstrap,
    percentile_interval,
    resample_indices,
    vector_bootstrap,
)

_VALUES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40)


@given(_VALUES)
def test_interval_of_the_mean_lies_within_the_values(values: list[float]) -> None:
    """A mean of drawn values cannot leave their range."""
    low, high = bootstrap_interval(values, resamples=50)
    tolerance = 1e-6 * max(1.0, max(map(abs, values)))
    assert min(values) - tolerance <= low <= high <= max(values) + tolerance


@given(_VALUES)
def test_vectorized_and_row_by_row_agree(values: list[float]) -> None:
    """np.mean takes an axis, the lambda does not; both must see the same resamples."""
    fast = bootstrap_interval(values, np.mean, resamples=30)
    slow = bootstrap_interval(values, lambda row: np.mean(row), resamples=30)
    assert fast == pytest.approx(slow)


def test_width_matches_the_theory_of_the_mean() -> None:
    """For 400 normal values the 95 % interval of the mean is 2 * 1.96 * sigma / sqrt(400) wide."""
    values = np.random.default_rng(1).normal(0.0, 1.0, 400)
    low, high = bootstrap_interval(values, resamples=2000)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20.0, rel=0.1)
    assert low < values.mean() < high


def test_same_seed_same_interval() -> None:
    """Reports must be reproducible, and another seed must really draw anew."""
    values = np.arange(50.0)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_less_than_two_values_give_nan() -> None:
    """Every resample of one value is that value: an interval without width would pass for certainty."""
    assert all(math.isnan(bound) for bound in bootstrap_interval([]))
    assert all(math.isnan(bound) for bound in paired_bootstrap(0, lambda _: 1.0))
    assert all(math.isnan(bound) for bound in bootstrap_interval([2.5]))
    assert all(math.isnan(bound) for bound in paired_bootstrap(1, lambda _: 1.0))
    assert np.isnan(vector_bootstrap(1, lambda drawn: [1.0, float(drawn[0])])).tolist() == [[True] * 2] * 2


def test_undefined_resamples_are_left_out() -> None:
    """A resample without the class (NaN) is left out of the interval."""
    assert percentile_interval([1.0, math.nan, 1.0]) == (1.0, 1.0)


def test_pairing_cancels_the_common_difficulty() -> None:
    """Two variants 0.1 apart on every frame differ by 0.1, however hard the frames are."""
    hardness = np.random.default_rng(0).normal(0.0, 10.0, 60)
    worse = hardness + 0.1
    low, high = paired_bootstrap(60, lambda i: float(worse[i].mean() - hardness[i].mean()))
    assert (low, high) == pytest.approx((0.1, 0.1))


def test_blocks_widen_the_interval_of_a_correlated_series() -> None:
    """A slow wave has far fewer independent parts than samples; single draws ignore that."""
    wave = np.sin(np.linspace(0.0, 6.0 * np.pi, 600))
    single = paired_bootstrap(600, lambda i: float(wave[i].mean()), resamples=300)
    blocks = paired_bootstrap(600, lambda i: float(wave[i].mean()), resamples=300, block_length=60)
    assert blocks[1] - blocks[0] > 3.0 * (single[1] - single[0])


@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 60))
def test_indices_are_valid_and_come_in_runs(samples: int, resamples: int, block: int) -> None:
    """Every index exists, every row has the sample's size, and a block is a run of neighbors on a circle."""
    rows = np.concatenate(list(resample_indices(samples, resamples, 0, block)))
    assert rows.shape == (resamples, samples)
    assert rows.min() >= 0 and rows.max() < samples
    run = min(block, samples)
    steps = np.diff(rows[:, :run], axis=1)
    assert (steps % samples == 1 % samples).all()


def test_every_sample_is_drawn_equally_often() -> None:
    """In blocks of 20 of 50 samples, the first one as often as one in the middle.

    4,000 resamples of 50 draw each sample 4,000 times on average. The draws of one sample come from 3 blocks
    a resample, so the count's deviation is about sqrt(4,000 * 3 * 0.4 * 0.6) = 54; six times that are 8 %.
    """
    counts = np.zeros(50)
    for indices in resample_indices(50, 4000, seed=0, block_length=20):
        counts += np.bincount(indices.ravel(), minlength=50)
    assert np.abs(counts / 4000 - 1.0).max() < 0.08


def test_blocks_go_on_at_the_beginning() -> None:
    indices = next(resample_indices(10, 200, seed=1, block_length=5))
    blocks = indices.reshape(200, 2, 5)
    assert ((blocks[..., 1:] - blocks[..., :-1]) % 10 == 1).all()
    assert (blocks[..., 0] > 5).any()


def test_independent_samples_agree_with_scipy() -> None:
    """The same percentile method, drawn by somebody else's code; 1 % of the width is its resampling noise."""
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(2).gamma(2.0, 1.0, 300)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    low, high = bootstrap_interval(values, resamples=20_000)
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.05 * (high - low))


def test_circular_blocks_agree_with_scipy() -> None:
    """Where blocks divide the samples, a resample's mean is that of n/L of the n circular block means.

    scipy resamples these block means as independent values; its standard error is for n of them, ours for
    n/L, so ours is sqrt(L) times as large.
    """
    stats = pytest.importorskip("scipy.stats")
    n, length = 240, 12
    noise = np.random.default_rng(3).normal(0.0, 1.0, n)
    series = np.convolve(np.concatenate([noise[-9:], noise]), np.ones(10) / 10.0, "valid")
    block_means = np.array([np.take(series, np.arange(i, i + length) % n).mean() for i in range(n)])
    theirs = stats.bootstrap(
        (block_means,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0)
    ).standard_error
    drawn = np.concatenate(
        [series[rows].mean(axis=1) for rows in resample_indices(n, 20_000, seed=0, block_length=length)]
    )
    assert drawn.std() == pytest.approx(theirs * np.sqrt(length), rel=0.03)
