# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""mAP against cases computed by hand, and its resampling against data sets with repeated images."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_compressed_perception.metrics.average_precision import (
    AveragePrecision,
    FoundBoxes,
    GroundTruthBoxes,
)

Boxes = list[tuple[float, float, float, float]]


def objects(boxes: Boxes, class_ids: list[int], crowd: list[bool] | None = None) -> GroundTruthBoxes:
    return GroundTruthBoxes(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(class_ids, np.int64),
        np.array(crowd or [False] * len(boxes), bool),
    )


def found(boxes: Boxes, scores: list[float], class_ids: list[int]) -> FoundBoxes:
    return FoundBoxes(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(scores, np.float64),
        np.array(class_ids, np.int64),
    )


BOX = (10.0, 10.0, 30.0, 30.0)
FAR = (100.0, 100.0, 130.0, 130.0)


def test_all_found_exactly_is_one() -> None:
    """Every object found at every threshold."""
    metric = AveragePrecision([objects([BOX, FAR], [0, 1])], [found([BOX, FAR], [0.9, 0.8], [0, 1])], 2)
    assert metric.figures() == pytest.approx((1.0, 1.0))


def test_nothing_found_is_zero() -> None:
    """No detections at all is a result, not a crash."""
    metric = AveragePrecision([objects([BOX], [0])], [found([], [], [])], 1)
    assert metric.figures() == (0.0, 0.0)


def test_loose_box_counts_up_to_its_iou() -> None:
    """A box of IoU 0.72 passes 0.50, 0.55, 0.60, 0.65 and 0.70: five of ten thresholds, mAP 0.5."""
    loose = (10.0, 10.0, 30.0, 24.4)  # 14.4 of 20 pixels high, inside the object: IoU 0.72
    metric = AveragePrecision([objects([BOX], [0])], [found([loose], [0.9], [0])], 1)
    assert metric.figures() == pytest.approx((0.5, 1.0))


def test_false_alarm_above_the_hit_halves_the_precision() -> None:
    """The stronger detection is wrong: precision at the only recall level is 1/2 throughout."""
    metric = AveragePrecision([objects([BOX], [0])], [found([FAR, BOX], [0.9, 0.8], [0, 0])], 1)
    assert metric.figures() == pytest.approx((0.5, 0.5))


def test_one_of_two_found_covers_half_of_the_recall_levels() -> None:
    """Precision 1 up to recall 0.5, 0 beyond: 51 of the 101 levels 0.00, 0.01 ... 0.50."""
    metric = AveragePrecision([objects([BOX, FAR], [0, 0])], [found([BOX], [0.9], [0])], 1)
    assert metric.figures() == pytest.approx((51 / 101, 51 / 101))


def test_classes_weigh_alike_and_absent_ones_do_not_count() -> None:
    """Class 0 is found, class 1 missed, class 2 does not occur: mean of 1 and 0."""
    metric = AveragePrecision([objects([BOX, FAR], [0, 1])], [found([BOX, FAR], [0.9, 0.9], [0, 2])], 3)
    assert metric.figures() == pytest.approx((0.5, 0.5))
    first, second, third = metric.per_class()
    assert first == pytest.approx((1.0, 1.0))
    assert second == pytest.approx((0.0, 0.0))
    assert all(math.isnan(value) for value in third)


def test_detections_in_crowd_regions_are_ignored() -> None:
    """A detection inside a crowd is neither a true nor a false positive."""
    ground_truth = objects([BOX, FAR], [0, 0], [False, True])
    metric = AveragePrecision([ground_truth], [found([FAR, BOX], [0.9, 0.8], [0, 0])], 1)
    assert metric.figures() == pytest.approx((1.0, 1.0))


def test_only_the_strongest_detections_count() -> None:
    """With max_detections 1 the hit, second in rank, is cut off."""
    ground_truth, result = [objects([BOX], [0])], [found([FAR, BOX], [0.9, 0.8], [0, 0])]
    assert AveragePrecision(ground_truth, result, 1, max_detections=1).figures() == (0.0, 0.0)


def test_nothing_to_find_is_no_data() -> None:
    """Without objects there is no precision to speak of."""
    metric = AveragePrecision([objects([], [])], [found([BOX], [0.5], [0])], 1)
    assert all(math.isnan(value) for value in metric.figures())


def test_lengths_must_match() -> None:
    """An image without a result would shift all that follow."""
    with pytest.raises(ValueError, match="1 images with objects, 0 with detections"):
        AveragePrecision([objects([], [])], [], 1)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_repeated_images_are_as_good_as_copies(seed: int) -> None:
    """Resampled figures equal those of a data set in which the images really occur again."""
    rng = np.random.default_rng(seed)
    ground_truths, results = [], []
    for _ in range(6):
        count = int(rng.integers(0, 5))
        corners = rng.uniform(0, 200, (count, 2))
        boxes = np.hstack([corners, corners + rng.uniform(10, 60, (count, 2))])
        class_ids = rng.integers(0, 3, count)
        ground_truths.append(GroundTruthBoxes(boxes, class_ids, np.zeros(count, bool)))
        moved = boxes + rng.normal(0, 4, boxes.shape)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1.0)
        results.append(FoundBoxes(moved, rng.random(count), rng.integers(0, 3, count)))
    metric = AveragePrecision(ground_truths, results, 3)
    # As many images as there are, fewer (a slice of them) and more.
    for count in (6, 2, 9):
        images = rng.integers(0, 6, count)
        copies = AveragePrecision([ground_truths[i] for i in images], [results[i] for i in images], 3)
        assert metric.figures(images) == pytest.approx(copies.figures(), nan_ok=True)
    assert metric.figures(np.arange(6)) == pytest.approx(metric.figures(), nan_ok=True)


def test_resampling_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    """The library's progress must not end up in the middle of a JSON document."""
    AveragePrecision([objects([BOX], [0])], [found([BOX], [0.9], [0])], 1).figures(np.array([0]))
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
