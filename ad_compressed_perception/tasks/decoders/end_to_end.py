# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ready detections: models that give each object once, and exports with non-maximum suppression inside.

One output of rows, such as x1 y1 x2 y2 score class (YOLOv10: Wang et al., "YOLOv10: Real-Time End-to-End
Object Detection", NeurIPS 2024, and exports of Ultralytics with ``nms=True``), or one output each for boxes,
scores and classes, and often their number (TensorFlow Object Detection API, torchvision, EfficientNMS).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ad_compressed_perception.core.errors import ModelFileError, OutputError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks.decoders.box_columns import BoxOptions, class_labels, corners
from ad_compressed_perception.tasks.decoders.find_outputs import Pattern, fits
from ad_compressed_perception.tasks.detection import DetectionDecoder
from ad_compressed_perception.tasks.output_contract import check_finite, check_probability

Column = Literal["box", "score", "class", "image"]
_COLUMNS: tuple[Column, ...] = ("box", "score", "class")
_WIDTHS = {"box": 4, "score": 1, "class": 1, "image": 1}
_WORDS = {
    "rows": ("output", "det", "box"),
    "boxes": ("box", "det"),
    "scores": ("score", "conf", "prob"),
    "classes": ("class", "cls", "label"),
    "count": ("num", "count"),
}
_WHOLE = 1e-3


class EndToEndOptions(BoxOptions):
    """Options of the decoder of ready detections."""

    output: str | None = Field(None, description="output of rows; by shape when absent")
    columns: list[Column] = Field(
        default_factory=lambda: list(_COLUMNS),
        description="columns of a row; box: four; image: number in the batch, negative: no detection",
    )
    boxes_output: str | None = Field(None, description="output of the boxes, where they have their own")
    scores_output: str | None = Field(None, description="output of the scores, likewise")
    classes_output: str | None = Field(None, description="output of the classes, likewise")
    count_output: str | None = Field(None, description="output of the number of detections, if any")
    first_class: int = Field(
        0, description="the model's number of its first class: 1 where 0 is the background"
    )

    @model_validator(mode="after")
    def _columns_once(self) -> EndToEndOptions:
        if len(set(self.columns)) != len(self.columns) or not {"box", "score", "class"} <= set(self.columns):
            raise ValueError("columns needs box, score and class once each, and image at most once")
        return self


class EndToEndDecoder(DetectionDecoder):
    """Decodes rows (1, N, 6), or boxes (1, N, 4), scores (1, N) and classes (1, N); the batch axis may lack.

    Boxes (1, N, 5) have their score as the fifth column. A row is no detection where its score is not
    positive, its image is negative, or the file's count ends before it.
    """

    options_type = EndToEndOptions
    needs_nms = False

    def __init__(self, manifest: Manifest) -> None:
        """Validate the options."""
        super().__init__(manifest)
        options: EndToEndOptions = self.options
        self._input = manifest.input
        self._labels = class_labels(manifest, options.label_ids)
        self._width = sum(_WIDTHS[one] for one in options.columns)
        self._named: dict[str, str | None] = {
            "rows": options.output,
            "boxes": options.boxes_output,
            "scores": options.scores_output,
            "classes": options.classes_output,
            "count": options.count_output,
        }

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Find the outputs; raise ModelFileError where they hold no rows and no boxes, scores and classes."""
        for name in filter(None, self._named.values()):
            self.find_output(outputs, name)
        if not any(self._named[part] for part in ("boxes", "scores", "classes")):
            rows = self._named["rows"] or _pick(outputs, "rows", _rows(self._width))
            if (
                rows is None
                and len(outputs) == 1
                and any(fits(outputs[0].shape, p) for p in _rows(self._width))
            ):
                rows = outputs[0].name
            if rows is not None:
                left = [one for one in outputs if one.name != rows]
                self._named |= {"rows": rows, "count": self._named["count"] or _pick_count(left)}
                return
        found = self._parts(outputs)
        if found is None:
            has = ", ".join(f"{one.name!r} {one.dtype} {list(one.shape)}" for one in outputs)
            raise ModelFileError(
                f"model {self.model!r}: decoder end_to_end needs rows [1, N, {self._width}] of "
                f"{' '.join(self.options.columns)}, or boxes [1, N, 4], scores [1, N] and classes [1, N] "
                f"(options boxes_output, scores_output, classes_output); the file has {has}"
            )
        self._named = found

    def _parts(self, outputs: Sequence[TensorSpec]) -> dict[str, str | None] | None:
        """Return the outputs of boxes, scores, classes and count; None where one is not certain."""
        found = dict(self._named)

        def left() -> list[TensorSpec]:
            return [one for one in outputs if one.name not in found.values()]

        found["boxes"] = (
            found["boxes"] or _pick(left(), "boxes", _rows(4)) or _pick(left(), "boxes", _rows(5))
        )
        found["count"] = found["count"] or _pick_count(left())
        numbers: list[Pattern] = [(None,), (1, None), (1, None, 1)]
        if found["classes"] is None:
            integers = [one for one in left() if one.dtype.startswith(("int", "uint"))]
            found["classes"] = _pick(integers, "classes", numbers) or _pick(left(), "classes", numbers)
        widths = [one.shape[-1] for one in outputs if one.name == found["boxes"]]
        if found["scores"] is None and widths != [5]:
            found["scores"] = _pick(left(), "scores", numbers)
            if found["scores"] is None:
                return None
        return found if found["boxes"] and found["classes"] else None

    def candidates(
        self, outputs: Mapping[str, NDArray[Any]], score_threshold: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Return boxes, scores and label ids at or above the threshold, in model pixels.

        Raises:
            OutputError: wrong shapes, numbers that are not finite, scores outside 0..1, classes that are no
                whole numbers or none of the labels', boxes of another order or other units.
        """
        options: EndToEndOptions = self.options
        boxes, scores, classes = self._detections(outputs)
        where = self.where(self._named["rows"] or self._named["scores"])
        if len(scores):
            is_padding = (scores < 0.0) & (classes < 0.0)
            check_probability(
                scores[~is_padding], where, "are the columns in another order (option columns)?"
            )
        strong = (scores >= score_threshold) & (scores > 0.0)
        boxes, scores = boxes[strong], np.minimum(scores[strong], np.float32(1.0))
        label_ids = self._label_ids(classes[strong])
        kept = label_ids >= 0
        found = corners(
            boxes[kept],
            options.box_order,
            options.box_units,
            self._input,
            self.where(self._named["rows"] or self._named["boxes"]),
        )
        return found, scores[kept], label_ids[kept]

    def _label_ids(self, classes: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the labels of the model's class numbers, -1 for those that are not reported."""
        where = self.where(self._named["rows"] or self._named["classes"])
        whole = np.rint(classes)
        if classes.size and float(np.abs(classes - whole).max()) > _WHOLE:
            worst = float(classes[np.abs(classes - whole).argmax()])
            raise OutputError(
                f"{where}: classes such as {worst:.4g} are no whole numbers; are the columns in "
                "another order (option columns)?"
            )
        numbers = np.clip(whole, -1e9, 1e9).astype(np.int64) - self.options.first_class
        if numbers.size and (numbers.min() < 0 or numbers.max() >= len(self._labels)):
            low, high = int(whole.min()), int(whole.max())
            raise OutputError(
                f"{where}: class numbers {low} to {high}, the labels are of {self.options.first_class} to "
                f"{self.options.first_class + len(self._labels) - 1} (options first_class, label_ids)"
            )
        return self._labels[numbers]

    def _detections(
        self, outputs: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return boxes (N, 4) as in the file, scores (N,) and class numbers (N,)."""
        if self._named["boxes"] is None:
            rows = self._finite(self._rows(outputs, self._named["rows"], self._width), "rows")
            parts, first = {}, 0
            for column in self.options.columns:
                parts[column] = rows[:, first : first + _WIDTHS[column]]
                first += _WIDTHS[column]
            here = parts["image"][:, 0] >= 0.0 if "image" in parts else np.ones(len(rows), bool)
            return parts["box"][here], parts["score"][here, 0], parts["class"][here, 0]
        values = self._value(outputs, self._named["boxes"])
        boxes = self._finite(
            self._rows(outputs, self._named["boxes"], 5 if self._named["scores"] is None else 4), "boxes"
        )
        classes = self._finite(self._rows(outputs, self._named["classes"], 1), "classes")[:, 0]
        if self._named["scores"] is None:
            scores = boxes[:, 4]
        else:
            scores = self._finite(self._rows(outputs, self._named["scores"], 1), "scores")[:, 0]
        if not len(boxes) == len(scores) == len(classes):
            raise OutputError(
                f"{self.where(self._named['boxes'])}: boxes {list(values.shape)}, but {len(scores)} scores "
                f"and {len(classes)} classes"
            )
        return boxes[:, :4], scores, classes

    def _rows(self, outputs: Mapping[str, NDArray[Any]], name: str | None, width: int) -> NDArray[np.float32]:
        """Return (N, width) float32, N as the count says; no detection at all is a valid output."""
        values = self._value(outputs, name)
        leading = values.shape[:-1] if width > 1 else values.shape
        if values.shape[len(leading) :] not in ((width,), ()) or sum(size != 1 for size in leading) > 1:
            raise OutputError(f"{self.where(name)}: {list(values.shape)} instead of [1, N, {width}]")
        rows = values.reshape(-1, width)
        count = self._named["count"]
        if count is not None:
            number = int(self._value(outputs, count).reshape(-1)[0])
            if not 0 <= number <= len(rows):
                raise OutputError(f"{self.where(count)}: {number} detections of {len(rows)}")
            rows = rows[:number]
        return np.asarray(rows, np.float32)

    def _value(self, outputs: Mapping[str, NDArray[Any]], name: str | None) -> NDArray[Any]:
        values = outputs.get(name) if name is not None else next(iter(outputs.values()), None)
        if values is None:
            raise OutputError(f"{self.where(name)}: the runtime gave no output")
        return values

    def _finite(self, values: NDArray[np.float32], part: str) -> NDArray[np.float32]:
        if values.size:
            check_finite(values, self.where(self._named.get(part)))
        return values


def _rows(width: int) -> list[Pattern]:
    return [(1, None, width), (None, width), (1, 1, None, width), (1, None, 1, width)]


def _pick(outputs: Sequence[TensorSpec], part: str, patterns: Sequence[Pattern]) -> str | None:
    """Return the one output that fits; of several the one that has a usual word in its name."""
    fitting = [one for one in outputs if any(_has_width(one, each) for each in patterns)]
    if len(fitting) > 1:
        fitting = [one for one in fitting if any(word in one.name.lower() for word in _WORDS[part])]
    return fitting[0].name if len(fitting) == 1 else None


def _has_width(tensor: TensorSpec, pattern: Pattern) -> bool:
    """Return whether a shape fits and its last axis is no other one that happens to be dynamic."""
    return fits(tensor.shape, pattern) and (pattern[-1] is None or tensor.shape[-1] == pattern[-1])


def _pick_count(outputs: Sequence[TensorSpec]) -> str | None:
    single = [one for one in outputs if one.shape in ((), (1,), (1, 1))]
    worded = [one for one in single if any(word in one.name.lower() for word in _WORDS["count"])]
    chosen = worded or [one for one in single if one.dtype.startswith(("int", "uint"))]
    return chosen[0].name if len(chosen) == 1 else None
