# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Confusion matrices of label masks against ground truth, and the mean IoU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.metrics.iou import iou_per_class

IGNORE = 255
"""Class index of pixels that are ignored."""


def confusion_matrix(ground_truth: NDArray[Any], predicted: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Count the pixels of every pair of true and predicted class.

    Args:
        ground_truth: class indices below ``classes``, or IGNORE.
        predicted: class indices below ``classes``, of the same shape; IGNORE is no prediction.
        classes: how many classes there are, at most 255.

    Returns:
        (classes, classes) int64, rows true, columns predicted.

    Raises:
        ValueError: the shapes differ or a value is out of range.
    """
    if ground_truth.shape != predicted.shape:
        raise ValueError(f"masks of shapes {ground_truth.shape} and {predicted.shape} cannot be compared")
    counted = ground_truth != IGNORE
    rows = ground_truth[counted].astype(np.int64)
    columns = predicted[counted].astype(np.int64)
    if rows.size and (min(rows.min(), columns.min()) < 0 or max(rows.max(), columns.max()) >= classes):
        raise ValueError(f"a class index lies outside 0..{classes - 1}")
    return np.bincount(rows * classes + columns, minlength=classes * classes).reshape(classes, classes)


def mean_iou(confusion: NDArray[np.int64]) -> float:
    """Return the mean IoU of the classes in the ground truth or the prediction; NaN without any."""
    values = iou_per_class(confusion)
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
