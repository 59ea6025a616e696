# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames that are mirrored or moved, and what a result on the original would be there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ad_compressed_perception.core.results import Detections, LabelMask, Result, Trajectory
from ad_compressed_perception.image.decode import Frame


def mirrored_frame(frame: Frame) -> Frame:
    """Return the frame with left and right exchanged."""
    return replace(frame, pixels=np.ascontiguousarray(frame.pixels[:, ::-1]))


def mirrored_result(result: Result, width: int) -> Result:
    """Return the result as it would be on the mirrored image of so many columns."""
    if isinstance(result, Detections):
        boxes = result.boxes_xyxy.copy()
        boxes[:, [0, 2]] = width - result.boxes_xyxy[:, [2, 0]]
        return replace(result, boxes_xyxy=boxes)
    if isinstance(result, LabelMask):
        return replace(result, label_ids=np.ascontiguousarray(result.label_ids[:, ::-1]))
    if isinstance(result, Trajectory):
        return replace(result, curvature_per_m=-result.curvature_per_m)
    return result


def moved_frame(frame: Frame, right: int, down: int) -> Frame:
    """Return the frame moved by so many pixels; the border's pixels fill what becomes free."""
    pixels = frame.pixels
    rows = np.clip(np.arange(pixels.shape[0]) - down, 0, pixels.shape[0] - 1)
    columns = np.clip(np.arange(pixels.shape[1]) - right, 0, pixels.shape[1] - 1)
    return replace(frame, pixels=np.ascontiguousarray(pixels[rows][:, columns]))


def moved_boxes(result: Detections, right: int, down: int, width: int, height: int) -> Detections:
    """Return the boxes moved likewise and clipped to the image; those that leave it are left out."""
    limit = np.array([width, height, width, height], np.float32)
    boxes = np.clip(result.boxes_xyxy + np.array([right, down] * 2, np.float32), 0.0, limit)
    # A box of which little is left is not expected to be found.
    before = np.prod(result.boxes_xyxy[:, 2:] - result.boxes_xyxy[:, :2], axis=1)
    kept = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) >= 0.5 * before
    return replace(
        result, boxes_xyxy=boxes[kept], scores=result.scores[kept], class_ids=result.class_ids[kept]
    )
