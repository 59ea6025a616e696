# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation against ground truth: confusion matrices and intersection over union (Jaccard).

Definition as in the PASCAL VOC challenge (Everingham et al., IJCV 111, 2015, section 4.2): pixels
of all images are counted together, and ``IoU = TP / (TP + FP + FN)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def iou_per_class(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (classes,) IoU; NaN for a class that is neither in the ground truth nor predicted."""
    hits = np.diagonal(confusion).astype(np.float64)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    return np.divide(hits, union, out=np.full(hits.shape, np.nan), where=union > 0)


def mean_iou(confusion: NDArray[np.int64]) -> float:
    """Return the mean IoU of the classes in the ground truth or the prediction; NaN without any."""
    values = iou_per_class(confusion)
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
