# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The raw encodings of sensor_msgs/Image: memory layout and conversion to pixels.

Names and meanings are those of sensor_msgs/image_encodings.hpp. An encoding that already is gray or
three 8-bit colors is read as a view of the message's bytes; the others are converted once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ImageError
from ad_compressed_perception.image.layouts import find_layout, nv12_of_nv24

Color = Literal["BGR", "RGB", "GRAY"]


@dataclass(frozen=True)
class Encoding:
    """Memory layout of one encoding.

    Attributes:
        channels: samples per pixel in a row.
        sample_bytes: 1 or 2; two bytes follow the message's ``is_bigendian``.
        color: channel order of the decoded pixels.
        conversion: OpenCV's color conversion code, or None where the samples are the pixels.
        multiple: (width, height) must be multiples of these: chroma is shared by pixel blocks.
        smallest_side: width and height must be at least this many pixels.
        chroma_rows: rows of chroma that follow the image's rows, for two rows of the image: 1 for YUV 4:2:0,
            4 (in pairs: one row of chroma is twice as long) for 4:4:4.
        is_mosaic: Bayer mosaic.
    """

    channels: int
    sample_bytes: int
    color: Color
    conversion: int | None = None
    multiple: tuple[int, int] = (1, 1)
    smallest_side: int = 1
    chroma_rows: int = 0
    is_mosaic: bool = False

    def rows(self, height: int) -> int:
        """Return how many rows of ``step`` bytes an image of this height has in memory."""
        return height + height * self.chroma_rows // 2


_GRAY8 = Encoding(1, 1, "GRAY")
_GRAY16 = Encoding(1, 2, "GRAY")
_UYVY = Encoding(2, 1, "BGR", cv2.COLOR_YUV2BGR_UYVY, multiple=(2, 1))
_YUYV = Encoding(2, 1, "BGR", cv2.COLOR_YUV2BGR_YUY2, multiple=(2, 1))
_YVYU = Encoding(2, 1, "BGR", cv2.COLOR_YUV2BGR_YVYU, multiple=(2, 1))

# ROS names a mosaic by its first row pair read from the top left; OpenCV's short names start at the
# second row and column, so that ROS's rggb is OpenCV's BG (in newer OpenCV also called RGGB).
_MOSAICS = {
    "rggb": cv2.COLOR_BayerBG2BGR,
    "bggr": cv2.COLOR_BayerRG2BGR,
    "gbrg": cv2.COLOR_BayerGR2BGR,
    "grbg": cv2.COLOR_BayerGB2BGR,
}

ENCODINGS: dict[str, Encoding] = {
    "bgr8": Encoding(3, 1, "BGR"),
    "rgb8": Encoding(3, 1, "RGB"),
    "bgra8": Encoding(4, 1, "BGR", cv2.COLOR_BGRA2BGR),
    "rgba8": Encoding(4, 1, "RGB", cv2.COLOR_RGBA2RGB),
    "bgr16": Encoding(3, 2, "BGR"),
    "rgb16": Encoding(3, 2, "RGB"),
    "bgra16": Encoding(4, 2, "BGR", cv2.COLOR_BGRA2BGR),
    "rgba16": Encoding(4, 2, "RGB", cv2.COLOR_RGBA2RGB),
    "mono8": _GRAY8,
    "8UC1": _GRAY8,
    "8UC3": Encoding(3, 1, "BGR"),
    "8UC4": Encoding(4, 1, "BGR", cv2.COLOR_BGRA2BGR),
    "mono16": _GRAY16,
    # OpenCV's bilinear demosaicing returns black for images below 3x3 without an error.
    **{
        f"bayer_{pattern}{8 * sample_bytes}": Encoding(
            1, sample_bytes, "BGR", code, smallest_side=3, is_mosaic=True
        )
        for sample_bytes in (1, 2)
        for pattern, code in _MOSAICS.items()
    },
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    "yuy2": _YUYV,
    "yvyu": _YVYU,
    "nv12": Encoding(1, 1, "BGR", cv2.COLOR_YUV2BGR_NV12, multiple=(2, 2), chroma_rows=1),
    "nv21": Encoding(1, 1, "BGR", cv2.COLOR_YUV2BGR_NV21, multiple=(2, 2), chroma_rows=1),
    "nv24": Encoding(1, 1, "BGR", chroma_rows=4),
}
"""Encodings read here, by the names used in sensor_msgs/Image.

8UC3 and 8UC4 are taken as BGR and BGRA, OpenCV's order. YUV is ITU-R BT.601 with luma 16..235, as OpenCV
converts it. The ``height`` of nv12, nv21 and nv24 is the image's; rows of chroma follow it.
"""

