# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A result as a few numbers, and how far it differs from the result before."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import (
    Classification,
    Detections,
    LabelMask,
    RawOutputs,
    Result,
    Trajectory,
)

NAMES: Final = {
    Detections: ("objects", "mean_score", "low_scores", "object_area", "object_height", "unmatched"),
    LabelMask: ("label_edges", "changed_labels"),
    Trajectory: ("curvature", "turning", "path_length", "speed", "curvature_change", "stop"),
    Classification: ("top_score", "entropy", "changed_top"),
    RawOutputs: ("output_mean", "output_spread"),
}
"""Figures of each kind of result; the class figures follow.

objects: square root of the count. low_scores: share of scores below 0.5. object_area: square root of the
share of the image.
object_height: of the mean object, as a share. unmatched: share of objects without one of IoU 0.3 in the
frame before.
label_edges: share of neighboring sampled pixels with different labels. changed_labels: from the frame before.
turning: |curvature|. path_length: meters. curvature_change: from the frame before. stop: probability.
"""

QUALITY: Final = frozenset(
    {
        *("mean_score", "low_scores", "unmatched", "label_edges", "changed_labels", "curvature_change"),
        *("top_score", "entropy", "changed_top", "output_mean", "output_spread"),
    }
)
"""Figures of how sure and steady results are; the others are of what is there, which a world may change."""

_MAX_LABELS = 100
_GRID = (60, 80)


class ResultStatistics:
    """Computes the figures of one stream of results. One thread at a time."""

    def __init__(self, labels: tuple[str, ...] = ()) -> None:
        """Take the class names; classes beyond the hundredth have no figures of their own."""
        self._labels = labels[:_MAX_LABELS]
        self._names: tuple[str, ...] = ()
        self._before: Result | None = None
        self._ids: NDArray[np.uint8] | None = None

    def compute(
        self, result: Result | None, width: int, height: int
    ) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """Return the names and (N,) values of a result's figures; NaN where there is no result.

        Args:
            result: None where the model gave none.
            width: of the frame, pixels.
            height: of the frame, pixels.
        """
        before, self._before = self._before, result
        if result is None:
            return self._names, np.full(len(self._names), np.nan)
        own = next(names for kind, names in NAMES.items() if isinstance(result, kind))
        if isinstance(result, Detections):
            values = _of_detections(result, before, float(width * height), height)
            classes = np.sqrt(np.bincount(result.class_ids, minlength=len(self._labels))[: len(self._labels)])
        elif isinstance(result, LabelMask):
            values, classes = self._of_mask(result)
        elif isinstance(result, Trajectory):
            values, classes = _of_trajectory(result, before), np.zeros(0)
        elif isinstance(result, Classification):
            values, classes = _of_classification(result, before), result.scores[: len(self._labels)]
        else:
            assert isinstance(result, RawOutputs)  # models with several heads have no reference
            flat = [float(np.mean(one)) for one in result.outputs.values() if one.size]
            spread = [float(np.std(one)) for one in result.outputs.values() if one.size]
            values, classes = (float(np.mean(flat)), float(np.mean(spread))), np.zeros(0)
        labels = tuple(f"class {one}" for one in self._labels[: len(classes)])
        if len(self._names) != len(own) + len(labels):
            self._names = (*own, *labels)
        return self._names, np.concatenate([np.array(values, np.float64), np.asarray(classes, np.float64)])

    def _of_mask(self, result: LabelMask) -> tuple[tuple[float, ...], NDArray[np.float64]]:
        rows, columns = (
            max(1, side // grid) for side, grid in zip(result.label_ids.shape, _GRID, strict=True)
        )
        ids = np.ascontiguousarray(result.label_ids[::rows, ::columns])
        before, self._ids = self._ids, ids
        same = before is not None and before.shape == ids.shape
        changed = float((ids != before).mean()) if same else np.nan
        areas = np.bincount(ids.ravel(), minlength=len(self._labels))[: len(self._labels)] / max(ids.size, 1)
        return (float((ids[:, 1:] != ids[:, :-1]).mean()), changed), areas


def _of_detections(result: Detections, before: Result | None, area: float, height: int) -> tuple[float, ...]:
    count = len(result.scores)
    if not count:
        return 0.0, np.nan, np.nan, 0.0, np.nan, np.nan
    boxes = result.boxes_xyxy
    sizes = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)
    unmatched = np.nan
    if isinstance(before, Detections):
        unmatched = float((_overlaps(boxes, before.boxes_xyxy) < 0.3).mean())
    return (
        *(float(np.sqrt(count)), float(result.scores.mean()), float((result.scores < 0.5).mean())),
        *(float(np.sqrt(sizes.prod(axis=1).sum() / area)), float(sizes[:, 1].mean()) / height, unmatched),
    )


def _overlaps(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each box's largest IoU with the others, (N,)."""
    if not len(others):
        return np.zeros(len(boxes), np.float32)
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = np.maximum(high - low, 0.0).prod(axis=2)
    areas = [np.maximum(one[:, 2:] - one[:, :2], 0.0).prod(axis=1) for one in (boxes, others)]
    union = areas[0][:, None] + areas[1][None, :] - both
    return np.asarray((both / np.maximum(union, 1e-9)).max(axis=1), np.float32)


def _of_trajectory(result: Trajectory, before: Result | None) -> tuple[float, ...]:
    steps = np.diff(result.points_xy_m, axis=0)
    change = np.nan
    if isinstance(before, Trajectory):
        change = abs(result.curvature_per_m - before.curvature_per_m)
    return (
        *(
            result.curvature_per_m,
            abs(result.curvature_per_m),
            float(np.hypot(steps[:, 0], steps[:, 1]).sum()),
        ),
        *(result.speed_mps, change, result.stop_probability),
    )


def _of_classification(result: Classification, before: Result | None) -> tuple[float, ...]:
    scores = np.clip(result.scores.astype(np.float64), 1e-9, 1.0)
    shares = scores / scores.sum() if len(scores) else scores
    changed = float(before.label != result.label) if isinstance(before, Classification) else np.nan
    return result.score, float(-(shares * np.log2(shares)).sum()), changed
