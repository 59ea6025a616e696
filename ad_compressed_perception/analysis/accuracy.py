# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy of results against ground truth: collected frame by frame, figures for any choice of frames.

| task         | figures                                                                       |
|--------------|-------------------------------------------------------------------------------|
| detection    | ``map`` and ``ap50`` as COCO defines them                                     |
| segmentation | ``miou`` and ``iou_CLASS``, pixels of all frames counted together             |
| classific.   | ``accuracy`` (top-1) and ``mean_recall``, the mean over classes                |
| planning     | ``rmse_rad``, ``mae_rad`` and ``correlation`` of the steering-wheel angle;    |
|              | before them ``ade_m`` and ``fde_m`` with ground-truth trajectories            |
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.analysis.accuracy_score import AccuracyScore as AccuracyScore
from ad_compressed_perception.analysis.accuracy_score import Indices as Indices
from ad_compressed_perception.analysis.class_accuracy import ClassAccuracy
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.results import Detections, LabelMask, Trajectory
from ad_compressed_perception.data.labeled.boxes import BoxData
from ad_compressed_perception.data.labeled.classes import ClassData
from ad_compressed_perception.data.labeled.dataset import LabeledData
from ad_compressed_perception.data.labeled.masks import MaskData
from ad_compressed_perception.data.labeled.paths import GroundTruthPath, PathData
from ad_compressed_perception.metrics.average_precision import (
    AveragePrecision,
    FoundBoxes,
    GroundTruthBoxes,
)
from ad_compressed_perception.metrics.bootstrap import correlation_block_length
from ad_compressed_perception.metrics.confusion import confusion_matrix, mean_iou
from ad_compressed_perception.metrics.displacement import displacements_m
from ad_compressed_perception.metrics.iou import iou_per_class
from ad_compressed_perception.metrics.steering import correlation, mean_absolute_error, rmse

_FEW_IMAGES = 1000


class DetectionAccuracy(AccuracyScore):
    """Mean average precision of boxes."""

    names = ("map", "ap50")

    def __init__(self, data: BoxData, max_detections: int) -> None:
        super().__init__()
        self._classes = data.classes
        self._max_detections = max_detections
        self._ground_truths: list[GroundTruthBoxes] = []
        self._found: list[FoundBoxes] = []
        self._metric: AveragePrecision | None = None

    def _add(self, result: Detections, ground_truth: GroundTruthBoxes) -> None:
        classes = self._classes.of_label[result.class_ids]
        # Detections of labels that the data does not annotate are not errors.
        known = classes >= 0
        self._ground_truths.append(ground_truth)
        self._found.append(FoundBoxes(result.boxes_xyxy[known], result.scores[known], classes[known]))

    def finish(self) -> None:
        """Match every frame's boxes with the objects."""
        count = len(self._classes.names)
        self._metric = AveragePrecision(self._ground_truths, self._found, count, self._max_detections)
        # A resample takes some 5 ms for each 5000 pairs of image and class.
        self.resamples = 400 if self.samples * count <= 20_000 else 200

    def figures(self, indices: Indices | None = None) -> tuple[float, ...]:
        """Return (mAP, AP50)."""
        assert self._metric is not None, "finish() comes first"
        return self._metric.figures(indices)

    def per_class(self) -> dict[str, dict[str, float]]:
        """Return AP, AP50 and the number of objects of the classes that occur."""
        assert self._metric is not None, "finish() comes first"
        counts = np.zeros(len(self._classes.names), np.int64)
        for ground_truth in self._ground_truths:
            np.add.at(counts, ground_truth.class_ids[~ground_truth.is_crowd], 1)
        table = zip(self._classes.names, self._metric.per_class(), counts.tolist(), strict=True)
        return {
            name: {"ap": ap, "ap50": ap50, "objects": count} for name, (ap, ap50), count in table if count
        }

    def notes(self) -> list[str]:
        """Return a warning where the set of images is small."""
        if self.samples >= _FEW_IMAGES:
            return []
        return [
            f"{self.samples} images are few: their mAP compares variants, it is not a model's mAP. Classes "
            "missing from a resample are left out of its mean, which shifts the interval of mAP upwards; "
            "that of a difference hardly."
        ]


class SegmentationAccuracy(AccuracyScore):
    """Intersection over union of label masks."""

    def __init__(self, data: MaskData) -> None:
        super().__init__()
        self._classes = data.classes
        self.names = ("miou", *(f"iou_{name}" for name in data.classes.names))
        self._confusions: list[NDArray[np.int64]] = []
        self._table: NDArray[np.int64] = np.zeros((0, 0, 0), np.int64)

    def _add(self, result: LabelMask, ground_truth: NDArray[np.uint8]) -> None:
        predicted = self._classes.of_label[result.label_ids]
        try:
            self._confusions.append(confusion_matrix(ground_truth, predicted, len(self._classes.names)))
        except ValueError as cause:
            raise DataError(f"frame {self.samples}: {cause}") from cause

    def finish(self) -> None:
        """Stack the frames' confusion matrices."""
        self._table = np.array(self._confusions)

    def figures(self, indices: Indices | None = None) -> tuple[float, ...]:
        """Return (mean IoU, IoU of each class)."""
        table = self._table if indices is None else self._table[indices]
        confusion = table.sum(axis=0)
        return (mean_iou(confusion), *iou_per_class(confusion).tolist())


