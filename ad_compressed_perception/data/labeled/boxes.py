# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images with ground-truth boxes in COCO format; categories are matched to a model's labels by name."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.bad_frames import BadFrame
from ad_compressed_perception.data.frames import read_image_file
from ad_compressed_perception.data.labeled.dataset import LabeledData, LabeledFrame, default_frames
from ad_compressed_perception.data.labeled.exif import rotation_hint, rotation_note
from ad_compressed_perception.data.labeled.label_map import (
    NO_CLASS,
    ClassTable,
    LabelMap,
    few,
    normalized,
    table_of_map,
)
from ad_compressed_perception.metrics.average_precision import GroundTruthBoxes

JSON_NAMES = ("instances.json", "_annotations.coco.json")


class CocoImage(BaseModel):
    """An image entry; other keys are not needed."""

    id: int
    file_name: str
    width: int | None = None
    height: int | None = None


class CocoAnnotation(BaseModel):
    """An object: its box is left, top, width, height in pixels."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0


class CocoCategory(BaseModel):
    """A category's number and name."""

    id: int
    name: str


class CocoFile(BaseModel):
    """The parts of a COCO instances file that detection needs."""

    images: list[CocoImage] = Field(min_length=1)
    annotations: list[CocoAnnotation]
    categories: list[CocoCategory] = Field(min_length=1)


def read_coco(path: Path) -> CocoFile:
    """Read a COCO instances file; raise DataError in one line where it is not one."""
    try:
        return CocoFile.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as cause:
        raise DataError(f"cannot read labels {path}: {cause.strerror or cause}") from cause
    except ValidationError as cause:
        findings = cause.errors()
        key = ".".join(map(str, findings[0]["loc"])) or "top level"
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        raise DataError(f"{path} is no COCO file: {key}: {findings[0]['msg']}{more}") from cause
    except ValueError as cause:  # not JSON, not text
        raise DataError(f"{path} is no JSON file: {cause}") from cause


