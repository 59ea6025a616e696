# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the results of variants on labeled frames to files that other tools, and this one, read."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.json_values import finite
from ad_compressed_perception.core.results import Classification, Detections, LabelMask, Trajectory
from ad_compressed_perception.data.labeled import cityscapes
from ad_compressed_perception.data.labeled.box_files import WRITERS
from ad_compressed_perception.data.labeled.box_labels import Box, BoxLabels, LabeledBox, LabeledImage
from ad_compressed_perception.data.labeled.boxes import BoxData
from ad_compressed_perception.data.labeled.classes import FILE_COLUMN, LABEL_COLUMN, ClassData
from ad_compressed_perception.data.labeled.coco import write_coco_instances
from ad_compressed_perception.data.labeled.dataset import LabeledData, LabeledFrame
from ad_compressed_perception.data.labeled.label_map import normalized
from ad_compressed_perception.data.labeled.masks import NAMES_NAME, MaskData

FORMATS: Mapping[str, tuple[str, ...]] = {
    "detection": tuple(WRITERS),
    "segmentation": ("masks", "cityscapes"),
    "classification": ("csv",),
    "planning": ("jsonl",),
}
"""Formats of each task; the first one is the default."""

Keep = Callable[[int, LabeledFrame, Any], None]


def check_format(task: str, name: str | None) -> str:
    """Return the format, the task's default where ``name`` is None; raise DataError naming the known ones."""
    known = FORMATS.get(task)
    if known is None:
        raise DataError(f"results of the task {task} cannot be saved")
    if name is not None and name not in known:
        raise DataError(f"results of the task {task} are saved as {' or '.join(known)}, not as {name!r}")
    return name or known[0]


def new_folder(folder: Path) -> Path:
    """Return a folder that is new or empty; raise DataError where files could be lost."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except OSError as cause:
        raise DataError(f"cannot write to {folder}: {cause.strerror or cause}") from cause
    if not is_empty:
        raise DataError(f"{folder} is not empty: name a new folder for the results")
    return folder


class SavedResults:
    """Collects one variant's results and writes them at the end.

    keep() is what analysis.evaluate calls for every frame.
    """

    def __init__(self, folder: Path, variant: str, file_format: str, data: LabeledData) -> None:
        """Prepare.

        Args:
            folder: to write to; files in it are named after the variant.
            variant: its name.
            file_format: of check_format.
            data: the frames that are evaluated.
        """
        self._folder, self._variant, self._format, self._data = folder, variant, file_format, data
        self._entries: list[tuple[int, LabeledFrame, Any]] = []

    def keep(self, index: int, frame: LabeledFrame, result: Any) -> None:
        """Take the result of the data's frame ``index``."""
        if isinstance(result, LabelMask):  # large: written at once
            self._write_mask(index, result)
            return
        size = frame.frame.pixels.shape[:2]
        self._entries.append((index, replace(frame, frame=_without_pixels(frame.frame)), (result, size)))

    def write(self) -> list[Path]:
        """Write what was kept and return the files and folders.

        Raises:
            DataError: a file cannot be written, or the format cannot hold the results.
        """
        try:
            if isinstance(self._data, BoxData):
                return self._write_boxes(self._data)
            if isinstance(self._data, MaskData):
                return [self._folder / self._variant]
            if isinstance(self._data, ClassData):
                return [self._write_classes()]
            return [self._write_paths()]
        except OSError as cause:
            raise DataError(f"cannot write to {self._folder}: {cause.strerror or cause}") from cause

    def _write_boxes(self, data: BoxData) -> list[Path]:
        found: list[LabeledImage] = []
        actual: list[LabeledImage] = []
        names = data.class_names
        for index, frame, (result, size) in self._entries:
            image = replace(data.labels.images[index], width=size[1], height=size[0], ignored_regions=())
            found.append(replace(image, boxes=_detections(result, data)))
            actual.append(replace(image, boxes=_objects(frame.ground_truth, names)))
        category_ids = _category_ids(data)
        labels = BoxLabels(self._folder, found, names, category_ids)
        written = [WRITERS[self._format](self._folder, self._variant, labels)]
        if self._format == "coco":
            # Results mean nothing without the numbers of images and categories.
            written.append(write_coco_instances(self._folder, replace(labels, images=actual)))
        return written

    def _write_mask(self, index: int, result: LabelMask) -> None:
        data = self._data
        assert isinstance(data, MaskData)
        folder = self._folder / self._variant
        ids, end = result.label_ids, ""
        stem = data.image_path(index).stem
        try:
            folder.mkdir(exist_ok=True)
            if self._format == "cityscapes":
                number = {name: place for place, name in enumerate(cityscapes.NAMES)}
                table = np.array([number.get(normalized(label), 0) for label in result.labels], np.uint8)
                ids, end, stem = table[ids], "_labelIds", stem.removesuffix("_leftImg8bit")
            else:
                (folder / NAMES_NAME).write_text(json.dumps(list(result.labels)), encoding="utf-8")
            file = folder / f"{stem}{end}.png"
            if file.exists():
                raise DataError(f"two images are called {stem}: one mask would replace the other")
            if not cv2.imwrite(str(file), ids):
                raise DataError(f"cannot write {file}")
        except (OSError, cv2.error) as cause:
            raise DataError(f"cannot write to {folder}: {cause}") from cause

    def _write_classes(self) -> Path:
        data = self._data
        assert isinstance(data, ClassData)
        file = self._folder / f"{self._variant}.csv"
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow([FILE_COLUMN, LABEL_COLUMN, "score"])
            for index, _, (result, _) in self._entries:
                assert isinstance(result, Classification)
                best = int(np.argmax(result.scores))
                writer.writerow(
                    [data.image_path(index).name, result.labels[best], repr(float(result.scores[best]))]
                )
        return file

    def _write_paths(self) -> Path:
        file = self._folder / f"{self._variant}.jsonl"
        lines = [_path_entry(frame, result) for _, frame, (result, _) in self._entries]
        file.write_text("".join(f"{json.dumps(line, allow_nan=False)}\n" for line in lines), encoding="utf-8")
        return file


