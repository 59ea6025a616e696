# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mutants of image messages, JPEG, PNG and raw: decoded and converted within a limit of cost."""

from __future__ import annotations

import random
import struct
import time
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from ad_compressed_perception.image.decode import decode_image, to_bgr8, to_gray8
from ad_compressed_perception.image.encodings import ENCODINGS
from support.images import compressed_message, raw_message, smooth_image

MAX_PIXELS = 1 << 24
MAX_CPU_S = 6.0
"""Of one image; the largest ones allowed take 0.5 s on a quiet machine."""
_MAX_BYTES = 50_000_000
_NUMBERS = (
    -(2**63),
    -1,
    0,
    1,
    2,
    3,
    47,
    63,
    64,
    65,
    192,
    2**16,
    2**31 - 1,
    2**32 - 1,
    2**63,
    1.5,
    "8",
    None,
    True,
)
_TEXTS = (
    "",
    "jpeg",
    "png",
    "h264",
    "bgr8; jpeg compressed bgr8",
    "16UC1; compressedDepth",
    "bayer_rggb16; png compressed",
    "foo; hevc",
    None,
    7,
    "x" * 9000,
)
_files: list[bytes] = []


def prepare(folder: Path) -> None:
    """Write the files that are changed."""
    image = smooth_image()
    noise = np.random.default_rng(1).integers(0, 65535, (48, 64, 4)).astype(np.uint16)
    for suffix, pixels, parameters in (
        (".jpg", image, []),
        (".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        (".jpg", image, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]),
        (".jpg", image[..., 0], []),
        (".jpg", cv2.resize(image, (1600, 1200)), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        (".png", image, []),
        (".png", noise, []),
        (".png", noise[..., 0], []),
        (".png", (noise >> 8).astype(np.uint8), []),
        (".png", image[..., 0], [cv2.IMWRITE_PNG_BILEVEL, 1]),
    ):
        _files.append(bytes(cv2.imencode(suffix, pixels, parameters)[1]))


def case(pick: random.Random, number: int, folder: Path) -> str:
    """Decode one image as a node does."""
    message = _raw(pick) if pick.random() < 0.4 else _compressed(pick, folder)
    start = time.process_time()
    try:
        frame = decode_image(message, "/camera", MAX_PIXELS)
        assert frame.pixels.shape[:2] == to_bgr8(frame).shape[:2] == to_gray8(frame).shape
        assert frame.pixels.shape[0] * frame.pixels.shape[1] <= MAX_PIXELS
    finally:
        seconds = time.process_time() - start
        assert seconds < MAX_CPU_S, f"took {seconds:.1f} s of CPU"
    return "decoded"


def _raw(pick: random.Random) -> SimpleNamespace:
    width, height = pick.choice((1, 2, 3, 16, 64)), pick.choice((1, 2, 4, 48))
    encoding: Any = pick.choice((*ENCODINGS, "32FC1", "bayer_x", *_TEXTS))
    step = width * pick.choice((1, 2, 3, 4, 6))
    data: Any = bytes(
        step * height * pick.choice((1, 1, 1, 2)) + pick.choice((0, 0, 0, 1, -1, height * step // 2))
    )
    message = raw_message(encoding, width, height, data, step=step)
    for name in ("width", "height", "step", "is_bigendian"):
        if pick.random() < 0.1:
            setattr(message, name, pick.choice(_NUMBERS))
    if pick.random() < 0.05:
        message.data = pick.choice((b"", None, "text", [1, 2, 3], np.zeros((2, 2)), 7))
    if pick.random() < 0.02:
        message.header.stamp.sec = pick.choice(_NUMBERS)
    return message


def _compressed(pick: random.Random, folder: Path) -> SimpleNamespace:
    content = bytearray(pick.choice(_files))
    for _ in range(pick.choice((0, 1, 1, 2, 4))):
        content = _change(pick, content)[:_MAX_BYTES]
    (folder / "data").write_bytes(content)
    return compressed_message(pick.choice(("jpeg", "png", "jpeg", "png", *_TEXTS)), bytes(content))


def _change_bytes(pick: random.Random, content: bytearray) -> bytearray:
    for _ in range(pick.choice((1, 5, 50)) if content else 0):
        content[pick.randrange(len(content))] = pick.randrange(256)
    return content


def _change(pick: random.Random, content: bytearray) -> bytearray:
    kind = pick.randrange(9)
    place = pick.randrange(len(content) + 1)
    if kind == 0:
        return _change_bytes(pick, content)
    if kind == 1:
        return content[:place]
    if kind == 2:
        return content[:place] + content[place:][:5000] * pick.choice((2, 100, 1000)) + content[place:]
    if kind == 3:
        return (
            content[:2]
            + pick.choice((b"\xff", b"\xff\x01", b"\xff\xd0", b"\xff\xda\x00\x02")) * 500_000
            + content[2:]
        )
    if kind == 4:
        return _repeat_last_scan(pick, content)
    if kind == 5:
        return _resize(pick, content)
    if kind == 6:
        return content[:place] + bytes(pick.choice((1, 1000, 1_000_000))) + content[place:]
    if kind == 7:
        return content + bytearray(pick.choice(_files))
    return (
        bytearray(pick.choice((b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF89a", b"RIFF", b"II*\0")))
        + content[4:]
    )


def _repeat_last_scan(pick: random.Random, content: bytearray) -> bytearray:
    start, end = content.rfind(b"\xff\xda"), content.rfind(b"\xff\xd9")
    if not 0 < start < end:
        return content
    return content[:end] + content[start:end] * pick.choice((1, 10, 25, 500)) + content[end:]


def _resize(pick: random.Random, content: bytearray) -> bytearray:
    """Claim another size: in the header of a JPEG's frame or of a PNG, with a right checksum."""
    sides = (0, 1, 8, 4096, 4097, 20_000, 65_500, 65_535)
    width, height = pick.choice(sides), pick.choice(sides)
    for marker in (b"\xff\xc0", b"\xff\xc2"):
        start = content.find(marker)
        if start > 0:
            content[start + 5 : start + 9] = struct.pack(">HH", height, width)
    if content.startswith(b"\x89PNG") and len(content) > 33:
        kind, depth = pick.choice((content[25], 0, 2, 3, 4, 6, 9)), pick.choice((content[24], 1, 8, 16, 99))
        content[16:26] = struct.pack(">IIBB", width, height, depth, kind)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return content
