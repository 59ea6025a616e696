# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decodes JPEG and PNG files after checking that they are complete and not too large.

OpenCV decodes some truncated files to images with a gray remainder and prints warnings for others,
so the structure is checked first. A baseline JPEG that lacks only its end marker is completed. Damage
inside JPEG's entropy-coded data is not detected: JPEG has no checksum. Structures: ITU-T T.81 annex B
(JPEG), W3C PNG section 5 (PNG).
"""

from __future__ import annotations

import re
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ImageError
from ad_compressed_perception.image.encodings import Color, high_bytes
from ad_compressed_perception.image.jpeg_end import complete_jpeg

MAX_PIXELS = 1 << 26
"""Largest image decoded unless a caller says otherwise, 67 megapixels: a header of a few bytes must not
claim gigabytes."""
MAX_SCANS = 32
"""Scans of a JPEG. Encoders write up to about 12, and each costs a pass over the whole image."""
_PIXEL_BYTES = 8  # 16-bit RGBA, not compressed
_SLACK_BYTES = 1 << 24
_MAX_MARKERS = 4096
_MAX_CHUNKS = 1 << 16

_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = b"\xff\xda"
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_DEPTH = 24  # where the header has the bits of a sample; the color type follows
_PNG_GRAY = (0, 4)
_FILL = re.compile(rb"\xff+")
# The pixel grid is the camera's: an EXIF orientation must not rotate it. Alpha is dropped.
_READ_FLAGS = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION


def decode_file(
    data: NDArray[np.uint8], max_pixels: int = MAX_PIXELS, sample_bits: int = 16
) -> tuple[NDArray[Any], Color]:
    """Return the image of a whole JPEG or PNG file.

    Args:
        data: (N,) the file's bytes; bytes after the file's end are ignored.
        max_pixels: largest width times height; one of 16-bit color counts twice.
        sample_bits: bits that 16-bit color uses.

    Returns:
        Pixels and their order: (H, W, 3) uint8 BGR, or GRAY (H, W) uint8, or uint16 for 16-bit gray
        PNG. 16-bit color is scaled to 8 bits, alpha dropped, an EXIF orientation not applied.

    Raises:
        ImageError: neither JPEG nor PNG, cut off, damaged, above ``max_pixels``, or of more parts than an
            encoder writes, each of which would cost time.
    """
    if data.size > _SLACK_BYTES + _PIXEL_BYTES * max_pixels:
        raise ImageError(
            "the file is larger than the largest image allowed (a node's parameter max_image_pixels)"
        )
    content = data.tobytes()
    if content.startswith(_JPEG_START):
        kind, weight, (width, height, open_scan) = "JPEG", 1, _check_jpeg(content)
        if open_scan:
            refuse_size(f"the JPEG says it is {width}x{height}", width * height, max_pixels)
            completed = complete_jpeg(content, open_scan, (width, height))
            if completed is None:
                raise ImageError(f"the JPEG of {width}x{height} is cut off: {len(content)} bytes and no end")
            data = np.frombuffer(completed, np.uint8)
    elif content.startswith(_PNG_START):
        kind, (width, height) = "PNG", _check_png(content)
        weight = 2 if content[_PNG_DEPTH] == 16 and content[_PNG_DEPTH + 1] not in _PNG_GRAY else 1
    else:
        raise ImageError("the data is neither a JPEG nor a PNG file")
    if width == 0 or height == 0:
        raise ImageError(f"the {kind} says it is {width}x{height} pixels")
    refuse_size(f"the {kind} says it is {width}x{height}", width * height * weight, max_pixels)
    try:
        decoded: Any = cv2.imdecode(data, _READ_FLAGS)
    except (cv2.error, MemoryError) as error:
        raise ImageError(f"the {kind} of {width}x{height} cannot be decoded") from error
    if decoded is None or decoded.shape[:2] != (height, width):
        raise ImageError(f"the {kind} of {width}x{height} cannot be decoded: damaged or unusual")
    pixels: NDArray[Any] = decoded
    if pixels.ndim == 2:
        return pixels, "GRAY"
    if pixels.dtype == np.uint16:
        pixels = high_bytes(pixels, sample_bits)
    return pixels, "BGR"


def refuse_size(what: str, pixels: int, max_pixels: int) -> None:
    """Raise ImageError where an image has more pixels than allowed."""
    if pixels > max_pixels:
        raise ImageError(
            f"{what}, {pixels} pixels where {max_pixels} are allowed (a node's parameter max_image_pixels)"
        )


def _check_jpeg(content: bytes) -> tuple[int, int, int]:
    """Return (width, height, 0) of a JPEG that has its end marker; raise ImageError else.

    Of a baseline JPEG of one scan without it the third number is where its entropy-coded data begins.
    """
    size: tuple[int, int] | None = None
    components, progressive = b"", False
    position = len(_JPEG_START)
    for _ in range(_MAX_MARKERS):
        position = content.find(b"\xff", position)
        fill = _FILL.match(content, position) if position >= 0 else None
        if fill is None or fill.end() >= len(content):
            break
        position = fill.end()
        marker = content[position]
        position += 1
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # markers without a segment
            continue
        if marker == 0xD9:
            raise ImageError("the JPEG ends before its image")
        length = int.from_bytes(content[position : position + 2], "big")
        if length < 2 or position + length > len(content):
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            if length < 8:
                break
            height = int.from_bytes(content[position + 3 : position + 5], "big")
            width = int.from_bytes(content[position + 5 : position + 7], "big")
            size, components = (width, height), content[position + 7 : position + 8]
            progressive = marker in _PROGRESSIVE
        position += length
        if marker == 0xDA:  # start of scan: the entropy-coded data follows, then the end marker
            if size is None:
                break
            several = progressive or not content.startswith(components, position - length + 2)
            # Entropy-coded data never holds FF D9; an embedded thumbnail's lies before the scan.
            end = content.find(_JPEG_END, position)
            if content.find(_JPEG_START, position, max(end, position)) >= 0:
                raise ImageError(
                    f"the JPEG of {size[0]}x{size[1]} is cut off: another one begins before its end"
                )
            if end < 0:
                if not several and min(size) > 0:
                    return *size, position
                raise ImageError(
                    f"the JPEG of {size[0]}x{size[1]} is cut off: {len(content)} bytes and no end"
                )
            # A decoder reads further scans where the first one has not all of the image. Their markers are
            # not in entropy-coded data either, but may follow the end, as in a preview: an upper limit.
            scans = 1 + (content.count(_JPEG_SCAN, position) if several else 0)
            if scans > MAX_SCANS:
                raise ImageError(
                    f"the JPEG of {size[0]}x{size[1]} has {scans} scans where {MAX_SCANS} are allowed, "
                    "each of which costs as much as an image: encode it as baseline JPEG"
                )
            return *size, 0
    raise ImageError(f"the JPEG is cut off or damaged in its header ({len(content)} bytes)")


def _check_png(content: bytes) -> tuple[int, int]:
    """Return (width, height) of a PNG whose chunks are all whole; raise ImageError else."""
    view = memoryview(content)
    size: tuple[int, int] | None = None
    has_data = False
    position = len(_PNG_START)
    for _ in range(_MAX_CHUNKS):
        if position + 12 > len(view):
            break
        length = int.from_bytes(view[position : position + 4], "big")
        name = bytes(view[position + 4 : position + 8])
        end = position + 8 + length
        if end + 4 > len(view):
            break
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise ImageError(f"the PNG is damaged at byte {position} (checksum)")
        if size is None:
            if name != b"IHDR" or length != 13 or view[position + 17] not in _PNG_CHANNELS:
                raise ImageError("the PNG does not begin with a valid header")
            size = (
                int.from_bytes(view[position + 8 : position + 12], "big"),
                int.from_bytes(view[position + 12 : position + 16], "big"),
            )
        elif name == b"IDAT":
            has_data = True
        elif name == b"IEND":
            if not has_data:
                raise ImageError("the PNG holds no image")
            return size
        position = end + 4
    else:
        raise ImageError("the PNG has more chunks than are read")
    size_text = f" of {size[0]}x{size[1]}" if size else ""
    raise ImageError(f"the PNG{size_text} is cut off: {len(content)} bytes and no end")
