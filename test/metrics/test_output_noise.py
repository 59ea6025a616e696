# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Noise to signal of outputs against its definition, and the nonsense that it must not call good."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.metrics.output_channels import (
    CONSTANT,
    SHARES,
    channel_axes,
    informative_channels,
    kinds_of_channels,
)
from ad_compressed_perception.metrics.output_noise import (
    OutputNoise,
    cosine,
    decibels,
    frames_of_signal,
    noise_share,
)

SQUARE = (416, 416)


def noise_of(baseline: np.ndarray, variant: np.ndarray, *, is_whole: bool = False) -> OutputNoise:
    """Add (N, ...) frames."""
    found = OutputNoise(baseline[0], channel_axes(baseline[0].shape, SQUARE), is_whole=is_whole)
    for b, v in zip(baseline, variant, strict=True):
        found.add(b, v)
    return found


def share_of(found: OutputNoise) -> float:
    return float(noise_share(*found.sums().sum(axis=(0, 2))))


@given(st.integers(2, 12), st.integers(0, 2**32 - 1), st.floats(-1e3, 1e3))
def test_noise_to_signal_is_one_minus_r_squared(frames: int, seed: int, offset: float) -> None:
    """R^2 = 1 - sum (v - b)^2 / sum (b - mean over frames of b)^2, whatever grid or bias is added."""
    rng = np.random.default_rng(seed)
    baseline = rng.normal(offset, 1.0, (frames, 1, 5, 3))
    variant = baseline + rng.normal(0.0, 0.3, baseline.shape)
    expected = ((variant - baseline) ** 2).sum() / ((baseline - baseline.mean(axis=0)) ** 2).sum()
    assert share_of(noise_of(baseline, variant)) == pytest.approx(min(1.0, expected), rel=1e-6)


@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_the_mean_output_keeps_nothing(frames: int, seed: int) -> None:
    """It is the best that a file can return which ignores the image; over a grid of 0 to 400 too."""
    baseline = np.random.default_rng(seed).normal(0.0, 1.0, (frames, 1, 40, 6))
    baseline += np.linspace(0.0, 400.0, 40)[:, None]
    mean = np.broadcast_to(baseline.mean(axis=0), baseline.shape)
    assert share_of(noise_of(baseline, mean)) == pytest.approx(1.0)
    # The usual SQNR, over all numbers, sees the grid: above 40 dB.
    assert decibels(float(((mean - baseline) ** 2).sum() / (baseline**2).sum())) > 40.0


@given(st.integers(2, 30), st.integers(0, 2**32 - 1), st.floats(0.0, 0.4))
def test_one_id_everywhere_keeps_no_change_of_the_ids(frames: int, seed: int, share: float) -> None:
    """A mask of 90 % background is 90 % equal to nothing but background; of its changes that keeps none."""
    rng = np.random.default_rng(seed)
    baseline = (rng.random((frames, 1, 8, 16)) < share).astype(np.int64) * 7
    baseline[1, 0, 0, 0] = 7 - baseline[0, 0, 0, 0]
    found = noise_of(baseline, np.zeros_like(baseline), is_whole=True)
    noise, signal = found.sums().sum(axis=(0, 2))
    assert noise == np.count_nonzero(baseline)
    assert signal >= 1.0
    equal = 1.0 - sum(one[4] for one in found.totals) / baseline.size
    assert equal == pytest.approx(float((baseline == 0).mean()))
    exact = noise_of(baseline, baseline, is_whole=True)
    assert share_of(exact) == 0.0


def test_the_votes_follow_the_most_frequent_id() -> None:
    """Of ids 3, 3, 5, 3, 3 one frame differs from the most frequent: the one change there is to keep."""
    baseline = np.array([3, 3, 5, 3, 3]).reshape(5, 1, 1)
    found = noise_of(baseline, baseline, is_whole=True)
    assert found.sums()[:, 1, 0].tolist() == [0.0, 0.0, 1.0, 0.0, 0.0]


