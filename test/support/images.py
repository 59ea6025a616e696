# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images and image messages for tests, laid out from the definitions of the encodings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

STAMP_NS = 12_000_000_345


def header() -> SimpleNamespace:
    stamp = SimpleNamespace(sec=12, nanosec=345)
    return SimpleNamespace(stamp=stamp, frame_id="camera_front_optical_frame")


def raw_message(
    encoding: Any,
    width: Any,
    height: Any,
    data: Any,
    *,
    step: Any = 0,
    is_bigendian: Any = 0,
) -> SimpleNamespace:
    """Return a message with the fields of sensor_msgs/Image."""
    return SimpleNamespace(
        header=header(),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=is_bigendian,
        step=step,
        data=data,
    )


def compressed_message(format_text: Any, data: Any) -> SimpleNamespace:
    """Return a message with the fields of sensor_msgs/CompressedImage."""
    return SimpleNamespace(header=header(), format=format_text, data=data)


def smooth_image(width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """Return a BGR image whose colors change slowly and differently along both axes.

    Slowly, so that shared chroma and demosaicing lose little; differently, so that a transposed
    image or swapped channels are far off.
    """
    x = np.linspace(0.0, 1.0, width)[None, :]
    y = np.linspace(0.0, 1.0, height)[:, None]
    blue, green, red = 40 + 120 * x + 0 * y, 60 + 100 * y + 0 * x, 220 - 90 * x - 80 * y
    return np.rint(np.stack([blue, green, red], axis=2)).astype(np.uint8)


def plain_image(bgr: tuple[int, int, int], width: int = 16, height: int = 12) -> Any:
    """Return a BGR image of one color."""
    return np.full((height, width, 3), bgr, np.uint8)


def padded(rows: NDArray[Any], padding_bytes: int, filler: int = 0xAB) -> tuple[bytes, int]:
    """Return rows of samples with bytes of filler after each row, and the step."""
    flat = np.ascontiguousarray(rows).view(np.uint8).reshape(rows.shape[0], -1)
    padding = np.full((rows.shape[0], padding_bytes), filler, np.uint8)
    wide = np.concatenate([flat, padding], axis=1)
    return wide.tobytes(), wide.shape[1]


def mosaic(bgr: NDArray[np.uint8], pattern: str) -> NDArray[np.uint8]:
    """Return what a sensor sees whose color filter begins with ``pattern`` (rggb: red at 0, 0)."""
    seen = np.empty(bgr.shape[:2], np.uint8)
    for place, letter in enumerate(pattern):
        row, column = divmod(place, 2)
        seen[row::2, column::2] = bgr[row::2, column::2, "bgr".index(letter)]
    return seen


def yuv_rows(bgr: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    """Return an image's bytes, row by row, in one of the YUV encodings.

    Luma and chroma values are OpenCV's (planar I420); only their order in memory is produced here, from
    the definitions of the fourcc codes UYVY, YUY2, NV12 and NV21.
    """
    height, width = bgr.shape[:2]
    planar = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)).reshape(-1)
    luma = planar[: width * height].reshape(height, width)
    quarter = width * height // 4
    u = planar[width * height :][:quarter].reshape(height // 2, width // 2)
    v = planar[width * height :][quarter:].reshape(height // 2, width // 2)
    if encoding == "nv24":  # chroma of each pixel, here the same for four
        pairs = np.stack([u, v], axis=2).repeat(2, axis=0).repeat(2, axis=1)
        return np.concatenate([luma, pairs.reshape(2 * height, width)])
    if encoding in ("nv12", "nv21"):
        pair = (u, v) if encoding == "nv12" else (v, u)
        return np.concatenate([luma, np.stack(pair, axis=2).reshape(height // 2, width)])
    u, v = u.repeat(2, axis=0), v.repeat(2, axis=0)
    even, odd = luma[:, 0::2], luma[:, 1::2]
    u, v = (v, u) if encoding == "yvyu" else (u, v)
    order = (u, even, v, odd) if encoding in ("yuv422", "uyvy") else (even, u, odd, v)
    return np.stack(order, axis=2).reshape(height, width * 2)


def jpeg_of(image: NDArray[Any], quality: int = 95) -> bytes:
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def png_of(image: NDArray[Any]) -> bytes:
    return bytes(cv2.imencode(".png", image)[1])
