# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""YOLO text files: a line an object, ``class x y width height [score]``, in shares of the image's size.

x and y are the box's center. An image's file has its name with .txt, in the folder ``labels`` where the image
is in ``images``; an image without a file has no objects.
Keypoints after the box (``kpt_shape:``) are not read. Names are in a YAML file (``names:``, a list or a
mapping of numbers), or in classes.txt. A line with a polygon (three points or more) stands for its box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.yaml_file import read_yaml_mapping
from ad_compressed_perception.data.frames import list_images
from ad_compressed_perception.data.labeled.box_labels import (
    BoxLabels,
    LabeledBox,
    LabeledImage,
    image_size,
    twins_note,
    unique_stems,
)

YAML_NAMES = ("data.yaml", "dataset.yaml", "data.yml")
CLASSES_NAME = "classes.txt"
_PARTS = ("val", "valid", "test", "train")
_TOLERANCE = 1e-3
"""How far a share may be beyond 0..1: rounding of the tools that write them."""


def names_of_yaml(path: Path) -> list[str]:
    """Return the class names of a YOLO YAML file, in the order of their numbers.

    Raises:
        DataError: it cannot be read, has no ``names``, or they are not numbered 0, 1, 2 ...
    """
    return _names(path, _read_yaml(path))


def _read_yaml(path: Path) -> dict[str, Any]:
    return read_yaml_mapping(path, "data set", DataError, strict=False, number_keys=True)


def _names(path: Path, content: dict[str, Any]) -> list[str]:
    names = content.get("names")
    for name in names.values() if isinstance(names, dict) else names if isinstance(names, list) else ():
        if isinstance(name, bool) or not isinstance(name, (str, int, float)):
            raise DataError(f"{path}: the name {name!r} is not text: put it in quotes")
    if isinstance(names, list) and names:
        return [str(name) for name in names]
    if isinstance(names, dict) and names:
        try:
            numbered = {int(key): str(name) for key, name in names.items()}
        except ValueError:
            numbered = {}
        if sorted(numbered) == list(range(len(names))):
            return [numbered[number] for number in sorted(numbered)]
        raise DataError(f"{path}: names must be numbered 0 to {len(names) - 1}, once each")
    raise DataError(f"{path} has no names: a list, or a mapping of 0, 1, 2 ... to names")


def read_yolo(labels: Path, frames: str | None) -> BoxLabels:
    """Return the labels of a YOLO data set.

    Args:
        labels: its YAML file, its folder, or the folder of the text files where ``frames`` is given.
        frames: folder of the images.

    Raises:
        DataError: no names, no images, or a malformed line; the message names file and line.
    """
    folder = labels.parent if labels.is_file() else labels
    yaml_file = labels if labels.is_file() else _find_yaml(folder)
    content = _read_yaml(yaml_file) if yaml_file is not None else {}
    names = _names(yaml_file, content) if yaml_file is not None else _names_of_text(folder)
    notes: list[str] = []
    if frames is not None:
        images, texts = Path(frames).expanduser(), folder
    else:
        images = _image_folder(folder, content, yaml_file, notes)
        texts = _text_folder(images, folder)
    has_keypoints = "kpt_shape" in content
    listed, absent, used = [], 0, set()
    for path in list_images(images):
        text = texts / f"{path.stem}.txt"
        if text.is_file():
            used.add(text)
            width, height = image_size(path)
            boxes = _read_boxes(text, names, (width, height), has_keypoints)
            listed.append(LabeledImage(path, boxes, width=width, height=height))
        else:
            absent += 1
            listed.append(LabeledImage(path))
    if absent == len(listed):
        raise DataError(f"no image of {images} has a text file of its name in {texts}")
    notes += twins_note([image.path for image in listed])
    if absent:
        notes.append(f"{absent} images have no text file and count as images without an object.")
    others = [text for text in texts.rglob("*.txt") if not text.name.startswith(".")]
    unused = len({text for text in others if text.name != CLASSES_NAME} - used)
    if unused:
        notes.append(f"{unused} text files in {texts} belong to none of these images and were left out.")
    return BoxLabels(
        labels, listed, names, {name: number for number, name in reversed([*enumerate(names)])}, notes
    )


def _find_yaml(folder: Path) -> Path | None:
    for place in (folder, folder.parent):
        for name in YAML_NAMES:
            if (place / name).is_file():
                return place / name
    return None


def _names_of_text(folder: Path) -> list[str]:
    for place in (folder, folder / "labels", folder.parent):
        if (place / CLASSES_NAME).is_file():
            try:
                lines = (place / CLASSES_NAME).read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as cause:
                raise DataError(f"cannot read {place / CLASSES_NAME}: {cause}") from cause
            return [line.strip() for line in lines if line.strip()]
    raise DataError(
        f"{folder} does not say what its class numbers mean: put {YAML_NAMES[0]} (names:) or {CLASSES_NAME} "
        "there"
    )


