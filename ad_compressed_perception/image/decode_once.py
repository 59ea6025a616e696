# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decodes each compressed image of a topic once in a process, however many nodes there use it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from ad_compressed_perception.image.decode import Frame, decode_image
from ad_compressed_perception.image.video import VideoImage


@dataclass
class _Last:
    """A topic's last message, whole as it was received, and what became of it."""

    lock: Lock = field(default_factory=Lock)
    message: bytes = b""
    limits: tuple[int, int] = (0, 0)
    frame: Frame | None = None


_last: defaultdict[str, _Last] = defaultdict(_Last)
_lock = Lock()


def decode_once(message: Any, topic: str, max_pixels: int, sample_bits: int = 0) -> Frame:
    """Return what decode_image returns, with read-only pixels where nodes may share them.

    Two nodes share a frame where every byte of their messages is the same, the header's too. The second one
    waits while the first one decodes. A raw image is not decoded, but seen where it lies.

    Args:
        message: an image message; that it is the same is known where its data is a view of the message.
        topic: see decode_image.
        max_pixels: see decode_image.
        sample_bits: see decode_image.

    Raises:
        ImageError: see decode_image.
    """
    if isinstance(message, VideoImage):
        return message.frame()
    serialized = getattr(message.data, "obj", None)
    if not isinstance(serialized, bytes) or not hasattr(message, "format"):
        return decode_image(message, topic, max_pixels, sample_bits)
    with _lock:
        last = _last[topic]
    with last.lock:
        limits = (max_pixels, sample_bits)
        if last.frame is None or last.limits != limits or last.message != serialized:
            frame = decode_image(message, topic, max_pixels, sample_bits)
            frame.pixels.flags.writeable = False
            last.message, last.limits, last.frame = serialized, limits, frame
        return last.frame
