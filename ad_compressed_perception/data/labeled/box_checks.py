# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether labels of boxes can be ground truth in pixels of their images: else every figure means nothing."""

from __future__ import annotations

from pathlib import Path

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.labeled.box_labels import (
    SHARES_PX,
    Box,
    BoxLabels,
    LabeledBox,
    are_shares,
)

# Labels of hidden parts may reach beyond the image; most boxes of a data set do not by so much of its size.
_BEYOND, _MOST_BEYOND = 0.05, 0.5


def check_boxes(labels: BoxLabels) -> list[str]:
    """Return notes about boxes that reach far beyond their images.

    Raises:
        DataError: an image is listed twice, boxes have scores (detections, not ground truth), all of them are
            shares instead of pixels, or most reach beyond their images.
    """
    seen: set[Path] = set()
    for image in labels.images:
        if image.path in seen:
            raise DataError(f"{labels.source} lists the image {image.path} twice")
        seen.add(image.path)
    boxes = [(box, image.width, image.height) for image in labels.images for box in image.boxes]
    if any(box.score is not None for box, _, _ in boxes):
        raise DataError(
            f"the boxes of {labels.source} have scores: they are detections, which no detector can be "
            "evaluated on; COCO results are given beside the labels, as results"
        )
    if boxes and all(are_shares(box.box_xyxy) for box, _, _ in boxes):
        raise DataError(
            f"all boxes of {labels.source} end within {SHARES_PX:g} pixels of the image's corner: they look "
            "like shares of its size, and this format has pixels"
        )
    beyond = [_is_beyond(box, width, height) for box, width, height in boxes if width and height]
    if not any(beyond):
        return []
    text = f"{sum(beyond)} of {len(beyond)} boxes reach beyond their images by more than a twentieth"
    if sum(beyond) > _MOST_BEYOND * len(beyond):
        raise DataError(
            f"{labels.source}: {text}: are corners given as center and size, as width and height, or of "
            "images of another size?"
        )
    return [f"{text}."]


def _is_beyond(box: LabeledBox, width: int, height: int) -> bool:
    left, top, right, bottom = box.box_xyxy
    return min(left / width, top / height) < -_BEYOND or max(right / width, bottom / height) > 1.0 + _BEYOND


def is_outside(box: Box, width: int, height: int) -> bool:
    """Return whether no part of a box is in its image: it is then one of another image."""
    left, top, right, bottom = box
    return left >= width or top >= height or right <= 0.0 or bottom <= 0.0
