# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI object labels: a text file an image in label_2/, the images in image_2/.

Format: readme.txt of the object development kit, https://www.cvlibs.net/datasets/kitti/eval_object.php. A
line has type, truncated, occluded, alpha, left, top, right, bottom, three sizes, three positions, rotation,
and in results a score. The regions DontCare hold objects that were not labeled: nothing counts there.
"""

from __future__ import annotations

import math
from pathlib import Path

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.frames import list_images
from ad_compressed_perception.data.labeled.box_labels import (
    Box,
    BoxLabels,
    LabeledBox,
    LabeledImage,
    names_of,
    twins_note,
    unique_stems,
)

FOLDERS = ("label_2", "labels")
_IMAGE_FOLDERS = ("image_2", "images")
_IGNORED = "dontcare"
_FIELDS = (15, 16)


def is_kitti_line(line: str) -> bool:
    """Return whether a line of a text file is one of KITTI: a name, and fourteen numbers or more."""
    parts = line.split()
    return len(parts) in _FIELDS and not parts[0].replace(".", "").isdigit()


def read_kitti(labels: Path, frames: str | None) -> BoxLabels:
    """Return the labels of a KITTI data set.

    Args:
        labels: folder of the text files, or the one that holds label_2/.
        frames: folder of the images.

    Raises:
        DataError: no images, or a malformed line; the message names file and line.
    """
    folder = next((labels / name for name in FOLDERS if (labels / name).is_dir()), labels)
    root = folder.parent if folder.name in FOLDERS else folder
    beside = (root / name for name in _IMAGE_FOLDERS)
    images = Path(frames).expanduser() if frames else next((each for each in beside if each.is_dir()), root)
    listed, absent = [], 0
    for path in list_images(images):
        text = folder / f"{path.stem}.txt"
        if text.is_file():
            boxes, regions = _read_file(text)
            listed.append(LabeledImage(path, boxes, regions))
        else:
            absent += 1
    if not listed:
        raise DataError(f"no image of {images} has a text file of its name in {folder}")
    # Unlike in YOLO, an image without objects has an empty file.
    notes = [f"{absent} images without a text file were left out."] if absent else []
    notes += twins_note([image.path for image in listed])
    return BoxLabels(labels, listed, names_of(listed), notes=notes)


def _read_file(path: Path) -> tuple[list[LabeledBox], list[Box]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        raise DataError(f"cannot read labels {path}: {cause}") from cause
    boxes: list[LabeledBox] = []
    regions: list[Box] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if not is_kitti_line(line):
            raise DataError(f"{path}, line {number}: not 15 fields of KITTI: {line.strip()[:80]!r}")
        parts = line.split()
        try:
            left, top, right, bottom = (float(part) for part in parts[4:8])
            score = float(parts[15]) if len(parts) > 15 else None
        except ValueError:
            raise DataError(f"{path}, line {number}: its box is no numbers") from None
        if not all(map(math.isfinite, (left, top, right, bottom))):
            raise DataError(f"{path}, line {number}: its box is not finite")
        box = (left, top, right, bottom)
        if parts[0].casefold() == _IGNORED:
            regions.append(box)
        else:
            boxes.append(LabeledBox(box, parts[0], score=score))
    return boxes, regions


def write_kitti(folder: Path, name: str, labels: BoxLabels) -> Path:
    """Write boxes, with their scores, as FOLDER/NAME/*.txt; what is unknown has KITTI's values for that.

    Names with spaces get underscores, since fields are separated by spaces.
    """
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    for stem, image in zip(unique_stems(labels, "kitti"), labels.images, strict=True):
        lines = []
        for box in image.boxes:
            edges = " ".join(f"{value:.9g}" for value in box.box_xyxy)
            score = "" if box.score is None else f" {box.score:.9g}"
            kind = "_".join(box.category.split())
            lines.append(f"{kind} -1 -1 -10 {edges} -1 -1 -1 -1000 -1000 -1000 -10{score}")
        lines += [
            "DontCare -1 -1 -10 "
            + " ".join(f"{value:.9g}" for value in region)
            + " -1 -1 -1 -1000 -1000 -1000 -10"
            for region in image.ignored_regions
        ]
        text = target / f"{stem}.txt"
        text.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return target