def test_a_frame_without_a_result_is_lost() -> None:
    baseline = np.random.default_rng(0).normal(size=(10, 1, 4))
    found = OutputNoise(baseline[0], channel_axes((1, 4), SQUARE), is_whole=False)
    for one in baseline:
        found.add(one, None)
    assert share_of(found) == 1.0


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((1, 3549, 85), [(2,)]),
        ((1, 100, 92), [(2,), (1,)]),  # rows or columns: the values decide, fewer ones first
        ((1, 84, 8400), [(1,)]),
        ((1, 4, 104, 104), [(1,)]),
        ((1, 104, 104, 4), [(3,)]),
        ((1, 3, 52, 52, 85), [(1, 4)]),
        ((1, 208, 208), [()]),  # a depth image has one channel
        ((1, 14), [(1,)]),
        ((1,), [()]),
        ((), [()]),
        ((1, 1, 100, 7), [(3,), (2,)]),
        ((1, 4, 5, 7), [(1,), (2,), (3,)]),  # 4 x 5 numbers are no image
        ((1, 512, 7, 7), [(1,)]),
    ],
)
def test_channels_lie_along_what_is_no_image(shape: tuple[int, ...], axes: list[tuple[int, ...]]) -> None:
    assert channel_axes(shape, SQUARE) == axes


def test_channels_come_last_where_the_input_has_them_last() -> None:
    """20 x 20 cells of 20 numbers: the shape alone does not decide."""
    assert channel_axes((1, 20, 20, 20), SQUARE) == [(1,)]
    assert channel_axes((1, 20, 20, 20), SQUARE, last=True) == [(3,)]


@pytest.mark.parametrize("shape", [(1, 25, 8), (1, 8, 25)])
def test_of_rows_and_columns_the_columns_are_those_of_different_scales(shape: tuple[int, ...]) -> None:
    """Fewer rows than columns exist too; pixels beside scores show which axis is which."""
    rng = np.random.default_rng(0)
    scales = np.array([400.0, 400.0, 90.0, 90.0, 0.9, 0.9, 0.5, 0.1])
    values = rng.random((6, 25, 8)) * scales
    values = values if shape[2] == 8 else values.transpose(0, 2, 1)
    found = noise_of(values[:, None], values[:, None])
    assert found.channel_axes == ((2,) if shape[2] == 8 else (1,))
    assert len(found.ranges().low) == 8


def test_pixels_logits_and_scores_are_different_kinds() -> None:
    low = np.array([0.0, 0.0, -9.0, -12.0, 0.0, 0.0, 0.0, 5.0])
    high = np.array([416.0, 300.0, 4.0, 3.0, 0.98, 0.002, 0.4, 5.0])
    kinds = kinds_of_channels(low, high)
    assert kinds[0] == kinds[1] != kinds[2] == kinds[3]
    assert kinds[4:].tolist() == [SHARES, SHARES, SHARES, CONSTANT]


def test_a_class_that_is_never_seen_is_not_judged_by_itself() -> None:
    """Its score of 0.002 is less than a step of eight bits; a column of meters among pixels is judged."""
    low, high = np.zeros(6), np.array([400.0, 400.0, 30.0, 0.9, 0.5, 0.002])
    kinds = kinds_of_channels(low, high)
    assert informative_channels(kinds, high - low).tolist() == [True, True, True, True, True, False]


def test_silent_features_are_not_judged_but_few_numbers_are() -> None:
    """Of sixty-four features one may be nearly silent; of fourteen numbers of a plan each has a meaning."""
    ranges = np.concatenate([np.geomspace(10.0, 3.0, 63), [0.9]])
    assert not informative_channels(kinds_of_channels(-ranges, ranges), ranges)[-1]
    few = ranges[-14:]
    assert informative_channels(kinds_of_channels(-few, few), few).all()


def test_figures_of_nothing_are_undefined() -> None:
    assert math.isnan(noise_share(np.zeros(1), np.zeros(1))[0])
    assert noise_share(np.ones(1), np.zeros(1))[0] == 1.0  # noise where there was nothing
    assert decibels(0.1) == pytest.approx(10.0) and decibels(0.0) == math.inf
    assert math.isnan(cosine(np.zeros(5)))
    assert cosine(np.array([4.0, 9.0, 6.0, 0.0, 0.0])) == 1.0
    assert frames_of_signal(np.ones(30)) == pytest.approx(30.0)
    assert frames_of_signal(np.eye(1, 30)[0]) == 1.0
    assert frames_of_signal(np.zeros(3)) == 0.0