def _without_pixels(frame: Any) -> Any:
    return replace(frame, pixels=np.zeros((0, 0, 3), np.uint8))


def _detections(result: Detections, data: BoxData) -> list[LabeledBox]:
    """Return the boxes of evaluated labels under the names of the data's classes."""
    classes = data.classes.of_label[result.class_ids]
    return [
        LabeledBox(_box(box), data.class_names[number], score=float(score))
        for box, score, number in zip(result.boxes_xyxy, result.scores, classes, strict=True)
        if number >= 0
    ]


def _objects(ground_truth: Any, names: tuple[str, ...]) -> list[LabeledBox]:
    rows = zip(ground_truth.boxes_xyxy, ground_truth.class_ids, ground_truth.is_crowd, strict=True)
    return [LabeledBox(_box(box), names[number], is_ignored=bool(crowd)) for box, number, crowd in rows]


def _box(values: Any) -> Box:
    left, top, right, bottom = (float(value) for value in values)
    return left, top, right, bottom


def _category_ids(data: BoxData) -> dict[str, int]:
    """Return the data's own numbers of the classes, where each class is one category of it."""
    own = {normalized(name): number for name, number in reversed(data.labels.category_ids.items())}
    found = {name: own[normalized(name)] for name in data.class_names if normalized(name) in own}
    return found if len(found) == len(data.class_names) == len(set(found.values())) else {}


def _path_entry(frame: LabeledFrame, result: Trajectory) -> dict[str, Any]:
    """Return a line like those of trajectories.jsonl; what is unknown is null."""
    return {
        "stamp_ns": frame.frame.stamp_ns,
        "steering_angle_rad": finite(result.steering_wheel_angle_rad),
        "curvature_per_m": result.curvature_per_m,
        "speed_mps": result.speed_mps,
        "step_s": finite(result.step_s),
        "points_xy_m": np.asarray(result.points_xy_m).tolist(),
        "speeds_mps": [] if result.speeds_mps is None else np.asarray(result.speeds_mps).tolist(),
        "collision_probability": finite(result.collision_probability),
    }
