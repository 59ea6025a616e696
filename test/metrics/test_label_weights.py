# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Weights of labels: a handful of pixels is no road, and a label that is lost is never hidden."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ad_compressed_perception.metrics.iou import iou_per_class
from ad_compressed_perception.metrics.label_weights import (
    informative_labels,
    label_weights,
    weighted_mean,
)

ALL = np.ones(3, bool)


def score(confusion: NDArray[np.int64], informative: NDArray[np.bool_] = ALL) -> float:
    every = np.ones(len(confusion), bool)
    weights = label_weights(confusion, informative, every)
    return float(weighted_mean(iou_per_class(confusion), weights))


def test_a_handful_of_pixels_does_not_count_as_the_road() -> None:
    """Five pixels of a rare label are lost on a perfect road: the plain mean falls by a third."""
    confusion = np.array([[60_000, 0, 0], [0, 40_000, 0], [5, 0, 0]], np.int64)
    assert np.nanmean(iou_per_class(confusion)) < 0.67
    assert score(confusion, np.array([True, True, False])) > 0.999


def test_an_informative_label_that_is_lost_costs_more_than_one_percent_among_fifty() -> None:
    """0.02 / (1 + 50 * 0.02) is 0.01, however few its pixels are."""
    pixels = np.full(50, 100)
    pixels[0] = 10_000_000
    confusion = np.diag(pixels).astype(np.int64)
    confusion[1, 0], confusion[1, 1] = confusion[1, 1], 0
    assert 1.0 - score(confusion, np.ones(50, bool)) > 0.01


def test_a_label_that_only_the_variant_shows_counts_against_it() -> None:
    """A tenth of the road became a label that the baseline never gives."""
    confusion = np.array([[500, 0, 0], [0, 450, 50], [0, 0, 0]], np.int64)
    without = np.array([[500, 0, 0], [0, 500, 0], [0, 0, 0]], np.int64)
    assert score(without) == 1.0
    # Shares 500, 500 and 50 of 1050; their IoU 1, 0.9 and 0.
    assert score(confusion) == pytest.approx((500 * 1.0 + 500 * 0.9) / 1050)


def test_a_label_informs_where_it_has_area_on_enough_frames() -> None:
    """0.3 % of 1000 pixels on nine of thirty frames are too seldom, on ten enough; on two of four, too."""
    with_it = np.array([[900, 0, 0], [0, 97, 0], [0, 0, 3]], np.int64)
    without = np.array([[900, 0, 0], [0, 100, 0], [0, 0, 0]], np.int64)
    assert informative_labels(np.stack([with_it] * 9 + [without] * 21), ALL).tolist() == [True, True, False]
    assert informative_labels(np.stack([with_it] * 10 + [without] * 20), ALL).tolist() == [True] * 3
    assert informative_labels(np.stack([with_it] * 2 + [without] * 2), ALL).tolist() == [True] * 3


def test_a_label_informs_where_it_has_enough_of_the_compared_pixels() -> None:
    """0.1 % on twelve of sixty frames are 0.02 % of all pixels, but many where nothing else is compared."""
    with_it = np.array([[900, 0, 0], [0, 99, 0], [0, 0, 1]], np.int64)
    without = np.array([[900, 0, 0], [0, 100, 0], [0, 0, 0]], np.int64)
    frames = np.stack([with_it] * 12 + [without] * 48)
    assert informative_labels(frames, ALL).tolist() == [True, True, False]
    assert informative_labels(frames, np.array([False, False, True])).tolist() == [False, False, True]


def test_only_compared_labels_weigh() -> None:
    confusion = np.array([[500, 0, 0], [0, 450, 50], [0, 0, 10]], np.int64)
    weights = label_weights(confusion, ALL, np.array([False, True, False]))
    assert weights.tolist() == [0.0, 1.0, 0.0]


counts = st.lists(st.integers(0, 1000), min_size=9, max_size=9).map(
    lambda some: np.array(some, np.int64).reshape(3, 3)
)


@given(counts)
def test_bounds_and_symmetry(confusion: NDArray[np.int64]) -> None:
    confusion[0, 0] += 1
    assert 0.0 <= score(confusion) <= 1.0
    assert score(confusion) == pytest.approx(score(confusion.T))
    assert score(np.diag(np.diagonal(confusion))) == pytest.approx(1.0)


@given(counts)
def test_pixels_of_a_label_that_only_the_variant_shows_never_raise_agreement(
    confusion: NDArray[np.int64],
) -> None:
    confusion[0, 0] += 1
    confusion[2], confusion[:, 2] = 0, 0
    more = confusion.copy()
    more[0, 0], more[0, 2] = 0, confusion[0, 0]
    assert score(more) <= score(confusion) + 1e-12