DEPTH_ENCODINGS = frozenset(("16UC1", "16SC1", "32SC1", "32FC1", "64FC1"))
"""Distances or other numbers, not a camera's brightness."""


def decode_raw(
    layout: Encoding,
    data: NDArray[np.uint8],
    *,
    width: int,
    height: int,
    step: int,
    is_bigendian: bool,
    sample_bits: int = 16,
) -> NDArray[Any]:
    """Return the pixels of a raw image.

    Args:
        layout: the encoding's entry in ``ENCODINGS``.
        data: (N,) the message's bytes.
        width: pixels in a row, at least 1.
        height: rows of the image, at least 1.
        step: bytes from one row to the next.
        is_bigendian: order of the two bytes of 16-bit samples.
        sample_bits: bits that 16-bit samples use, the lower ones.

    Returns:
        (H, W, 3) uint8 for BGR and RGB, (H, W) uint8 or uint16 for GRAY; a view of ``data`` where
        no conversion is needed.

    Raises:
        ImageError: the sizes contradict each other or the encoding.
    """
    row_bytes = width * layout.channels * layout.sample_bytes
    rows = layout.rows(height)
    if data.size != step * rows or step < row_bytes:
        height, step = find_layout(row_bytes, layout.chroma_rows, data.size, height, step)
        rows = layout.rows(height)
    if width % layout.multiple[0] or height % layout.multiple[1]:
        sides = "width and height" if layout.multiple[1] > 1 else "width"
        raise ImageError(f"this encoding needs an even {sides}")
    if min(width, height) < layout.smallest_side:
        raise ImageError(f"this encoding needs at least {layout.smallest_side} pixels a side")
    if layout.chroma_rows == 4:
        doubled = cv2.cvtColor(nv12_of_nv24(data, width, height, step), cv2.COLOR_YUV2BGR_NV12)
        return np.ascontiguousarray(doubled[::2, ::2])
    order = ">" if is_bigendian else "<"
    sample = np.dtype(np.uint8 if layout.sample_bytes == 1 else f"{order}u2")
    shape: tuple[int, ...] = (rows, width)
    strides: tuple[int, ...] = (step, layout.channels * layout.sample_bytes)
    if layout.channels > 1:
        shape, strides = (*shape, layout.channels), (*strides, layout.sample_bytes)
    samples: NDArray[Any] = np.ndarray(shape, sample, buffer=data, strides=strides)
    if layout.sample_bytes == 2:
        samples = _of_two_bytes(samples, layout.color, sample_bits)
    if layout.conversion is None:
        return samples
    return np.asarray(cv2.cvtColor(samples, layout.conversion))


def _of_two_bytes(samples: NDArray[Any], color: Color, sample_bits: int) -> NDArray[Any]:
    """Return 16-bit samples as pixels: 8 bits of colors, all bits of gray."""
    if color != "GRAY":
        return high_bytes(samples, sample_bits)
    if sample_bits < 16:
        return widen(samples, sample_bits)
    return samples if samples.dtype.isnative and samples.flags.aligned else samples.astype(np.uint16)


def high_bytes(samples: NDArray[Any], sample_bits: int = 16) -> NDArray[np.uint8]:
    """Return 16-bit samples scaled to 8 bits by ``>> (sample_bits - 8)``, as a new array of the same shape.

    Raises:
        ImageError: a sample has more bits.
    """
    if sample_bits < 16:
        _check_bits(samples, sample_bits)
    scaled = np.empty(samples.shape, np.uint8)
    np.right_shift(samples, sample_bits - 8, out=scaled, casting="unsafe")
    return scaled


def widen(samples: NDArray[Any], sample_bits: int) -> NDArray[np.uint16]:
    """Return samples of so many bits with their full range in 16; raise ImageError where one has more."""
    _check_bits(samples, sample_bits)
    return np.left_shift(samples, 16 - sample_bits, dtype=np.uint16)


def _check_bits(samples: NDArray[Any], sample_bits: int) -> None:
    if (largest := int(samples.max())) >> sample_bits:
        raise ImageError(f"a sample of {largest} has more than the {sample_bits} bits that were set")
