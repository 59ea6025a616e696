# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""IoU and steering errors against their formulas spelled out element by element."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ad_compressed_perception.metrics.bootstrap import correlation_block_length
from ad_compressed_perception.metrics.confusion import IGNORE, confusion_matrix, mean_iou
from ad_compressed_perception.metrics.iou import iou_per_class
from ad_compressed_perception.metrics.steering import correlation, mean_absolute_error, rmse

SHAPE = (4, 5)
GROUND_TRUTH = hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 1, 2, IGNORE]))
PREDICTED = hnp.arrays(np.uint8, SHAPE, elements=st.integers(0, 2))
SERIES = hnp.arrays(np.float64, 12, elements=st.floats(-10, 10))


@given(GROUND_TRUTH, PREDICTED)
def test_confusion_counts_pixel_by_pixel(ground_truth: np.ndarray, predicted: np.ndarray) -> None:
    """Row true, column predicted, ignored pixels nowhere."""
    expected = np.zeros((3, 3), np.int64)
    for row, column in zip(ground_truth.ravel(), predicted.ravel(), strict=True):
        if row != IGNORE:
            expected[row, column] += 1
    assert np.array_equal(confusion_matrix(ground_truth, predicted, 3), expected)


@given(GROUND_TRUTH, PREDICTED)
def test_iou_is_intersection_over_union_of_sets(ground_truth: np.ndarray, predicted: np.ndarray) -> None:
    """The matrix formula equals counting the two pixel sets."""
    values = iou_per_class(confusion_matrix(ground_truth, predicted, 3))
    counted = ground_truth != IGNORE
    for index, value in enumerate(values):
        a, b = (ground_truth == index) & counted, (predicted == index) & counted
        union = (a | b).sum()
        assert math.isnan(value) if union == 0 else value == pytest.approx((a & b).sum() / union)


def test_mean_leaves_out_absent_classes() -> None:
    """Class 2 is neither in the ground truth nor predicted: the mean is that of 1/2 and 2/3, not of three."""
    ground_truth = np.array([[0, 0, 1, 1]], np.uint8)
    predicted = np.array([[0, 1, 1, 1]], np.uint8)
    assert mean_iou(confusion_matrix(ground_truth, predicted, 3)) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert math.isnan(mean_iou(np.zeros((2, 2), np.int64)))


def test_masks_that_cannot_be_compared() -> None:
    """Shapes must match, and a class index beyond the classes is a mistake, not another class."""
    with pytest.raises(ValueError, match="cannot be compared"):
        confusion_matrix(np.zeros((2, 2)), np.zeros((2, 3)), 2)
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        confusion_matrix(np.array([[2]]), np.array([[0]]), 2)
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        confusion_matrix(np.array([[0]]), np.array([[IGNORE]]), 2)


@given(SERIES, SERIES)
def test_errors_follow_their_formulas(ground_truth: np.ndarray, predicted: np.ndarray) -> None:
    """Spelled out in plain Python."""
    pairs = list(zip(ground_truth.tolist(), predicted.tolist(), strict=True))
    assert rmse(ground_truth, predicted) == pytest.approx(
        math.sqrt(sum((p - t) ** 2 for t, p in pairs) / len(pairs))
    )
    assert mean_absolute_error(ground_truth, predicted) == pytest.approx(
        sum(abs(p - t) for t, p in pairs) / len(pairs)
    )
    assert mean_absolute_error(ground_truth, predicted) <= rmse(ground_truth, predicted) + 1e-9


@given(SERIES, st.floats(0.01, 100), st.floats(-5, 5))
def test_correlation_ignores_scale_and_offset(ground_truth: np.ndarray, scale: float, offset: float) -> None:
    """A planner that steers twice as much is perfectly correlated and twice wrong."""
    if np.ptp(ground_truth) < 1e-3:
        assert math.isnan(correlation(np.full(12, ground_truth[0]), ground_truth))
        return
    assert correlation(ground_truth, scale * ground_truth + offset) == pytest.approx(1.0, abs=1e-6)
    assert correlation(ground_truth, -scale * ground_truth) == pytest.approx(-1.0, abs=1e-6)


def test_no_data_is_nan() -> None:
    """Empty series and constant ones have no figures."""
    empty = np.array([])
    assert math.isnan(rmse(empty, empty))
    assert math.isnan(mean_absolute_error(empty, empty))
    assert math.isnan(correlation(np.ones(1), np.ones(1)))
    assert math.isnan(correlation(np.full(9, 0.1), np.arange(9.0)))


def test_blocks_are_as_long_as_the_correlation_of_the_series() -> None:
    """White noise needs n^(1/3); a first-order process of coefficient 0.95 far longer runs."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=1000)
    slow = np.zeros(1000)
    for index in range(1, 1000):
        slow[index] = 0.95 * slow[index - 1] + noise[index]
    assert correlation_block_length(noise) == 10
    assert 40 <= correlation_block_length(slow) <= 250
    assert correlation_block_length(np.ones(100)) == 5
    assert correlation_block_length([1.0, 2.0]) == 1