def _image_folder(folder: Path, content: dict[str, Any], yaml_file: Path | None, notes: list[str]) -> Path:
    """Return the folder of the images: that of val, valid, test or train of the YAML file, or images/."""
    for part in _PARTS:
        value = content.get(part)
        if not isinstance(value, str) or yaml_file is None:
            continue
        root = yaml_file.parent / str(content.get("path") or "")
        # Written for a working directory of their own, such as ../valid/images.
        tried = [root / value, yaml_file.parent / value, yaml_file.parent / value.removeprefix("../")]
        found = next((each for each in tried if each.is_dir()), None)
        if found is not None:
            if sum(key in content for key in _PARTS) > 1:
                notes.append(f"The part {part!r} of {yaml_file.name} was read.")
            return found
    for name in (folder / "images", folder):
        if name.is_dir():
            inner = [name / part for part in _PARTS if (name / part).is_dir()]
            return inner[0] if inner else name
    raise DataError(f"no images/ in {folder}")


def _text_folder(images: Path, folder: Path) -> Path:
    """Return the folder of the text files: ``labels`` in place of the last ``images`` of the path."""
    parts = list(images.parts)
    for index in reversed(range(len(parts))):
        if parts[index] == "images":
            parts[index] = "labels"
            other = Path(*parts)
            if other.is_dir():
                return other
            break
    return folder / "labels" if (folder / "labels").is_dir() else images


def _read_boxes(
    path: Path, names: Sequence[str], size: tuple[int, int], has_keypoints: bool
) -> list[LabeledBox]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        raise DataError(f"cannot read labels {path}: {cause}") from cause
    boxes = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            parts = line.split()[:5] if has_keypoints else line.split()
            boxes.append(_box(f"{path}, line {number}", parts, names, size))
    return boxes


def _box(where: str, parts: Sequence[str], names: Sequence[str], size: tuple[int, int]) -> LabeledBox:
    width, height = size
    try:
        values = [float(part) for part in parts]
    except ValueError:
        raise DataError(f"{where}: not numbers: {' '.join(parts)[:80]!r}") from None
    shares = values[1:]
    is_polygon = len(shares) >= 6 and len(shares) % 2 == 0
    if len(shares) not in (4, 5) and not is_polygon:
        raise DataError(f"{where}: {len(values)} numbers: expected class x y width height, or a polygon")
    if not all(map(math.isfinite, shares)):
        raise DataError(f"{where}: numbers that are not finite: {' '.join(parts)[:80]!r}")
    if not math.isfinite(values[0]) or values[0] != int(values[0]) or not 0 <= values[0] < len(names):
        raise DataError(f"{where}: class {values[0]:g} is none of the {len(names)} names")
    if min(shares) < -_TOLERANCE or max(shares) > 1.0 + _TOLERANCE:
        raise DataError(
            f"{where}: {max(shares, key=abs):g} is no share of the image's size: are they pixels?"
        )
    if is_polygon:
        xs, ys = shares[0::2], shares[1::2]
        left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    else:
        x, y, w, h = shares[:4]
        left, top, right, bottom = x - w / 2, y - h / 2, x + w / 2, y + h / 2
    score = shares[4] if len(shares) == 5 else None
    box = (left * width, top * height, right * width, bottom * height)
    return LabeledBox(box, names[int(values[0])], score=score)


def write_yolo(folder: Path, name: str, labels: BoxLabels) -> Path:
    """Write boxes, with their scores, as FOLDER/NAME/labels/*.txt beside data.yaml; return the latter.

    Raises:
        DataError: the size of an image is unknown.
    """
    root = folder / name
    (root / "labels").mkdir(parents=True, exist_ok=True)
    place = {category: number for number, category in enumerate(labels.categories)}
    for stem, image in zip(unique_stems(labels, "yolo"), labels.images, strict=True):
        if not image.width or not image.height:
            raise DataError(f"the size of {image.path} is unknown")
        lines = []
        for box in image.boxes:
            left, top, right, bottom = box.box_xyxy
            shares = (
                (left + right) / 2 / image.width,
                (top + bottom) / 2 / image.height,
                (right - left) / image.width,
                (bottom - top) / image.height,
            )
            score = [] if box.score is None else [box.score]
            lines.append(
                " ".join([str(place[box.category]), *(f"{value:.9g}" for value in (*shares, *score))])
            )
        text = root / "labels" / f"{stem}.txt"
        text.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    import yaml

    file = root / YAML_NAMES[0]
    file.write_text(
        yaml.safe_dump({"names": dict(enumerate(labels.categories))}, sort_keys=False, allow_unicode=True),
        encoding="utf-8",
    )
    return file
