# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""True labels mixed into the teacher's answers, for images that have some.

The student learns ``(1 - w) t + w y`` with the teacher's answer t, the ground truth y and the weight w.
Cross-entropy and squared error are linear in their target up to what does not depend on the student, so
this is the sum of both losses with these weights. What the ground truth leaves open stays the teacher's: pixels
that count as unlabeled, and, where a class of the labels joins several of the model's, their shares in it:
``y_l = ground_truth_c t_l / sum of t over the labels of class c``.
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
from ad_compressed_perception.metrics.iou import IGNORE
from ad_compressed_perception.tasks.geometry import Geometry
from ad_compressed_perception.training.augmentation import Augmentation
from ad_compressed_perception.training.distillation.box_targets import box_correction

Answers = list[NDArray[Any]]
Correct = Callable[[Answers, Any, Augmentation, Geometry], Answers]
"""Answers to a view of an image, the image's ground truth, the view, and how the student sees it."""
_LEAST = 1e-6


def create_correction(data: LabeledData, student: Manifest, weight: float) -> Correct:
    """Return how ground truths of a data set correct the answers for a student.

    Args:
        data: of the model's task.
        student: the manifest with the student's input and output.
        weight: of the ground truth, 0..1.

    Raises:
        RecipeError: the student's output is not one that labels can be put into.
    """
    options = student.output.options
    if student.output.decoder == "argmax" and isinstance(data, MaskData):
        return mask_correction(data.classes.of_label, options.get("layout", "NCHW"), weight)
    if student.output.decoder == "steering":
        return steering_correction(float(options.get("steering_scale", 1.0)), weight)
    if student.output.decoder == "yolox" and isinstance(data, BoxData):
        kept = options.get("label_ids") or list(range(len(student.labels)))
        strides = [int(stride) for stride in options.get("strides", (8, 16, 32))]
        return box_correction(data.classes.of_label[kept], strides, weight)
    raise RecipeError(f"labels cannot be put into the outputs of decoder {student.output.decoder!r}")


def mask_correction(of_label: NDArray[np.int64], layout: str, weight: float) -> Correct:
    """Return the correction of per-pixel probabilities by (H, W) masks of class indices.

    Args:
        of_label: (labels,) class of each of the model's labels.
        layout: NCHW or NHWC, of the answers.
        weight: of the ground truth.
    """
    members = np.eye(int(of_label.max()) + 1, dtype=np.float32)[of_label]

    def correct(answers: Answers, ground_truth: Any, view: Augmentation, shown: Geometry) -> Answers:
        said = np.asarray(answers[0][0], np.float32)
        said = said.transpose(1, 2, 0) if layout == "NCHW" else said
        height, width = said.shape[:2]
        placed = _placed(view.mask(ground_truth), shown)
        planes = [(placed == index).astype(np.float32) for index in range(members.shape[1])]
        cover = np.stack([cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA) for p in planes], -1)
        known = cover.sum(-1, keepdims=True)
        likely = np.maximum(said, _LEAST)
        within = likely @ members
        ground_truths = cover[..., of_label] / np.maximum(known, _LEAST) * likely / within[..., of_label]
        mixed = np.where(known >= 0.5, (1.0 - weight) * said + weight * ground_truths, said)
        return [(mixed.transpose(2, 0, 1) if layout == "NCHW" else mixed)[None]]

    return correct


def _placed(mask: NDArray[np.uint8], shown: Geometry) -> NDArray[np.uint8]:
    """Return a mask as the model sees it, by the nearest pixel; IGNORE where there is no image."""
    # Pixel centers: (x + 0.5) scale + offset is where they land, less half a pixel for the index.
    scale = np.array([shown.scale_x, shown.scale_y])
    shift = scale * 0.5 + np.array([shown.offset_x, shown.offset_y]) - 0.5
    matrix = np.array([[scale[0], 0.0, shift[0]], [0.0, scale[1], shift[1]]])
    size = (shown.model_width, shown.model_height)
    placed = cv2.warpAffine(
        mask, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=float(IGNORE)
    )
    return np.asarray(placed, np.uint8)


def steering_correction(units: float, weight: float) -> Correct:
    """Return the correction of a steering angle by the driver's.

    Args:
        units: radians per unit of the answer.
        weight: of the ground truth.
    """

    def correct(answers: Answers, ground_truth: Any, view: Augmentation, shown: Geometry) -> Answers:
        if not view.whole:  # what the driver would do from another place is not known
            return answers
        angle = (1.0 - weight) * np.asarray(answers[0], np.float32) + weight * float(ground_truth) / units
        return [angle, *answers[1:]]

    return correct
