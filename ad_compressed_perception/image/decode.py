# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decodes image messages to arrays, without a copy where the encoding allows.

Messages are duck-typed: those of rclpy and of a bag reader alike, and anything with the fields of
sensor_msgs/Image or sensor_msgs/CompressedImage.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ImageError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.renamed import accept_old_attributes
from ad_compressed_perception.image.encodings import (
    DEPTH_ENCODINGS,
    ENCODINGS,
    Color,
    Encoding,
    decode_raw,
    high_bytes,
    widen,
)
from ad_compressed_perception.image.files import MAX_PIXELS, decode_file, refuse_size
from ad_compressed_perception.image.format_text import (
    SAMPLE_BITS,
    known_encoding,
    known_sample_bits,
    parse_format,
)

__all__ = ["Color", "Frame", "decode_image", "gray_of_file", "to_bgr8", "to_gray8"]

_NO_CAMERA = (
    f"not a camera's image; where it is one all the same, set sample_bits of the node or {SAMPLE_BITS} to "
    f"the "
    "bits that it uses, such as 12 or 16"
)


@dataclass(frozen=True)
class FrameInputs:
    """What is known at a frame's stamp.

    Attributes:
        previous: earlier frames of the camera, oldest first; whether they follow each other is judged by
            their stamps where they are used.
        values: tensor name to (N,) float64.
        problems: tensor name to why there is no value.
    """

    previous: tuple[Frame, ...] = ()
    values: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)


@accept_old_attributes(colour="color")
@dataclass(frozen=True)
class Frame:
    """One camera image.

    Attributes:
        pixels: (H, W, 3) uint8 for BGR and RGB, (H, W) uint8 or uint16 for GRAY. May be a read-only
            view of the message's bytes and need not be contiguous from row to row. 16-bit gray
            keeps its full range (12 bits are moved up to 16); ``to_gray8`` and ``to_bgr8`` scale it by
            ``>> 8``.
        color: channel order of ``pixels``.
        stamp_ns: source stamp, nanoseconds.
        inputs: what comes with it for models that have further inputs; None: nothing.
    """

    pixels: NDArray[Any]
    color: Color
    stamp_ns: int = 0
    inputs: FrameInputs | None = None


def decode_image(
    message: Any, topic: str = "image", max_pixels: int = MAX_PIXELS, sample_bits: int = 0
) -> Frame:
    """Return the image of a sensor_msgs Image or CompressedImage (the one with a ``format``).

    The raw encodings are those of ``encodings.ENCODINGS``; others are given to cv_bridge where it is
    installed. Compressed images are JPEG or PNG; the channel order is that of the file, since the one
    in the format text describes the image before compression.

    Args:
        message: the message; its data may be array.array, bytes or a numpy array.
        topic: where it came from, for the error's text.
        max_pixels: largest width times height; a 16-bit color PNG counts twice.
        sample_bits: bits that 16-bit samples use; 0: by ``ADCP_SAMPLE_BITS``, else 16. Where it is set,
            16UC1 and gray 16-bit files are a camera's images whatever they are called.

    Returns:
        The frame; its pixels share the message's memory for bgr8, rgb8, mono8, 8UC1, 8UC3 and,
        where the bytes are in native order and aligned, mono16 of 16 bits.

    Raises:
        ImageError: wrong sizes, no data, an unknown encoding or one of depth, a cut-off, damaged or too
        costly
            file, packets of a video (see ``video``), or fields that are not an image message's. The one
            line names topic, encoding and sizes.
    """
    try:
        stamp = message.header.stamp
        stamp_ns = operator.index(stamp.sec) * 1_000_000_000 + operator.index(stamp.nanosec)
        data = _as_bytes(message.data)
        if hasattr(message, "format"):
            description = f"format {_quote(message.format)}, {data.size} bytes"
        else:
            width, height, step = (
                operator.index(getattr(message, name)) for name in ("width", "height", "step")
            )
            is_bigendian = bool(operator.index(message.is_bigendian))
            description = (
                f"encoding {_quote(message.encoding)}, {width}x{height}, step {step}, {data.size} bytes"
            )
    except (AttributeError, TypeError, ValueError, BufferError) as error:
        raise ImageError(f"{topic}: not an image message: {one_line(error)}") from error
    try:
        if data.size == 0:
            raise ImageError("the message holds no data")
        if hasattr(message, "format"):
            pixels, color = _decode_compressed(message.format, data, max_pixels, sample_bits)
        else:
            if width <= 0 or height <= 0:
                raise ImageError("width and height must be at least 1")
            refuse_size(f"it says it is {width}x{height}", width * height, max_pixels)
            layout = ENCODINGS.get(message.encoding) if isinstance(message.encoding, str) else None
            if layout is None:
                layout = _unusual_encoding(message.encoding, sample_bits)
            if layout is None:
                pixels, color = _decode_with_cv_bridge(message, width, height)
            else:
                color = layout.color
                bits = known_sample_bits(sample_bits) or 16 if layout.sample_bytes == 2 else 16
                pixels = decode_raw(
                    layout,
                    data,
                    width=width,
                    height=height,
                    step=step,
                    is_bigendian=is_bigendian,
                    sample_bits=bits,
                )
    except ImageError as error:
        raise ImageError(f"{topic}: {description}: {error}") from error.__cause__
    except (cv2.error, MemoryError) as error:
        raise ImageError(f"{topic}: {description}: cannot be converted: {one_line(error)}") from error
    return Frame(pixels, color, stamp_ns)


