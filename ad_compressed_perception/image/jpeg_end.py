# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""JPEG files of drivers that leave out the end marker: completed where the whole image is there.

A cut-off file has no end marker either. Whether the entropy-coded data holds every block is known by decoding
it with different bytes behind it: blocks that are missing are then read from those bytes and differ.
"""

from __future__ import annotations

import re
from io import BytesIO

import numpy as np

_END = b"\xff\xd9"
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_ANY_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Bits that begin with 0, with 1, and with neither for long; a byte FF would begin a marker.
_FILLERS = tuple(bytes([value]) * 4096 for value in (0x00, 0xFE, 0x35))


def complete_jpeg(content: bytes, scan: int, size: tuple[int, int]) -> bytes | None:
    """Return a baseline JPEG with its end marker; None where blocks of its image are missing.

    Args:
        content: the file, checked up to its first scan.
        scan: where the entropy-coded data begins.
        size: (width, height), pixels.
    """
    from PIL import Image  # silent about damage, where OpenCV prints

    end = len(content.rstrip(b"\0"))
    if content.endswith(b"\xff", scan, end) and end < len(content):  # FF 00 is a byte FF of the image
        end += 1
    elif content.endswith(b"\xff", scan, end):  # half of the end marker
        end -= 1
    whole = content[:end]
    images = []
    try:
        if _ANY_MARKER.search(whole, scan) or not _has_restarts(whole, scan, size):
            return None
        for filler in _FILLERS:
            with Image.open(BytesIO(whole + filler + _END), formats=("JPEG",)) as image:
                images.append(np.asarray(image))
    except (OSError, ValueError, SyntaxError, IndexError, ZeroDivisionError):  # damaged segments
        return None
    if any(not np.array_equal(images[0], other) for other in images[1:]):
        return None
    return whole + _END


def _has_restarts(content: bytes, scan: int, size: tuple[int, int]) -> bool:
    """Return whether every restart marker is there: a decoder fills a missing interval without reading."""
    interval, blocks = 0, (8, 8)
    position = 2
    while position < scan:
        marker = content[position + 1]
        if content[position] != 0xFF or marker == 0xFF:
            position += 1
            continue
        length = int.from_bytes(content[position + 2 : position + 4], "big")
        segment = content[position + 4 : position + 2 + length]
        if marker == 0xDD:
            interval = int.from_bytes(segment[:2], "big")
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if marker > 0xC1:  # neither baseline nor extended sequential
                return False
            factors = [segment[7 + 3 * index] for index in range(segment[5])]
            if len(factors) > 1:  # a single component has blocks of 8x8 whatever its factors
                blocks = (8 * max(each >> 4 for each in factors), 8 * max(each & 15 for each in factors))
        position += 2 + length
    if not interval:
        return True
    units = -(-size[0] // blocks[0]) * -(-size[1] // blocks[1])
    return len(_RESTART.findall(content, scan)) == (units - 1) // interval
