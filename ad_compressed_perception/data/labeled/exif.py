# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""EXIF orientations: never applied to pixels, so labels that were drawn on rotated images do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_ORIENTATION = 0x0112  # of TIFF 6.0, in EXIF
_UPRIGHT = 1


def orientation(path: Path) -> int:
    """Return the EXIF orientation of an image, 1..8; 1 where it has none or cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.format != "JPEG":  # Pillow decodes a whole PNG to look for it
                return _UPRIGHT
            value = image.getexif().get(_ORIENTATION, _UPRIGHT)
    except Exception:  # Pillow raises what its many decoders raise; reading the pixels reports it
        return _UPRIGHT
    return value if isinstance(value, int) and 1 <= value <= 8 else _UPRIGHT


def rotation_hint(path: Path) -> str:
    """Return the end of a message about an image of an unexpected size: whether EXIF explains it."""
    found = orientation(path)
    if found == _UPRIGHT:
        return ""
    return (
        f"; its EXIF orientation is {found}, which is not applied: a camera's messages have none. Labels "
        "drawn on the rotated image need rotated pixels: write them without EXIF, such as with ImageMagick's "
        "mogrify -auto-orient -strip"
    )


def rotation_note(paths: Sequence[Path]) -> list[str]:
    """Return a sentence on images with an EXIF orientation, which labels may or may not follow; else nothing.

    Sizes reveal a quarter turn only: half turns and square images give no error.
    """
    rotated = [path for path in paths if orientation(path) != _UPRIGHT]
    if not rotated:
        return []
    first = f"{orientation(rotated[0])} in {rotated[0].name}"
    return [
        f"{len(rotated)} images have an EXIF orientation ({first}); it is not applied, so labels drawn on "
        "rotated images do not fit them."
    ]