class SteeringAccuracy(AccuracyScore):
    """Errors of the steering-wheel angle along a drive."""

    names = ("rmse_rad", "mae_rad", "correlation")
    lower_is_better = frozenset(("rmse_rad", "mae_rad"))

    def __init__(self) -> None:
        super().__init__()
        self._pairs: list[tuple[float, float]] = []
        self._ground_truth: NDArray[np.float64] = np.zeros(0)
        self._predicted: NDArray[np.float64] = np.zeros(0)

    def _add(self, result: Trajectory, ground_truth: float) -> None:
        if not math.isfinite(result.steering_wheel_angle_rad):
            raise DataError("the model gives no steering-wheel angle to compare with the labels")
        self._pairs.append((ground_truth, result.steering_wheel_angle_rad))

    def finish(self) -> None:
        """Split the pairs into two series of angles."""
        pairs = np.array(self._pairs, np.float64)
        self._ground_truth, self._predicted = pairs[:, 0], pairs[:, 1]

    def figures(self, indices: Indices | None = None) -> tuple[float, ...]:
        """Return (RMSE, MAE, Pearson's correlation)."""
        ground_truth, predicted = self._ground_truth, self._predicted
        if indices is not None:
            ground_truth, predicted = ground_truth[indices], predicted[indices]
        return (
            rmse(ground_truth, predicted),
            mean_absolute_error(ground_truth, predicted),
            correlation(ground_truth, predicted),
        )

    def block_length(self) -> int:
        """Return the correlation length of the squared error in frames: a bend is one event, not fifty."""
        return correlation_block_length(np.square(self._predicted - self._ground_truth))

    def notes(self) -> list[str]:
        """Return the RMSE of a planner that never steers, for comparison."""
        still = rmse(self._ground_truth, np.zeros_like(self._ground_truth))
        return [f"Always steering straight ahead would give an RMSE of {still:.4f} rad."]


class PathAccuracy(AccuracyScore):
    """Distances between planned and ground-truth trajectories, and errors of the steering-wheel angle.

    The figures of the angle are NaN for a model that gives none.
    """

    names = ("ade_m", "fde_m", *SteeringAccuracy.names)
    lower_is_better = frozenset(("ade_m", "fde_m", *SteeringAccuracy.lower_is_better))

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[tuple[float, float, float, float]] = []
        self._table: NDArray[np.float64] = np.zeros((0, 4))
        self._has_times = True

    def _add(self, result: Trajectory, ground_truth: GroundTruthPath) -> None:
        apart_m = displacements_m(
            ground_truth.points_xy_m, ground_truth.step_s, result.points_xy_m, result.step_s
        )
        self._has_times &= math.isfinite(result.step_s)
        angles = (ground_truth.steering_wheel_angle_rad, result.steering_wheel_angle_rad)
        self._rows.append((float(apart_m.mean()), float(apart_m[-1]), *angles))

    def finish(self) -> None:
        """Stack the frames' distances and angles."""
        self._table = np.array(self._rows, np.float64)

    def figures(self, indices: Indices | None = None) -> tuple[float, ...]:
        """Return (ADE, FDE, RMSE, MAE, Pearson's correlation); distances are means over frames."""
        table = self._table if indices is None else self._table[indices]
        average_m, final_m, ground_truth, predicted = table.T
        return (
            float(average_m.mean()),
            float(final_m.mean()),
            rmse(ground_truth, predicted),
            mean_absolute_error(ground_truth, predicted),
            correlation(ground_truth, predicted),
        )

    def block_length(self) -> int:
        """Return the correlation length of the distance in frames."""
        return correlation_block_length(self._table[:, 0])

    def notes(self) -> list[str]:
        """Return a note where the model plans positions without times."""
        if self._has_times:
            return []
        return ["The model plans a path without times: its positions are compared, not their times."]


def create_accuracy(data: LabeledData, max_detections: int = 100) -> AccuracyScore:
    """Return the score that fits labeled data.

    Args:
        data: the labeled frames.
        max_detections: detection: how many of a frame's strongest boxes of a class count.
    """
    if isinstance(data, BoxData):
        return DetectionAccuracy(data, max_detections)
    if isinstance(data, MaskData):
        return SegmentationAccuracy(data)
    if isinstance(data, ClassData):
        return ClassAccuracy(data)
    return PathAccuracy() if isinstance(data, PathData) else SteeringAccuracy()
