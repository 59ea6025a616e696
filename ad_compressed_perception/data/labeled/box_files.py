# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which format the labels of boxes have, found from their content, and the formats that can be written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.labeled.bdd100k import frames_of, read_bdd100k, write_bdd100k
from ad_compressed_perception.data.labeled.box_labels import BoxLabels
from ad_compressed_perception.data.labeled.coco import JSON_NAMES, read_coco, write_coco
from ad_compressed_perception.data.labeled.dataset import default_frames
from ad_compressed_perception.data.labeled.kitti import FOLDERS as KITTI_FOLDERS
from ad_compressed_perception.data.labeled.kitti import is_kitti_line, read_kitti, write_kitti
from ad_compressed_perception.data.labeled.voc import read_voc, write_voc, xml_folder
from ad_compressed_perception.data.labeled.yolo_txt import (
    CLASSES_NAME,
    YAML_NAMES,
    read_yolo,
    write_yolo,
)

WRITERS: dict[str, Callable[[Path, str, BoxLabels], Path]] = {
    "coco": write_coco,
    "yolo": write_yolo,
    "voc": write_voc,
    "kitti": write_kitti,
    "bdd100k": write_bdd100k,
}
"""Format to the function that writes boxes of one name into a folder and returns the file or folder."""

_EXPECTED = (
    "a detection model is evaluated on a COCO or BDD100K file, or on YOLO, Pascal VOC or KITTI labels, with "
    "their images (FOLDER, FILE or LABELS@IMAGES)"
)


def read_box_labels(labels: Path, frames: str | None) -> BoxLabels:
    """Return boxes of any known format.

    Args:
        labels: file or folder.
        frames: folder of the images; None for the one beside the labels.

    Raises:
        DataError: no known format, malformed labels, or images that are missing; the message names the first.
    """
    found = _read(labels, frames)
    absent = [image.path for image in found.images if not image.path.is_file()]
    if absent:
        raise DataError(
            f"{labels} names {len(found.images)} images, {len(absent)} of them missing: {absent[0]}"
        )
    return found


def _read(labels: Path, frames: str | None) -> BoxLabels:
    if labels.is_file():
        if labels.suffix in (".yaml", ".yml"):
            return read_yolo(labels, frames)
        return _read_json(labels, frames)
    json_file = _find_json(labels)
    if json_file is not None:
        return _read_json(json_file, frames)
    if xml_folder(labels) is not None:
        return read_voc(labels, frames)
    line = _first_line(labels)
    if line is not None and is_kitti_line(line):
        return read_kitti(labels, frames)
    if line is not None or any((labels / name).is_file() for name in YAML_NAMES):
        return read_yolo(labels, frames)
    raise DataError(f"{labels} holds no {JSON_NAMES[0]} and no other labels of boxes: {_EXPECTED}")


def _read_json(path: Path, frames: str | None) -> BoxLabels:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as cause:
        raise DataError(f"cannot read labels {path}: {cause.strerror or cause}") from cause
    except (ValueError, RecursionError) as cause:  # not JSON, not text
        raise DataError(f"{path} is no JSON file: {cause}") from cause
    images = Path(frames if frames is not None else default_frames(path)).expanduser()
    listed = frames_of(content)
    return read_bdd100k(path, listed, images) if listed is not None else read_coco(path, content, images)


def _find_json(folder: Path) -> Path | None:
    for place in (folder, folder / "images"):
        for name in JSON_NAMES:
            if (place / name).is_file():
                return place / name
    others = sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))
    return others[0] if len(others) == 1 else None


def _first_line(folder: Path) -> str | None:
    """Return the first line with something in it of the text files of a folder or its folders of labels."""
    inner = sorted({*KITTI_FOLDERS, "labels", "labels/val", "labels/valid", "labels/test", "labels/train"})
    for place in (*(folder / name for name in inner), folder):
        for text in sorted(place.glob("*.txt")) if place.is_dir() else ():
            if text.name == CLASSES_NAME or text.name.startswith("."):
                continue
            try:
                lines = text.read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError):
                continue
            line = next((line for line in lines if line.strip()), None)
            if line is not None:
                return line
    return None
