# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images with ground-truth boxes of any format; categories are matched to a model's labels by name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.bad_frames import BadFrame
from ad_compressed_perception.data.frames import read_image_file
from ad_compressed_perception.data.labeled.box_checks import check_boxes, is_outside
from ad_compressed_perception.data.labeled.box_files import read_box_labels
from ad_compressed_perception.data.labeled.box_labels import BoxLabels, LabeledImage
from ad_compressed_perception.data.labeled.dataset import LabeledData, LabeledFrame
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


class BoxData(LabeledData):
    """Labeled boxes and their folder of images; the ground truth of a frame is GroundTruthBoxes.

    Attributes:
        labels: what was read, before it was matched to a model.
        ground_truths: of each image, in classes of ``class_names``.
    """

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
            labels_path: file or folder of a format that box_files knows.
            frames: folder of the images; None for the one beside the labels.
            model_labels: the model's label names.
            label_map: maps categories to labels; None to match them by name.
            evaluated: of the labels matched by name, those to evaluate; None for all.

        Raises:
            DataError: no or malformed labels, no image for an entry, boxes that are no ground truth in
                pixels, or no category that is one of the model's labels.
        """
        self.labels = labels = read_box_labels(labels_path, frames)
        self.describe = f"{labels.source}@{frames}" if frames else str(labels_path)
        self.notes = [*labels.notes, *check_boxes(labels)]
        ignored: set[str] = set()
        if label_map is None:
            self.classes, of_category = self._match_by_name(labels, model_labels, evaluated)
        else:
            ignored = {normalized(name) for name in label_map.ignore_categories}
            self.classes, of_category = self._match_by_map(labels, model_labels, label_map)
        if not of_category:
            raise DataError(
                f"no category of {labels.source} is a label of the model: {few(labels.categories)} "
                f"against {few(model_labels)}; a label map can join them"
            )
        self.class_names = self.classes.names
        self.notes += rotation_note([image.path for image in labels.images])
        self.ground_truths = self._gather(labels, of_category, ignored)

    def _match_by_name(
        self, labels: BoxLabels, model_labels: Sequence[str], evaluated: Collection[str] | None
    ) -> tuple[ClassTable, dict[str, int]]:
        """Return the classes that both sides know, and the class of each such category."""
        known = {
            normalized(label): index
            for index, label in enumerate(model_labels)
            if evaluated is None or label in evaluated
        }
        # Several categories may differ in spelling only; the class takes the model's.
        matched = {name: known[normalized(name)] for name in labels.categories if normalized(name) in known}
        self._note_unmatched(name for name in labels.categories if name not in matched)
        chosen = sorted(set(matched.values()))
        of_label = np.full(len(model_labels), NO_CLASS, np.int64)
        of_label[chosen] = np.arange(len(chosen))
        table = ClassTable(tuple(model_labels[index] for index in chosen), of_label)
        return table, {category: int(of_label[label]) for category, label in matched.items()}

    def _match_by_map(
        self, labels: BoxLabels, model_labels: Sequence[str], label_map: LabelMap
    ) -> tuple[ClassTable, dict[str, int]]:
        table = table_of_map(label_map, model_labels, with_rest=False)
        class_of_name = {
            normalized(name): index
            for index, part in enumerate(label_map.classes.values())
            for name in part.categories
        }
        if not class_of_name:
            raise DataError("the label map names no categories: detection needs classes.NAME.categories")
        present = {normalized(name): name for name in labels.categories}
        ignored = {normalized(name) for name in label_map.ignore_categories}
        missing = [name for name in (*class_of_name, *sorted(ignored)) if name not in present]
        if missing:
            raise DataError(
                f"the label map names categories that the data does not have: {few(missing)}; "
                f"it has: {few(present.values())}"
            )
        self._note_unmatched(
            name for key, name in present.items() if key not in class_of_name and key not in ignored
        )
        return table, {
            name: class_of_name[normalized(name)]
            for name in labels.categories
            if normalized(name) in class_of_name
        }

    def _note_unmatched(self, names: Iterable[str]) -> None:
        left = sorted(set(names))
        if left:
            self.notes.append(f"Not evaluated, the model has no such label: {few(left)}.")

    def _gather(
        self, labels: BoxLabels, of_category: dict[str, int], ignored: set[str]
    ) -> list[GroundTruthBoxes]:
        gathered, flat, regions = [], 0, 0
        for image in labels.images:
            rows, without_area, ignored_regions = self._rows(image, of_category, ignored)
            flat += without_area
            regions += ignored_regions
            gathered.append(
                GroundTruthBoxes(
                    np.array([row[0] for row in rows], np.float64).reshape(-1, 4),
                    np.array([row[1] for row in rows], np.int64),
                    np.array([row[2] for row in rows], bool),
                )
            )
        if flat:
            self.notes.append(f"{flat} boxes without an area were left out.")
        if regions:
            self.notes.append(f"In {regions} regions, detections count neither as right nor as wrong.")
        return gathered

    def _rows(
        self, image: LabeledImage, of_category: dict[str, int], ignored: set[str]
    ) -> tuple[list[tuple[tuple[float, ...], int, bool]], int, int]:
        """Return (box, class, is ignored) of an image, boxes without an area, and regions."""
        rows: list[tuple[tuple[float, ...], int, bool]] = []
        flat = 0
        # A region is one of every class: a crowd, of whose objects none has to be found.
        regions = list(image.ignored_regions)
        for box in image.boxes:
            is_region = normalized(box.category) in ignored
            if not is_region and box.category not in of_category:
                continue
            left, top, right, bottom = box.box_xyxy
            if not np.isfinite(box.box_xyxy).all() or right <= left or bottom <= top:
                flat += 1
            elif is_region:
                regions.append(box.box_xyxy)
            else:
                rows.append((box.box_xyxy, of_category[box.category], box.is_ignored))
        regions = [region for region in regions if region[2] > region[0] and region[3] > region[1]]
        rows += [(region, index, True) for region in regions for index in range(len(self.classes.names))]
        return rows, flat, len(regions)

    def __len__(self) -> int:
        """Number of images, those without an object included."""
        return len(self.labels.images)

    def read(self, indices: Iterable[int]) -> Iterator[LabeledFrame | BadFrame]:
        """Read the images; one whose size differs from its labels', or with a box outside of it, is bad."""
        for index in indices:
            entry = self.labels.images[index]
            path = entry.path
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
            outside = next((box for box in entry.boxes if is_outside(box.box_xyxy, width, height)), None)
            if outside is not None:
                place = ", ".join(f"{edge:g}" for edge in outside.box_xyxy)
                yield BadFrame(
                    index,
                    f"{path} is {width}x{height} pixels, and its {outside.category!r} at {place} is outside: "
                    f"are the labels of an image of another size?{rotation_hint(path)}",
                )
                continue
            yield LabeledFrame(frame, self.ground_truths[index])
