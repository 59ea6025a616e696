# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mapping between source pixels and the model's input pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.manifest import InputSpec


@dataclass(frozen=True)
class Geometry:
    """The mapping of one frame: ``model = source * scale + offset``, per axis, in pixel edges.

    Attributes:
        source_width: width of the camera image, pixels.
        source_height: height of the camera image, pixels.
        resized_width: width of the whole image after resizing, model pixels.
        resized_height: height of the whole image after resizing, model pixels.
        offset_x: where the resized image's left edge lies in the model input; negative when cropped.
        offset_y: where its top edge lies.
        model_width: width of the model input.
        model_height: height of the model input.
    """

    source_width: int
    source_height: int
    resized_width: int
    resized_height: int
    offset_x: int
    offset_y: int
    model_width: int
    model_height: int

    @property
    def scale_x(self) -> float:
        """Model pixels per source pixel, horizontally."""
        return self.resized_width / self.source_width

    @property
    def scale_y(self) -> float:
        """Model pixels per source pixel, vertically."""
        return self.resized_height / self.source_height

    def boxes_to_source(self, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (N, 4) boxes from model to source pixels and clip them to the image."""
        offset = np.array([self.offset_x, self.offset_y] * 2, np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        limit = np.array([self.source_width, self.source_height] * 2, np.float32)
        clipped: NDArray[np.float32] = np.clip((boxes_xyxy - offset) / scale, 0.0, limit)
        return clipped

    def labels_to_source(self, label_ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize an (h, w) label map of the model's aspect ratio to the source's size.

        ``label_ids`` may be smaller than the model input by a whole factor (a coarse head). Source
        pixels outside the model input (cut off by a crop) get label 0.
        """
        factor_y = label_ids.shape[0] / self.model_height
        factor_x = label_ids.shape[1] / self.model_width
        inside = (
            self.offset_x >= 0
            and self.offset_y >= 0
            and self.offset_x + self.resized_width <= self.model_width
            and self.offset_y + self.resized_height <= self.model_height
        )
        # The image's edges in labels; between them it can be cut out without shifting or stretching labels.
        (rows, rest_y), (columns, rest_x), (top, rest_top), (left, rest_left) = (
            divmod(pixels * labels, model)
            for pixels, labels, model in (
                (self.resized_height, label_ids.shape[0], self.model_height),
                (self.resized_width, label_ids.shape[1], self.model_width),
                (self.offset_y, label_ids.shape[0], self.model_height),
                (self.offset_x, label_ids.shape[1], self.model_width),
            )
        )
        if inside and not (rest_y or rest_x or rest_top or rest_left):
            visible = label_ids[top : top + rows, left : left + columns]
            size = (self.source_width, self.source_height)
            # INTER_NEAREST_EXACT samples pixel centers; INTER_NEAREST would shift labels by half a pixel.
            return np.asarray(cv2.resize(visible, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
        centers_x = (np.arange(self.source_width) + 0.5) * self.scale_x + self.offset_x
        centers_y = (np.arange(self.source_height) + 0.5) * self.scale_y + self.offset_y
        seen_x = (centers_x >= 0) & (centers_x < self.model_width)
        seen_y = (centers_y >= 0) & (centers_y < self.model_height)
        at_x = np.clip(centers_x * factor_x, 0, label_ids.shape[1] - 1).astype(np.intp)
        at_y = np.clip(centers_y * factor_y, 0, label_ids.shape[0] - 1).astype(np.intp)
        taken = label_ids[at_y][:, at_x]
        if not inside:
            taken[~seen_y] = 0
            taken[:, ~seen_x] = 0
        return taken


def plan_geometry(spec: InputSpec, source_width: int, source_height: int) -> Geometry:
    """Return the mapping of a source of the given size to the model's input size."""
    width, height = spec.width, spec.height
    resized_width, resized_height, offset_x, offset_y = width, height, 0, 0
    if spec.resize == "letterbox":
        ratio = min(width / source_width, height / source_height)
        resized_width = min(width, max(1, int(source_width * ratio)))
        resized_height = min(height, max(1, int(source_height * ratio)))
        if spec.letterbox_align == "center":
            offset_x, offset_y = (width - resized_width) // 2, (height - resized_height) // 2
    elif spec.resize == "crop":
        resized_width, resized_height = spec.resize_width or width, spec.resize_height or height
        offset_x = -((resized_width - width) // 2)
        spare = resized_height - height
        offset_y = {"top": 0, "center": -(spare // 2), "bottom": -spare}[spec.crop_anchor]
    return Geometry(
        source_width, source_height, resized_width, resized_height, offset_x, offset_y, width, height
    )
