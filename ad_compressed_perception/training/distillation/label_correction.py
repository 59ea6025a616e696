# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ground-truth labels mixed into the teacher's outputs, for labeled images.

The target is ``(1 - w) t + w y`` with the teacher's output t, the ground truth y and the weight w.
Cross-entropy and squared error are linear in their target up to terms independent of the student, so this is
the sum of both losses with these weights. The teacher's output is kept where the ground truth is undefined:
at unlabeled pixels, and, where a ground-truth class joins several of the model's labels, for their shares in
it: ``y_l = ground_truth_c t_l / sum of t over the labels of class c``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.data.labeled.boxes import BoxData
from ad_compressed_perception.data.labeled.dataset import LabeledData
from ad_compressed_perception.data.labeled.masks import MaskData
from ad_compressed_perception.metrics.confusion import IGNORE
from ad_compressed_perception.tasks.geometry import Geometry
from ad_compressed_perception.training.augmentation import Augmentation
from ad_compressed_perception.training.distillation.box_targets import box_correction
from ad_compressed_perception.training.distillation.trained_outputs import TrainedOutput
from ad_compressed_perception.training.losses import column_axis

Outputs = list[NDArray[Any]]
Correct = Callable[[Outputs, Any, Augmentation, Geometry], Outputs]
"""Outputs, the image's ground truth, its augmentation and the student's geometry to the corrected outputs."""
_LEAST = 1e-6


def create_correction(data: LabeledData, student: Manifest, output: TrainedOutput, weight: float) -> Correct:
    """Return the correction of teacher outputs by the ground truth of a data set.

    Args:
        data: of the model's task.
        student: the manifest with the student's input and output.
        output: the first one trained, in the student's format.
        weight: of the ground truth, 0..1.

    Raises:
        RecipeError: ground-truth labels cannot be merged into outputs of these kinds.
    """
    options, kinds = student.output.options, output.student.kinds
    if isinstance(data, MaskData) and kinds.columns[0].kind == "distribution" and len(output.shape) == 4:
        layout = "NCHW" if column_axis(kinds, output.shape) == 1 else "NHWC"
        return mask_correction(data.classes.of_label, layout, weight)
    if student.output.decoder == "steering":
        return steering_correction(float(options.get("steering_scale", 1.0)), weight)
    if isinstance(data, BoxData) and kinds.strides:
        kept = options.get("label_ids") or list(range(len(student.labels)))
        return box_correction(data.classes.of_label[kept], list(kinds.strides), weight)
    raise RecipeError(f"labels cannot be merged into the outputs of decoder {student.output.decoder!r}")


def mask_correction(of_label: NDArray[np.int64], layout: str, weight: float) -> Correct:
    """Return the correction of per-pixel probabilities by (H, W) masks of class indices.

    Args:
        of_label: (labels,) ground-truth class of each of the model's labels.
        layout: NCHW or NHWC, of the outputs.
        weight: of the ground truth.
    """
    members = np.eye(int(of_label.max()) + 1, dtype=np.float32)[of_label]

    def correct(outputs: Outputs, ground_truth: Any, view: Augmentation, geometry: Geometry) -> Outputs:
        scores = np.asarray(outputs[0][0], np.float32)
        scores = scores.transpose(1, 2, 0) if layout == "NCHW" else scores
        height, width = scores.shape[:2]
        resized = _to_input(view.mask(ground_truth), geometry)
        planes = [(resized == index).astype(np.float32) for index in range(members.shape[1])]
        cover = np.stack([cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA) for p in planes], -1)
        known = cover.sum(-1, keepdims=True)
        likely = np.maximum(scores, _LEAST)
        within = likely @ members
        target = cover[..., of_label] / np.maximum(known, _LEAST) * likely / within[..., of_label]
        mixed = np.where(known >= 0.5, (1.0 - weight) * scores + weight * target, scores)
        return [(mixed.transpose(2, 0, 1) if layout == "NCHW" else mixed)[None]]

    return correct


def _to_input(mask: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """Return a mask at the model's input geometry, by the nearest pixel; IGNORE in the padding."""
    # A pixel center maps to (x + 0.5) scale + offset; its index is half a pixel less.
    scale = np.array([geometry.scale_x, geometry.scale_y])
    shift = scale * 0.5 + np.array([geometry.offset_x, geometry.offset_y]) - 0.5
    matrix = np.array([[scale[0], 0.0, shift[0]], [0.0, scale[1], shift[1]]])
    size = (geometry.model_width, geometry.model_height)
    warped = cv2.warpAffine(
        mask, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=float(IGNORE)
    )
    return np.asarray(warped, np.uint8)


def steering_correction(units: float, weight: float) -> Correct:
    """Return the correction of a steering angle by the driver's recorded angle.

    Args:
        units: radians per unit of the output.
        weight: of the ground truth.
    """

    def correct(outputs: Outputs, ground_truth: Any, view: Augmentation, geometry: Geometry) -> Outputs:
        if not view.is_identity:  # the recorded angle does not apply to a cropped or mirrored image
            return outputs
        angle = (1.0 - weight) * np.asarray(outputs[0], np.float32) + weight * float(ground_truth) / units
        return [angle, *outputs[1:]]

    return correct
