# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ground-truth boxes merged into a YOLOX teacher's outputs.

An object that the teacher detected (a cell's box has an IoU of at least 0.5 with it) sets its class in all
cells that detected it, and objectness and box in the best of them. A missed object is assigned to the cell at
its center, at the finest stride of which it spans at most eight cells. Objectness of the teacher's false
positives is reduced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.data.labeled.label_map import NO_CLASS
from ad_compressed_perception.tasks.geometry import Geometry
from ad_compressed_perception.tasks.nms import iou_matrix
from ad_compressed_perception.training.augmentation import Augmentation

_FOUND_IOU = 0.5
_FALSE_POSITIVE_IOU = 0.3
_CELLS_A_SIDE = 8.0
_VISIBLE_SHARE = 0.3
_OBJECTNESS, _CLASSES = 4, 5
Rows = NDArray[np.float32]


def box_correction(
    of_column: NDArray[np.int64], strides: Sequence[int], weight: float
) -> Callable[[list[NDArray[Any]], Any, Augmentation, Geometry], list[NDArray[Any]]]:
    """Return the correction of YOLOX outputs (1, N, 5 + C) by GroundTruthBoxes.

    Args:
        of_column: (C,) ground-truth class of each score, or NO_CLASS where the labels have none.
        strides: of the grids, in the order of the rows.
        weight: of the ground truth.
    """

    def correct(
        outputs: list[NDArray[Any]], ground_truth: Any, view: Augmentation, geometry: Geometry
    ) -> list[NDArray[Any]]:
        rows = np.array(outputs[0][0], np.float32)
        cells, steps = grid(geometry.model_width, geometry.model_height, strides)
        boxes, kept = _visible(boxes_to_model(geometry, view.boxes(ground_truth.boxes_xyxy)), geometry)
        classes, is_crowd = ground_truth.class_ids[kept], ground_truth.is_crowd[kept]
        overlaps = iou_matrix(boxes, _decoded(rows, cells, steps))
        _suppress_false_positives(rows, overlaps, of_column, weight, bool(is_crowd.any()))
        for box, kind, overlap, crowd in zip(boxes, classes, overlaps, is_crowd, strict=True):
            columns = np.flatnonzero(of_column == kind)
            if columns.size and not crowd:
                _insert(rows, box, columns, overlap, (cells, steps), strides, weight)
        return [rows[None], *outputs[1:]]

    return correct


def boxes_to_model(geometry: Geometry, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map (N, 4) boxes from source to model pixels; the inverse of ``Geometry.boxes_to_source``."""
    offset = np.array([geometry.offset_x, geometry.offset_y] * 2, np.float32)
    scale = np.array([geometry.scale_x, geometry.scale_y] * 2, np.float32)
    moved: NDArray[np.float32] = (boxes_xyxy * scale + offset).astype(np.float32)
    return moved


def grid(width: int, height: int, strides: Sequence[int]) -> tuple[Rows, Rows]:
    """Return (N, 2) column and row of each cell, and (N, 1) its stride, pixels."""
    cells, steps = [], []
    for stride in strides:
        x, y = np.meshgrid(np.arange(width // stride), np.arange(height // stride))
        cells.append(np.stack([x.ravel(), y.ravel()], 1))
        steps.append(np.full((x.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(steps).astype(np.float32)


def _decoded(rows: Rows, cells: Rows, steps: Rows) -> Rows:
    centers = (rows[:, :2] + cells) * steps
    halves = np.exp(np.minimum(rows[:, 2:4], 20.0)) * steps * 0.5
    return np.concatenate([centers - halves, centers + halves], 1).astype(np.float32)


def _visible(boxes: Rows, geometry: Geometry) -> tuple[Rows, NDArray[np.int64]]:
    """Return boxes clipped to the input and their indices, without those that lie mostly outside."""
    limit = np.array([geometry.model_width, geometry.model_height] * 2, np.float32)
    clipped = np.clip(boxes, 0.0, limit).astype(np.float32)
    kept = np.flatnonzero(_areas(clipped) > np.maximum(_VISIBLE_SHARE * _areas(boxes), 1.0))
    return clipped[kept], kept


def _areas(boxes: Rows) -> NDArray[np.float32]:
    area: NDArray[np.float32] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area


def _suppress_false_positives(
    rows: Rows, overlaps: Rows, of_column: NDArray[np.int64], weight: float, has_crowd: bool
) -> None:
    if has_crowd:
        return  # a crowd region does not state which of its objects the teacher detected
    has_class = of_column[rows[:, _CLASSES:].argmax(1)] != NO_CLASS
    nearest = overlaps.max(0) if len(overlaps) else np.zeros(len(rows), np.float32)
    rows[has_class & (nearest < _FALSE_POSITIVE_IOU), _OBJECTNESS] *= 1.0 - weight


def _insert(
    rows: Rows,
    box: NDArray[np.float32],
    columns: NDArray[np.int64],
    overlap: NDArray[np.float32],
    cells_steps: tuple[Rows, Rows],
    strides: Sequence[int],
    weight: float,
) -> None:
    cells, steps = cells_steps
    size = np.maximum(box[2:] - box[:2], 1.0)
    center = (box[:2] + box[2:]) * 0.5
    found = np.flatnonzero(overlap >= _FOUND_IOU)
    if found.size:
        best = int(found[(overlap[found] * rows[found, _OBJECTNESS]).argmax()])
        share = weight
    else:
        fitting = [s for s in strides if size.max() <= _CELLS_A_SIDE * s]
        stride = fitting[0] if fitting else strides[-1]
        distance = np.where(steps[:, 0] == stride, np.abs((cells + 0.5) * steps - center).max(1), np.inf)
        best, share = int(distance.argmin()), 1.0  # the cell's predicted box belonged to no object
        found = np.array([best])
    raw = np.concatenate([center / steps[best] - cells[best], np.log(size / steps[best])])
    rows[best, :4] += share * (raw - rows[best, :4])
    rows[best, _OBJECTNESS] += weight * (1.0 - rows[best, _OBJECTNESS])
    ground_truth = np.zeros(rows.shape[1] - _CLASSES, np.float32)
    ground_truth[columns] = 1.0 / len(columns)
    rows[found, _CLASSES:] += weight * (ground_truth - rows[found, _CLASSES:])
