# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How far two results of a task differ: by few numbers that a jump shows in, cheap enough for every frame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import Classification, Detections, LabelMask, Result, Trajectory

_GRID = 32
_AT_M = (5.0, 10.0, 20.0)
"""Where paths are compared: within the look-ahead distances of the path tracker."""
_LIKE_IOU = 0.3
_SMALL_PX2 = 1024.0
"""Objects of less than 32 x 32 pixels weigh little."""

FLOORS: Mapping[str, float] = {
    "curvature_per_m": 0.01,
    "path_m": 0.5,
    "speed_mps": 8.0,
    "changed_share": 0.1,
    "area_share": 0.1,
    "objects": 2.0,
    "box_area": 4.0,
    "moved_share": 0.5,
    "scores": 0.5,
}
"""Changes below are never implausible."""


@dataclass(frozen=True)
class Summary:
    """What is compared of a result; see changes() for what the numbers are.

    Attributes:
        kind: type of the result.
        values: (N,) float64.
        label_ids: of a mask, thinned out; of other results empty.
        boxes: (N, 4) float64 corners of detections; of other results empty.
        weights: (N,) float64 of these: score times the side of a square of the box's area.
    """

    kind: type
    values: NDArray[np.float64]
    label_ids: NDArray[np.uint8]
    boxes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    weights: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


_NO_IDS = np.zeros(0, np.uint8)


def summarize(result: Result) -> Summary | None:
    """Return what is compared of a result; None for a task that has no rules."""
    if isinstance(result, Trajectory):
        offsets = np.interp(_AT_M, *_arc_and_offset(result))
        profile = result.speeds_mps
        speeds = [result.speed_mps] * 2 if profile is None else [profile[0], profile[-1]]
        return Summary(Trajectory, np.array([result.curvature_per_m, *speeds, *offsets]), _NO_IDS)
    if isinstance(result, LabelMask):
        height, width = result.label_ids.shape
        ids = result.label_ids[:: max(height // _GRID, 1), :: max(width // _GRID, 1)].reshape(-1)
        areas = np.bincount(ids, minlength=len(result.labels)) / max(ids.size, 1)
        return Summary(LabelMask, areas, np.ascontiguousarray(ids))
    if isinstance(result, Detections):
        boxes = result.boxes_xyxy.astype(np.float64)
        areas = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0).prod(axis=1)
        values = np.array([np.sqrt(len(areas)), np.log(areas.sum() + _SMALL_PX2)], np.float64)
        return Summary(Detections, values, _NO_IDS, boxes, result.scores * np.sqrt(areas))
    if isinstance(result, Classification):
        return Summary(Classification, result.scores.astype(np.float64), _NO_IDS)
    return None


def _arc_and_offset(path: Trajectory) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    points = np.concatenate([np.zeros((1, 2)), path.points_xy_m])
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    return arc, points[:, 1]


def changes(before: Summary, after: Summary) -> dict[str, float]:
    """Return how far two results differ, by name; empty where they cannot be compared.

    curvature_per_m, path_m (largest lateral distance at 5, 10 and 20 m), speed_mps (at both ends of the
    profile); changed_share (of the pixels, thinned out) and area_share (half the sum of the labels' changes);
    objects (of the square roots of the counts, whose spread does not depend on the count), box_area (of the
    logarithms of the summed areas) and moved_share (of boxes without one of IoU 0.3 in the other result, by
    score and size, beside one that weighs 32); scores (half the sum of the labels' changes).
    """
    if before.kind is not after.kind or before.values.shape != after.values.shape:
        return {}
    moved = np.abs(after.values - before.values)
    if after.kind is Trajectory:
        return {
            "curvature_per_m": float(moved[0]),
            "speed_mps": float(moved[1:3].max()),
            "path_m": float(moved[3:].max()),
        }
    if after.kind is LabelMask:
        found = {"area_share": 0.5 * float(moved.sum())}
        if before.label_ids.shape == after.label_ids.shape and after.label_ids.size:
            found["changed_share"] = (
                np.count_nonzero(before.label_ids != after.label_ids) / after.label_ids.size
            )
        return found
    if after.kind is Detections:
        share = _moved_share(before, after)
        return {"objects": float(moved[0]), "box_area": float(moved[1]), "moved_share": share}
    return {"scores": 0.5 * float(moved.sum())}


def _moved_share(before: Summary, after: Summary) -> float:
    """Return the share of two results' boxes that have no like in the other one."""
    total = float(before.weights.sum() + after.weights.sum()) + math.sqrt(_SMALL_PX2)
    if not (len(before.boxes) and len(after.boxes)):
        return (total - math.sqrt(_SMALL_PX2)) / total
    low = np.maximum(before.boxes[:, None, :2], after.boxes[None, :, :2])
    high = np.minimum(before.boxes[:, None, 2:], after.boxes[None, :, 2:])
    both = np.maximum(high - low, 0.0).prod(axis=2)
    first, second = (
        np.maximum(each.boxes[:, 2:] - each.boxes[:, :2], 0.0).prod(axis=1) for each in (before, after)
    )
    is_like = both > _LIKE_IOU * (first[:, None] + second[None, :] - both)
    lost = float(before.weights[~is_like.any(axis=1)].sum())
    return (lost + float(after.weights[~is_like.any(axis=0)].sum())) / total