def to_bgr8(frame: Frame) -> NDArray[np.uint8]:
    """Return the frame as an own, writable, contiguous (H, W, 3) uint8 BGR array, to draw on.

    16-bit gray is scaled by ``>> 8``.
    """
    if frame.color == "BGR":
        return np.array(frame.pixels, np.uint8, order="C")
    if frame.color == "RGB":
        return np.asarray(cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR), np.uint8)
    return np.asarray(cv2.cvtColor(to_gray8(frame), cv2.COLOR_GRAY2BGR), np.uint8)


def to_gray8(frame: Frame) -> NDArray[np.uint8]:
    """Return the frame as an own, writable, contiguous (H, W) uint8 array.

    Colors are weighted as in ITU-R BT.601 (0.299 R, 0.587 G, 0.114 B); 16-bit gray is scaled by
    ``>> 8``.
    """
    if frame.color == "GRAY":
        if frame.pixels.dtype == np.uint16:
            return high_bytes(frame.pixels)
        return np.array(frame.pixels, np.uint8, order="C")
    code = cv2.COLOR_BGR2GRAY if frame.color == "BGR" else cv2.COLOR_RGB2GRAY
    return np.asarray(cv2.cvtColor(frame.pixels, code), np.uint8)


def _decode_compressed(
    format_text: Any, data: NDArray[np.uint8], max_pixels: int, sample_bits: int
) -> tuple[NDArray[Any], Color]:
    parsed = parse_format(format_text)
    bits = known_sample_bits(sample_bits)
    if parsed.kind == "depth" and (
        not bits or parsed.source != "16UC1" or "compresseddepth" in format_text.lower()
    ):
        raise ImageError(f"a depth map ({parsed.source or 'compressedDepth'}), {_NO_CAMERA}")
    if parsed.kind == "video":
        raise ImageError(f"a packet of {parsed.codec or 'a'} video, which is not an image of its own")
    # The file's bytes, not the format text, decide between JPEG and PNG.
    if parsed.kind == "unknown":
        raise ImageError(
            "unknown format; known: jpeg, png (such as 'bgr8; jpeg compressed bgr8'), and of videos h264, "
            "hevc"
        )
    pixels, color = decode_file(data, max_pixels, bits or 16)
    return (pixels, color) if color != "GRAY" else gray_of_file(pixels, parsed.source, parsed.mosaic, bits)


def gray_of_file(
    pixels: NDArray[Any], source: str = "", mosaic: str = "", sample_bits: int = 0
) -> tuple[NDArray[Any], Color]:
    """Return what a file's samples of gray are, by what names them: gray, or a mosaic's colors.

    Args:
        pixels: (H, W) uint8 or uint16.
        source: encoding before compression; empty where nothing says it.
        mosaic: encoding of a Bayer mosaic; empty for none.
        sample_bits: bits that 16-bit samples use, where that was set; else 0.

    Raises:
        ImageError: 16-bit samples that nothing calls a camera's.
    """
    layout = ENCODINGS.get(mosaic)
    if pixels.dtype == np.uint16:
        named = ENCODINGS.get(source)
        if not sample_bits and (named is None or named.sample_bytes == 1):
            raise ImageError(
                f"a gray 16-bit file, as of depth or labels, that nothing calls mono16: {_NO_CAMERA}"
            )
        if layout is not None:
            pixels = high_bytes(pixels, sample_bits or 16)
        elif 0 < sample_bits < 16:
            pixels = widen(pixels, sample_bits)
    if layout is None or layout.conversion is None or min(pixels.shape) < layout.smallest_side:
        return pixels, "GRAY"
    # As image_transport: the first word is the encoding of the pixels in the file.
    return np.asarray(cv2.cvtColor(pixels, layout.conversion), np.uint8), layout.color


def _unusual_encoding(encoding: Any, sample_bits: int) -> Encoding | None:
    """Return the layout of an encoding in other letters; raise ImageError for one of depth."""
    name = known_encoding(encoding)
    if name in DEPTH_ENCODINGS:
        if name == "16UC1" and known_sample_bits(sample_bits):
            return ENCODINGS["mono16"]
        raise ImageError(f"a depth map, {_NO_CAMERA if name == '16UC1' else 'not an image of a camera'}")
    return ENCODINGS.get(name)


def _decode_with_cv_bridge(message: Any, width: int, height: int) -> tuple[NDArray[Any], Color]:
    bridge = _cv_bridge()
    known = ", ".join(ENCODINGS)
    if bridge is None:
        raise ImageError(f"unknown encoding (and no usable cv_bridge); known: {known}")
    # cv_bridge raises errors of its own, of OpenCV, of numpy and plain Python ones.
    try:
        pixels = np.asarray(bridge.imgmsg_to_cv2(message, desired_encoding="bgr8"))
    except Exception as error:
        raise ImageError(f"unknown encoding (cv_bridge: {one_line(error)}); known: {known}") from error
    if pixels.dtype != np.uint8 or pixels.shape != (height, width, 3):
        raise ImageError(
            f"cv_bridge returned {pixels.dtype}{list(pixels.shape)}, not uint8[{height}, {width}, 3]"
        )
    return pixels, "BGR"


@lru_cache(maxsize=1)
def _cv_bridge() -> Any:
    """Return a CvBridge, or None where cv_bridge is absent or incompatible; tried once per process."""
    # A cv_bridge built for another numpy fails with more than ImportError.
    try:
        return import_module("cv_bridge").CvBridge()
    except Exception:
        return None


def _as_bytes(data: Any) -> NDArray[np.uint8]:
    """Return any buffer's bytes as (N,) uint8 without a copy."""
    if len(data) == 0:
        return np.empty(0, np.uint8)
    return np.frombuffer(data, np.uint8)


def _quote(text: Any) -> str:
    shown = repr(text)
    return shown if len(shown) <= 60 else f"{shown[:56]}...'"
