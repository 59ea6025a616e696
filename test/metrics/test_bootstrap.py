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
)

_VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


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


def test_no_values_give_nan() -> None:
    """No values give NaN, which is no data, and one value gives itself."""
    assert all(math.isnan(bound) for bound in bootstrap_interval([]))
    assert all(math.isnan(bound) for bound in paired_bootstrap(0, lambda _: 1.0))
    assert bootstrap_interval([2.5]) == (2.5, 2.5)


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
    """Every index exists, every row has the sample's size, and a block is a run of neighbors."""
    rows = np.concatenate(list(resample_indices(samples, resamples, 0, block)))
    assert rows.shape == (resamples, samples)
    assert rows.min() >= 0 and rows.max() < samples
    run = min(block, samples)
    steps = np.diff(rows[:, :run], axis=1)
    assert (steps == 1).all()
