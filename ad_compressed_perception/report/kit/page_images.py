# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images of a report as data: addresses, small enough that the page can be sent by mail."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from PIL import Image as PillowImage

MOST_PAGE_BYTES = 4_500_000
"""Of all images of a page together, as base64."""
_KINDS = {"PNG": "image/png", "JPEG": "image/jpeg"}
_KEPT_BYTES = 250_000
"""An image up to this size is embedded as it is: plots stay sharp."""
_MOST_PIXELS = 64_000_000
# Largest width and JPEG quality, tried in turn until the page is small enough.
_STEPS = ((1960, 88), (1400, 82), (1000, 75), (640, 65))


@dataclass(frozen=True)
class _Loaded:
    data: bytes
    kind: str
    pixels: np.ndarray


def embedded_images(folders: Sequence[Path], names: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return name to ``data:`` address of each image that can be shown, and name to reason of the others.

    Images above 250 kB become JPEG, and smaller, until all together stay below MOST_PAGE_BYTES.

    Args:
        folders: searched in turn; nothing outside them is read, whatever a report names.
        names: paths relative to them.
    """
    loaded: dict[str, _Loaded] = {}
    missing: dict[str, str] = {}
    for name in dict.fromkeys(names):
        found = _find(folders, name)
        if isinstance(found, str):
            missing[name] = found
        else:
            loaded[name] = found
    shown: dict[str, str] = {}
    for width, quality in _STEPS:
        shown = {name: _address(image, width, quality) for name, image in loaded.items()}
        if sum(map(len, shown.values())) <= MOST_PAGE_BYTES:
            return shown, missing
    total = 0
    for name, address in list(shown.items()):
        total += len(address)
        if total > MOST_PAGE_BYTES:
            missing[name] = "left out, the page would be too large; it is beside the report"
            del shown[name]
    return shown, missing


def _find(folders: Sequence[Path], name: str) -> _Loaded | str:
    found: _Loaded | str = "is not there"
    for folder in folders:
        found = _read(folder, name)
        if not isinstance(found, str):
            break
    return found


def _read(folder: Path, name: str) -> _Loaded | str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or ":" in name or not path.name:
        return "not read, it is outside the report's folder"
    file = folder / path
    try:
        if not file.resolve().is_relative_to(folder.resolve()):
            return "not read, it is outside the report's folder"
        data = file.read_bytes()
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or 'no such file'}"
    try:
        with PillowImage.open(io.BytesIO(data)) as image:
            kind, pixels = image.format or "", image.width * image.height
    except (OSError, ValueError, PillowImage.DecompressionBombError):
        return "is no image"
    if kind not in _KINDS or pixels > _MOST_PIXELS:
        return f"is no PNG or JPEG of up to {_MOST_PIXELS // 1_000_000} megapixels"
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return "cannot be decoded" if decoded is None else _Loaded(data, _KINDS[kind], np.asarray(decoded))


def _address(image: _Loaded, width: int, quality: int) -> str:
    data, kind = image.data, image.kind
    if len(data) > _KEPT_BYTES:
        pixels = image.pixels
        if pixels.shape[1] > width:
            size = (width, max(1, round(pixels.shape[0] * width / pixels.shape[1])))
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
        done, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if done and jpeg.size < len(data):
            data, kind = jpeg.tobytes(), "image/jpeg"
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