class BoxData(LabeledData):
    """A COCO file and its folder of images; the ground truth of a frame is GroundTruthBoxes."""

    task = "detection"

    def __init__(
        self,
        labels_path: Path,
        frames: str | None,
        model_labels: Sequence[str],
        label_map: LabelMap | None = None,
        evaluated: Collection[str] | None = None,
    ) -> None:
        """Read the labels and check that the images exist.

        Args:
            labels_path: COCO file, or the folder that holds it.
            frames: folder of the images; None for the one beside the labels.
            model_labels: the model's label names.
            label_map: maps categories to labels; None to match them by name.
            evaluated: of the labels matched by name, those to evaluate; None for all.

        Raises:
            DataError: no or malformed labels, no image for an entry, or no category that is one of
                the model's labels.
        """
        path = _find_json(labels_path)
        self._folder = Path(frames if frames is not None else default_frames(path)).expanduser()
        coco = read_coco(path)
        self.describe = f"{path}@{self._folder}" if frames else str(labels_path)
        self.notes = []
        self._images = coco.images
        self._paths = [self._folder / image.file_name for image in coco.images]
        absent = [file for file in self._paths if not file.is_file()]
        if absent:
            raise DataError(
                f"{path} names {len(self._paths)} images, {len(absent)} of them missing: {absent[0]}"
            )
        if label_map is None:
            self.classes, of_category = self._match_by_name(coco, model_labels, evaluated)
        else:
            self.classes, of_category = self._match_by_map(coco, model_labels, label_map)
        if not of_category:
            raise DataError(
                f"no category of {path} is a label of the model: {few(one.name for one in coco.categories)} "
                f"against {few(model_labels)}; a label map (--label-map) can join them"
            )
        self.class_names = self.classes.names
        self.notes += rotation_note(self._paths)
        self._ground_truths = self._gather(path, coco, of_category)

    def _match_by_name(
        self, coco: CocoFile, model_labels: Sequence[str], evaluated: Collection[str] | None
    ) -> tuple[ClassTable, dict[int, int]]:
        """Return the classes that both sides know, and the class of each such category id."""
        known = {
            normalized(label): index
            for index, label in enumerate(model_labels)
            if evaluated is None or label in evaluated
        }
        # Several categories may carry one name; the class takes the model's spelling.
        matched = {
            one.id: known[normalized(one.name)] for one in coco.categories if normalized(one.name) in known
        }
        self._note_unmatched(one.name for one in coco.categories if one.id not in matched)
        chosen = sorted(set(matched.values()))
        of_label = np.full(len(model_labels), NO_CLASS, np.int64)
        of_label[chosen] = np.arange(len(chosen))
        table = ClassTable(tuple(model_labels[index] for index in chosen), of_label)
        return table, {category: int(of_label[label]) for category, label in matched.items()}

    def _match_by_map(
        self, coco: CocoFile, model_labels: Sequence[str], label_map: LabelMap
    ) -> tuple[ClassTable, dict[int, int]]:
        table = table_of_map(label_map, model_labels, with_rest=False)
        class_of_name = {
            normalized(name): index
            for index, part in enumerate(label_map.classes.values())
            for name in part.categories
        }
        if not class_of_name:
            raise DataError("the label map names no categories: detection needs classes.NAME.categories")
        present = {normalized(one.name): one.name for one in coco.categories}
        missing = [name for name in class_of_name if name not in present]
        if missing:
            raise DataError(
                f"the label map names categories that the data does not have: {few(missing)}; "
                f"it has: {few(present.values())}"
            )
        self._note_unmatched(name for key, name in present.items() if key not in class_of_name)
        return table, {
            one.id: class_of_name[normalized(one.name)]
            for one in coco.categories
            if normalized(one.name) in class_of_name
        }

    def _note_unmatched(self, names: Iterable[str]) -> None:
        left = sorted(set(names))
        if left:
            self.notes.append(f"Not evaluated, the model has no such label: {few(left)}.")

    def _gather(self, path: Path, coco: CocoFile, of_category: dict[int, int]) -> list[GroundTruthBoxes]:
        place = {image.id: index for index, image in enumerate(coco.images)}
        categories = {one.id for one in coco.categories}
        rows: list[list[tuple[list[float], int, bool]]] = [[] for _ in coco.images]
        flat = 0
        for number, one in enumerate(coco.annotations):
            if one.image_id not in place:
                raise DataError(
                    f"{path}: annotation {number} is of image {one.image_id}, which is not listed"
                )
            if one.category_id not in categories:
                raise DataError(f"{path}: annotation {number} is of unknown category {one.category_id}")
            if one.category_id not in of_category:
                continue
            left, top, width, height = one.bbox
            if not np.isfinite(one.bbox).all() or width <= 0.0 or height <= 0.0:
                flat += 1
                continue
            box = [left, top, left + width, top + height]
            rows[place[one.image_id]].append((box, of_category[one.category_id], bool(one.iscrowd)))
        if flat:
            self.notes.append(f"{flat} boxes without an area were left out.")
        return [
            GroundTruthBoxes(
                np.array([row[0] for row in each], np.float64).reshape(-1, 4),
                np.array([row[1] for row in each], np.int64),
                np.array([row[2] for row in each], bool),
            )
            for each in rows
        ]

    def __len__(self) -> int:
        """Number of images, those without an object included."""
        return len(self._paths)

    def read(self, indices: Iterable[int]) -> Iterator[LabeledFrame | BadFrame]:
        """Read the images; one whose size differs from its labels' is bad."""
        for index in indices:
            path, entry = self._paths[index], self._images[index]
            try:
                frame = read_image_file(path, stamp_ns=index)
            except DataError as error:
                yield BadFrame(index, str(error))
                continue
            height, width = frame.pixels.shape[:2]
            if (entry.width or width, entry.height or height) != (width, height):
                reason = f"{path} is {width}x{height} pixels, its labels say {entry.width}x{entry.height}"
                yield BadFrame(index, reason + rotation_hint(path))
                continue
            yield LabeledFrame(frame, self._ground_truths[index])


def _find_json(path: Path) -> Path:
    if path.is_file():
        return path
    for folder in (path, path / "images"):
        for name in JSON_NAMES:
            if (folder / name).is_file():
                return folder / name
    others = sorted(path.glob("*.json"))
    if len(others) == 1:
        return others[0]
    raise DataError(
        f"{path} holds no {' or '.join(JSON_NAMES)}: a detection model is evaluated on a COCO file with "
        "its images (FOLDER, FILE.json or FILE.json@IMAGES)"
    )
