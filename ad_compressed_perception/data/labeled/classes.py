# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images with one class each: a folder for each class, or a csv file of ``file,label``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.bad_frames import BadFrame
from ad_compressed_perception.data.frames import list_images_and_others, read_image_file
from ad_compressed_perception.data.labeled.csv_columns import has_column, read_columns
from ad_compressed_perception.data.labeled.dataset import LabeledData, LabeledFrame, default_frames
from ad_compressed_perception.data.labeled.exif import rotation_note
from ad_compressed_perception.data.labeled.label_map import (
    NO_CLASS,
    ClassTable,
    LabelMap,
    few,
    normalized,
    table_of_map,
)

CSV_NAME = "labels.csv"
FILE_COLUMN, LABEL_COLUMN = "file", "label"
_SCORE_COLUMN = "score"


@dataclass(frozen=True)
class GroundTruthClass:
    """The class of a frame: index into the names of the data's classes."""

    index: int


def read_class_folders(root: Path) -> tuple[list[tuple[Path, str]], list[str]]:
    """Return the images of ``ROOT/CLASS/*`` with their class, and files of those folders that are no images.

    Raises:
        DataError: no folder in ``root`` has an image.
    """
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    found: list[tuple[Path, str]] = []
    ignored: list[str] = []
    for folder in folders:
        try:
            images, others = list_images_and_others(folder)
        except DataError:  # an empty class, or a folder of something else
            continue
        found += [(image, folder.name) for image in images]
        ignored += [f"{folder.name}/{name}" for name in others]
    if not found:
        raise DataError(
            f"no labels in {root}: a classification model is evaluated on a folder with a folder of images "
            f"for each class (ROOT/CLASS/*.jpg), or on a csv file of {FILE_COLUMN},{LABEL_COLUMN}"
        )
    return found, ignored


def read_class_csv(path: Path, frames: str | None) -> list[tuple[Path, str]]:
    """Return the images and classes of a csv file with the columns ``file`` and ``label``.

    Files are relative to ``frames``, by default to images/ beside the csv file, or to its folder where a file
    is not there.

    Raises:
        DataError: the file cannot be read, lacks a column, is empty, has a line without one of them, or names
            a file twice.
    """
    folders = [Path(frames).expanduser()] if frames else [Path(default_frames(path)), path.parent]
    found: list[tuple[Path, str]] = []
    for where, (file, label) in read_columns(path, (FILE_COLUMN, LABEL_COLUMN)):
        if not file or not label:
            raise DataError(f"{where}: expected a file and its label")
        places = [folder / file for folder in folders]
        found.append((next((one for one in places if one.is_file()), places[0]), label))
    if not found:
        raise DataError(f"{path} holds no labels")
    twice = [one for one, count in Counter(image for image, _ in found).items() if count > 1]
    if twice:
        raise DataError(f"{path} names {few(one.name for one in twice)} more than once")
    return found


class ClassData(LabeledData):
    """Images with a class each; the ground truth of a frame is a GroundTruthClass."""

    task = "classification"

    def __init__(
        self,
        labels_path: Path,
        frames: str | None,
        model_labels: Sequence[str],
        label_map: LabelMap | None = None,
    ) -> None:
        """Find images and classes.

        Args:
            labels_path: ROOT of ROOT/CLASS/*, a folder with labels.csv, or a csv file.
            frames: folder that the csv file's names are relative to.
            model_labels: the model's labels.
            label_map: which categories of the data are which labels; by name when None.

        Raises:
            DataError: no or malformed labels, or classes that are no labels of the model.
        """
        self.notes = []
        path = labels_path / CSV_NAME if (labels_path / CSV_NAME).is_file() else labels_path
        if path.is_file():
            self._items, self.ignored_files = read_class_csv(path, frames), ()
            if has_column(path, _SCORE_COLUMN):
                self.notes.append(
                    f"{path.name} has a column {_SCORE_COLUMN}: where its labels are a classifier's results, "
                    "all figures only say how alike the two are."
                )
        elif frames is not None:
            raise DataError(f"{labels_path}@{frames}: with a folder of frames, the labels are a csv file")
        else:
            self._items, self.ignored_files = read_class_folders(path)
        self.describe = f"{labels_path}@{frames}" if frames else str(labels_path)
        names = list(dict.fromkeys(label for _, label in self._items))
        if label_map is not None:
            self.classes, of_name = _by_map(label_map, names, model_labels)
        else:
            self.classes, of_name = self._by_name(names, model_labels)
        left_out = [label for _, label in self._items if of_name[label] == NO_CLASS]
        self._items = [item for item in self._items if of_name[item[1]] != NO_CLASS]
        if left_out:
            others = few(sorted(set(left_out)))
            self.notes.append(
                f"{len(left_out)} images of classes that are not evaluated were left out: {others}."
            )
        if not self._items:
            raise DataError(f"{self.describe}: the label map names none of the classes {few(names)}")
        self._of_name = of_name
        self.notes += rotation_note([image for image, _ in self._items])
        self.class_names = self.classes.names

    def _by_name(self, names: Sequence[str], labels: Sequence[str]) -> tuple[ClassTable, dict[str, int]]:
        """All classes of the data must be labels: an image of another one cannot be classified right."""
        known = {normalized(label): index for index, label in enumerate(labels)}
        of_name = {name: known.get(normalized(name), NO_CLASS) for name in names}
        unknown = [name for name, index in of_name.items() if index == NO_CLASS]
        if len(unknown) == len(names) and all(_is_id(name, len(labels)) for name in names):
            self.notes.append(
                "The data's classes are numbers; they were taken as the ids of the model's labels."
            )
            of_name = {name: int(name) for name in names}
        elif unknown:
            raise DataError(
                f"{self.describe}: the model has no label {few(unknown)}; it has {few(labels)}; a label map "
                "can join them"
            )
        return ClassTable(tuple(labels), np.arange(len(labels), dtype=np.int64)), of_name

    def __len__(self) -> int:
        """Number of images."""
        return len(self._items)

    def image_path(self, index: int) -> Path:
        """Return the image's file."""
        return self._items[index][0]

    def read(self, indices: Iterable[int]) -> Iterator[LabeledFrame | BadFrame]:
        """Yield the images with their classes; an image that cannot be read is a bad frame."""
        for index in indices:
            image, label = self._items[index]
            try:
                frame = read_image_file(image, index)
            except DataError as error:
                yield BadFrame(index, str(error))
                continue
            yield LabeledFrame(frame, GroundTruthClass(self._of_name[label]))


def _is_id(name: str, labels: int) -> bool:
    return name.isascii() and name.isdigit() and int(name) < labels


def _by_map(
    label_map: LabelMap, names: Sequence[str], labels: Sequence[str]
) -> tuple[ClassTable, dict[str, int]]:
    """Return the map's classes, and the class of each name of the data."""
    table = table_of_map(label_map, labels, with_rest=False)
    of_category = {
        normalized(category): index
        for index, (name, part) in enumerate(label_map.classes.items())
        for category in part.categories or [name]
    }
    return table, {name: of_category.get(normalized(name), NO_CLASS) for name in names}
