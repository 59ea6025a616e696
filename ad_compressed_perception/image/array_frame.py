# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A numpy array as a camera's image, by the names of the encodings of sensor_msgs/Image."""

from __future__ import annotations

from typing import Any

import numpy as np

from ad_compressed_perception.core.errors import ImageError
from ad_compressed_perception.core.one_line import shorten
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.image.encodings import ENCODINGS, Encoding, decode_raw


def frame_of_array(image: Any, encoding: str = "bgr8") -> Frame:
    """Return an array as a frame, without a copy where the encoding allows and the array is contiguous.

    Args:
        image: (H, W, C) or, of one channel, (H, W) or (H, W, 1); uint8, or uint16 where the encoding says 16.
            Of nv12, nv21 and nv24 the rows of chroma follow the image's, as OpenCV has them.
        encoding: one of ``encodings.ENCODINGS``.

    Raises:
        ImageError: an unknown encoding, or an array of another shape or type; the line names both.
    """
    layout = ENCODINGS.get(encoding) if isinstance(encoding, str) else None
    if layout is None:
        raise ImageError(
            f"unknown encoding {shorten(repr(encoding))} of an image; known: {', '.join(ENCODINGS)}"
        )
    if not isinstance(image, np.ndarray):
        raise ImageError(_not_an_array(image))
    is_of_type = image.dtype.kind == "u" and image.dtype.itemsize == layout.sample_bytes
    pixels = image[..., 0] if layout.channels == 1 and image.ndim == 3 and image.shape[2] == 1 else image
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if not is_of_type or pixels.ndim not in (2, 3) or channels != layout.channels or not pixels.size:
        raise ImageError(
            f"{encoding} needs uint{8 * layout.sample_bytes} ({_shape_text(layout)}), the image is "
            f"{image.dtype} {image.shape}{_way_out(image, layout)}"
        )
    rows, width = pixels.shape[:2]
    height = 2 * rows // (2 + layout.chroma_rows)
    if layout.rows(height) != rows:
        raise ImageError(f"{encoding} has {layout.chroma_rows} rows of chroma for 2 of the image, not {rows}")
    data = np.ascontiguousarray(pixels)
    try:
        decoded = decode_raw(
            layout,
            data.reshape(-1).view(np.uint8),
            width=width,
            height=height,
            step=width * layout.channels * layout.sample_bytes,
            is_bigendian=not np.little_endian if data.dtype.isnative else np.little_endian,
        )
    except ImageError as error:
        raise ImageError(f"{encoding}, {width}x{height}: {error}") from error
    return Frame(decoded, layout.color)


def _shape_text(layout: Encoding) -> str:
    rows = "H, W" if layout.chroma_rows == 0 else f"H * {(2 + layout.chroma_rows) / 2:g}, W"
    return rows if layout.channels == 1 else f"{rows}, {layout.channels}"


def _not_an_array(image: Any) -> str:
    what = f"an image is a numpy array, not {type(image).__name__}"
    if image is None:
        return f"{what}: cv2.imread returns None where it cannot read a file"
    if isinstance(image, (str, bytes)) or hasattr(image, "__fspath__"):
        return f"{what}: read the file first, for example with cv2.imread"
    return f"{what}: np.asarray(image); of Pillow with encoding='rgb8'"


def _way_out(image: Any, layout: Encoding) -> str:
    """Return what probably helps, from what the array looks like."""
    if image.dtype.kind == "f":
        return "; numbers of 0..1 times 255, as uint8"
    if image.dtype == bool or image.dtype.kind not in "u":
        return "; pixels are unsigned integers: image.astype(np.uint8) where all are 0..255"
    if image.ndim == 3 and image.shape[0] in (1, 3, 4) and image.shape[2] not in (1, 3, 4):
        return "; channels come last: np.moveaxis(image, 0, -1)"
    if image.ndim == 4:
        return "; one image a call"
    if image.dtype.itemsize == 2 and layout.sample_bytes == 1:
        return "; of 16 bits encoding='bgr16', 'rgb16' or 'mono16'"
    if image.ndim == 2 and layout.channels > 2:
        return "; of gray images encoding='mono8' (uint8) or 'mono16' (uint16)"
    if image.ndim == 3 and image.shape[2] == 4 and layout.channels == 3:
        return "; with alpha encoding='bgra8' or 'rgba8'"
    return ""
