# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether decoded boxes over several frames look like those of a detector with the manifest's options.

Judged are all boxes, those without an object too: a trained network gives most of them a score near 0 and a
box around its cell. Wrong options show in every one of them, while a frame's decoding may not refuse them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.tasks.decoders.yolo import YoloDecoder
from ad_compressed_perception.tasks.detection import DetectionDecoder

_MAX_MEDIAN_SCORE = 0.2
"""As for YOLOX heads: half of all cells of a trained detector are below 0.001."""
_MIN_REACH_PX = 2.0
"""Boxes of an input of hundreds of pixels that all end within 2 pixels are shares of its width and height."""
_FEWEST_BOXES = 50
_MAX_CORNERS, _MIN_CORNERS = 0.98, 0.5

Outputs = Mapping[str, NDArray[Any]]


def measure_boxes(decoder: DetectionDecoder, outputs: Outputs) -> tuple[float, ...]:
    """Return median score, number of boxes, farthest right or lower end, and how the columns look as corners.

    The last two are for decoder yolo: whether its boxes are read as corners (1 or 0), and the share of boxes
    whose third and fourth column exceed the first and second; NaN for other decoders.
    """
    boxes, scores, _ = decoder.candidates(outputs, 0.0)
    if not len(boxes):
        return 0.0, 0.0, np.inf, np.nan, np.nan
    reach = float(np.percentile(boxes[:, 2:], 99.0))
    corners = share = np.nan
    if isinstance(decoder, YoloDecoder):
        box_format = decoder.options.box_format
        corners = float(box_format == "xyxy")
        first, third = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
        if box_format == "xywh":
            first, third = (first + third) / 2, third - first
        elif box_format == "ltwh":
            third = third - first
        share = float((third > first).all(axis=1).mean())
    return float(np.median(scores)), float(len(boxes)), reach, corners, share


def judge_boxes(found: NDArray[np.float64]) -> str:
    """Return what is implausible in the figures of several frames, or nothing."""
    count = found[:, 1].min()
    if count < _FEWEST_BOXES:
        return ""
    # The least over the frames: a bright frame alone may be full of objects.
    median = found[:, 0].min()
    if median > _MAX_MEDIAN_SCORE:
        return (
            f"half of all boxes have a score above {median:.2f} on every frame; is a sigmoid applied that "
            "the file has already? (decoder option scores, of grid activated)"
        )
    reach = found[:, 2].max()
    if reach <= _MIN_REACH_PX:
        return (
            f"boxes end within {reach:.3g} pixels of the upper left corner; are they shares of the input's "
            "size? (decoder option box_units: normalized)"
        )
    corners, share = found[0, 3], float(np.median(found[:, 4]))
    if corners == 1.0 and share < _MIN_CORNERS:
        return (
            f"only {share:.0%} of the boxes end right of and below their beginning; are they center and "
            "size? (decoder option box_format: xywh)"
        )
    if corners == 0.0 and share > _MAX_CORNERS:
        return (
            f"the third and fourth number exceed the first and second in {share:.0%} of the boxes, as "
            "corners do; are they? (decoder option box_format: xyxy)"
        )
    return ""
