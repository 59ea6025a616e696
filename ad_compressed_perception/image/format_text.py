# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the format text of a sensor_msgs/CompressedImage says, such as ``bayer_rggb8; jpeg compressed``.

image_transport writes the encoding before compression, the kind of file, and the order of the samples that
the encoder was given. Drivers write ``jpeg``, ``h264`` and others.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from ad_compressed_perception.core.errors import ImageError
from ad_compressed_perception.image.encodings import DEPTH_ENCODINGS, ENCODINGS, Color

SAMPLE_BITS = "ADCP_SAMPLE_BITS"
"""Environment variable: bits that 16-bit samples use, in every process where nothing else says it."""
_IMAGE_FILE = re.compile(r"\b(m?jpe?g|png)\b", re.IGNORECASE)
_STORED = re.compile(r"compressed\s+(\w+)")
_ENCODING_NAMES = {name.lower(): name for name in (*ENCODINGS, *DEPTH_ENCODINGS)}
_CODECS = (
    ("h264", re.compile(r"(?<![a-z0-9])(lib)?[hx]\.?264(?![0-9])|\bavc1?\b", re.IGNORECASE)),
    ("hevc", re.compile(r"(?<![a-z0-9])(lib)?[hx]\.?265(?![0-9])|(?<![a-z0-9])hevc", re.IGNORECASE)),
)
_OTHER_CODEC = re.compile(r"\b(lib)?(av1|vp8|vp9|mpeg4)\b", re.IGNORECASE)


@dataclass(frozen=True)
class FormatText:
    """A format text taken apart.

    Attributes:
        kind: of the data: an image file, a depth map, packets of a video, or unknown.
        source: encoding of the image before compression; empty where the text names none that is known.
        stored: encoding of the samples that the file's encoder was given; empty where it is not named.
        codec: of a video, by FFmpeg's name: ``h264`` or ``hevc``; empty for others.
    """

    kind: Literal["image", "depth", "video", "unknown"]
    source: str = ""
    stored: str = ""
    codec: str = ""

    @property
    def mosaic(self) -> str:
        """Encoding of the Bayer mosaic that the file holds; empty where it holds none."""
        layout = ENCODINGS.get(self.source)
        return self.source if layout and layout.is_mosaic and not self.stored.startswith("mono") else ""


def known_encoding(name: Any) -> str:
    """Return an encoding's name as ROS writes it, whatever its case; empty for an unknown one."""
    return _ENCODING_NAMES.get(name.lower(), "") if isinstance(name, str) else ""


def parse_format(text: Any) -> FormatText:
    """Return what a format text says; of what is no text, that it is unknown."""
    return _parse(text) if isinstance(text, str) else FormatText("unknown")


@lru_cache(maxsize=64)
def _parse(text: str) -> FormatText:
    word = text.partition(";")[0].strip().lower()
    source = known_encoding(word)
    stored = _STORED.search(text.lower())
    named = (source, stored[1] if stored else "")
    if "compresseddepth" in text.lower() or source in DEPTH_ENCODINGS:
        return FormatText("depth", *named)
    if word.startswith("bayer") and not source:  # colors of a mosaic that is not known
        return FormatText("unknown")
    if _IMAGE_FILE.search(text):
        return FormatText("image", *named)
    codec = next((name for name, pattern in _CODECS if pattern.search(text)), "")
    return FormatText("video" if codec or _OTHER_CODEC.search(text) else "unknown", *named, codec)


def known_sample_bits(given: int = 0) -> int:
    """Return the bits that 16-bit samples use where they were set, by a caller or the environment; else 0.

    Raises:
        ImageError: the environment's value is not 9 to 16.
    """
    text = os.environ.get(SAMPLE_BITS, "")
    if given or not text:
        return given
    if not text.isdecimal() or not 9 <= int(text) <= 16:
        raise ImageError(f"{SAMPLE_BITS} is 9 to 16, not {text[:20]!r}")
    return int(text)


def format_note(text: Any, color: Color) -> str:
    """Return what a reader of a file's pixels must know of them, one sentence; empty where there is nothing.

    Args:
        text: the format text.
        color: of the decoded pixels.
    """
    parsed = parse_format(text)
    if parsed.kind != "image":
        return ""
    if parsed.mosaic and color == "BGR":
        return (
            f"{parsed.mosaic} Bayer mosaics compressed as images: if the files were gray, their colors were "
            "interpolated, and compression has blurred them."
        )
    source = ENCODINGS.get(parsed.source)
    if source and source.color != "GRAY" and color == "GRAY":
        return (
            f"images were {parsed.source}, which has colors, but their files are gray (format "
            f"{text[:60]!r}): "
            "what compressed them dropped the colors."
        )
    if parsed.stored.startswith("rgb") and color == "BGR":
        return (
            f"format {text[:60]!r} may mean files with red and blue exchanged; they are read as they are: "
            f"compare "
            "the colors of an image."
        )
    return ""
