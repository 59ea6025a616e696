# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Class-aware non-maximum suppression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST_CANDIDATES = 1000
"""Candidates that take part; the weakest beyond are dropped before pairs of boxes are compared."""


def iou_matrix(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the (N, M) intersection over union of (N, 4) and (M, 4) xyxy boxes; 0 without area."""
    corner = np.maximum(first[:, None, :2], second[None, :, :2])
    opposite = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.clip(opposite - corner, 0.0, None)
    overlap = sides[..., 0] * sides[..., 1]
    area_first = np.prod(np.clip(first[:, 2:] - first[:, :2], 0.0, None), axis=1)
    area_second = np.prod(np.clip(second[:, 2:] - second[:, :2], 0.0, None), axis=1)
    union = area_first[:, None] + area_second[None, :] - overlap
    ratio: NDArray[np.float32] = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0.0)
    return ratio


def class_aware_nms(
    boxes_xyxy: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    iou_threshold: float,
    max_detections: int,
) -> NDArray[np.intp]:
    """Greedy suppression within each class.

    Returns:
        Indices of the kept boxes, strongest first; ties keep the order of the input.
    """
    order = np.argsort(-scores, kind="stable")[:MOST_CANDIDATES]
    if order.size == 0:
        return order.astype(np.intp)
    same_class = class_ids[order][:, None] == class_ids[order][None, :]
    suppresses = (iou_matrix(boxes_xyxy[order], boxes_xyxy[order]) > iou_threshold) & same_class
    alive = np.ones(order.size, dtype=bool)
    kept = []
    for index in range(order.size):
        if not alive[index]:
            continue
        kept.append(index)
        if len(kept) == max_detections:
            break
        alive &= ~suppresses[index]
    return order[np.asarray(kept, dtype=np.intp)]
