# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Converts a camera image to a model's input tensor, in a buffer that is reused."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ImageError
from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.geometry import Geometry, plan_geometry

_CONVERSIONS = {
    ("BGR", "RGB"): cv2.COLOR_BGR2RGB,
    ("RGB", "BGR"): cv2.COLOR_RGB2BGR,
    ("BGR", "GRAY"): cv2.COLOR_BGR2GRAY,
    ("RGB", "GRAY"): cv2.COLOR_RGB2GRAY,
    ("GRAY", "BGR"): cv2.COLOR_GRAY2BGR,
    ("GRAY", "RGB"): cv2.COLOR_GRAY2RGB,
}


class Preparer:
    """Resizes, reorders and normalizes frames for one input specification.

    The image is resized first: color order, layout and normalization then process the model's pixels
    only, and swapping red and blue costs nothing where planes are written one by one.
    """

    def __init__(self, spec: InputSpec) -> None:
        """Allocate the input buffer."""
        self._spec = spec
        self._buffer: NDArray[Any] = np.zeros(spec.shape, dtype=spec.dtype)
        self._geometry: Geometry | None = None
        channels = spec.channels
        mean = np.resize(np.asarray(spec.mean, np.float32), channels)
        std = np.resize(np.asarray(spec.std, np.float32), channels)
        self._factor = (spec.scale / std).astype(np.float32)
        self._shift = (-mean / std).astype(np.float32)
        self._is_plain = bool(np.all(self._factor == 1.0) and np.all(self._shift == 0.0))

    def __call__(self, frame: Frame) -> tuple[NDArray[Any], Geometry]:
        """Return the input tensor (reused by the next call) and the frame's geometry.

        Raises:
            ImageError: the frame has no pixels.
        """
        pixels = frame.pixels
        if pixels.ndim not in (2, 3) or pixels.size == 0:
            raise ImageError(f"a frame needs (H, W) or (H, W, 3) pixels, got shape {pixels.shape}")
        geometry = self._geometry_of(pixels.shape[1], pixels.shape[0])
        if pixels.dtype == np.uint16:
            pixels = (pixels >> 8).astype(np.uint8)
        small = self._resize(pixels, geometry)
        spec = self._spec
        planar = spec.layout == "NCHW" and spec.color != "GRAY" and frame.color != "GRAY"
        if frame.color != spec.color and not planar:
            small = np.asarray(cv2.cvtColor(small, _CONVERSIONS[(frame.color, spec.color)]))
        top, left = max(0, geometry.offset_y), max(0, geometry.offset_x)
        rows = slice(top, top + small.shape[0])
        columns = slice(left, left + small.shape[1])
        if spec.color == "GRAY":
            target = self._buffer[0, 0] if spec.layout == "NCHW" else self._buffer[0, :, :, 0]
            self._write(small, target[rows, columns], 0)
        elif spec.layout == "NHWC":
            self._write(small, self._buffer[0, rows, columns], slice(None))
        else:
            planes = cv2.split(small)
            order = (0, 1, 2) if frame.color in (spec.color, "GRAY") else (2, 1, 0)
            for channel, plane in enumerate(order):
                self._write(planes[plane], self._buffer[0, channel, rows, columns], channel)
        return self._buffer, geometry

    def _geometry_of(self, width: int, height: int) -> Geometry:
        known = self._geometry
        if known is None or (known.source_width, known.source_height) != (width, height):
            known = self._geometry = plan_geometry(self._spec, width, height)
            self._fill_border()
        return known

    def _fill_border(self) -> None:
        pad = self._spec.pad_value if self._spec.resize == "letterbox" else 0
        for channel in range(self._spec.channels):
            value = pad if self._is_plain else pad * self._factor[channel] + self._shift[channel]
            if self._spec.layout == "NCHW":
                self._buffer[0, channel] = value
            else:
                self._buffer[0, :, :, channel] = value

    def _resize(self, pixels: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
        size = (geometry.resized_width, geometry.resized_height)
        if (pixels.shape[1], pixels.shape[0]) != size:
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR))
        top, left = max(0, -geometry.offset_y), max(0, -geometry.offset_x)
        return pixels[top : top + geometry.model_height, left : left + geometry.model_width]

    def _write(self, source: NDArray[Any], target: NDArray[Any], channel: int | slice) -> None:
        if self._is_plain:
            target[...] = source
        else:
            scaled = source.astype(np.float32)
            scaled *= self._factor[channel]
            scaled += self._shift[channel]
            target[...] = scaled
