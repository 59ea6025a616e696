# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes of labeled images as every file format holds them: names and pixels, before a model is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

from pydantic import ValidationError

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.one_line import one_line

Box = tuple[float, float, float, float]

SHARES_PX = 1.5
"""Boxes that all end within so many pixels of the corner are shares of the image's size."""


@dataclass(frozen=True)
class LabeledBox:
    """An object or a detection.

    Attributes:
        box_xyxy: left, top, right, bottom in pixels; continuous coordinates, (0, 0) is the image's corner.
        category: its name in the data.
        is_ignored: a detection inside is neither right nor wrong (a crowd, a difficult object).
        score: of a detection; None for ground truth.
    """

    box_xyxy: Box
    category: str
    is_ignored: bool = False
    score: float | None = None


@dataclass(frozen=True)
class LabeledImage:
    """An image with its boxes.

    Attributes:
        path: of the image file.
        boxes: in it.
        ignored_regions: left, top, right, bottom; detections of any category inside do not count.
        width: pixels, where the labels say it.
        height: likewise.
        image_id: its number in the data, where it has one.
        name: of the image in the data; the file's name where it is empty.
    """

    path: Path
    boxes: Sequence[LabeledBox] = ()
    ignored_regions: Sequence[Box] = ()
    width: int | None = None
    height: int | None = None
    image_id: int | None = None
    name: str = ""


@dataclass(frozen=True)
class BoxLabels:
    """The labels of a set of images.

    Attributes:
        source: the file or folder they were read from.
        images: in order.
        categories: all names of the data, also of those without a box.
        category_ids: their numbers in the data, where it numbers them from elsewhere than 0.
        notes: what was left out or assumed, in sentences.
    """

    source: Path
    images: Sequence[LabeledImage]
    categories: Sequence[str]
    category_ids: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def are_shares(box: Box) -> bool:
    """Return whether a box ends so near to the image's corner that it looks like shares of its size."""
    return max(map(abs, box)) <= SHARES_PX


def names_of(images: Sequence[LabeledImage]) -> list[str]:
    """Return the categories of the boxes, sorted: of formats without a list of names."""
    return sorted({box.category for image in images for box in image.boxes})


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height of an image file as it is stored; raise DataError where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.size
    except Exception as cause:  # Pillow raises what its many decoders raise
        raise DataError(f"not a readable image: {path}: {one_line(cause)}") from cause


def unique_stems(labels: BoxLabels, kind: str) -> list[str]:
    """Return the images' names without folder and suffix, of formats with a file for each image.

    Raises:
        DataError: two images have the same.
    """
    stems = [image.path.stem for image in labels.images]
    if len(set(stems)) < len(stems):
        twice = next(stem for index, stem in enumerate(stems) if stem in stems[:index])
        raise DataError(f"two images are called {twice}: in the format {kind} one would replace the other")
    return stems


def is_set(mark: object) -> bool:
    """Return whether a mark such as ``difficult`` is set; tools write numbers, booleans and words."""
    return str(mark).strip().casefold() in ("1", "true", "yes")


def twins_note(paths: Sequence[Path]) -> list[str]:
    """Return a sentence on images that differ in their suffix only and share their labels; else nothing."""
    twins = sorted(stem for stem, count in Counter(path.stem for path in paths).items() if count > 1)
    if not twins:
        return []
    return [f"{len(twins)} names have several images ({twins[0]}), each of which counts with the labels."]


def file_of(folder: Path, name: str) -> Path:
    """Return the image that labels name: in the folder, or beside it under the last part of its name."""
    file = folder / name
    return file if file.is_file() else folder / PureWindowsPath(name).name  # either separator


def first_finding(error: ValidationError, whole: str) -> str:
    """Return pydantic's first finding as ``key: what is wrong``; ``whole`` names the document itself."""
    finding = error.errors()[0]
    return f"{'.'.join(map(str, finding['loc'])) or whole}: {finding['msg']}"
