# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Columns of decoded boxes and class scores, as most exporters of the YOLO family write them.

| model                              | columns                        | options                          |
|------------------------------------|--------------------------------|----------------------------------|
| Ultralytics YOLOv5u, v8, v9, 11, 12 | cx, cy, w, h, classes          |                                  |
| YOLOv5, YOLOv7, YOLOv6             | cx, cy, w, h, objectness, classes | objectness: true              |
| YOLOX with decoded boxes           | the same                       | objectness: true                 |
| RT-DETR of Ultralytics             | cx, cy, w, h, classes in 0..1  | box_units: normalized, nms: false |
| TensorFlow exports of Ultralytics  | in 0..1                        | box_units: normalized            |

A frame of 8400 boxes of 80 labels takes 0.15 ms (objectness) to 0.4 ms (rows without it) of one core of a
server, without suppression.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ModelFileError, OutputError
from ad_compressed_perception.core.manifest import Manifest, StrictModel
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks.decoders.activations import largest, logit, sigmoid
from ad_compressed_perception.tasks.decoders.find_outputs import Names, Pattern, find_all, fits
from ad_compressed_perception.tasks.detection import DetectionDecoder
from ad_compressed_perception.tasks.output_contract import check_finite, check_probability
from ad_compressed_perception.tasks.output_kinds import Columns, Kind, OutputKinds

_BOX = 4
_CAUSE = "are they logits? (decoder option scores: logits)"

Candidates = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]


class YoloOptions(StrictModel):
    """Options of the yolo decoder."""

    output: Names = Field(None, description="output tensor, or a list of one a scale; by shape when absent")
    objectness: bool = Field(False, description="whether an objectness stands before the class scores")
    box_format: Literal["xywh", "xyxy", "ltwh"] = Field(
        "xywh", description="center and size; corners; or left, top and size"
    )
    box_units: Literal["pixels", "normalized"] = Field(
        "pixels", description="of the model's input, or shares of its width and height"
    )
    scores: Literal["probability", "logits"] = "probability"
    nms: bool = Field(True, description="false where the model gives each object once, such as RT-DETR")
    extra_columns: int = Field(
        0, ge=0, description="columns behind the scores that are not read: mask coefficients, key points"
    )
    layout: Literal["rows", "columns"] | None = Field(
        None, description="a row or a column for each box; by shape when absent"
    )
    label_ids: list[int] | None = Field(
        None, min_length=1, description="which of the manifest's labels the class scores are; all when absent"
    )


class YoloDecoder(DetectionDecoder):
    """Decodes (1, N, 4 + classes) or (1, 4 + classes, N), with objectness 5 + classes; outputs are joined.

    ``score = class``, or ``objectness * class``, of the strongest class.
    """

    options_type = YoloOptions

    def __init__(self, manifest: Manifest) -> None:
        """Validate the options."""
        super().__init__(manifest)
        options: YoloOptions = self.options
        self.needs_nms = options.nms
        self._label_ids = self.label_ids(manifest)
        self._first = _BOX + options.objectness
        self._width = self._first + len(self._label_ids) + options.extra_columns
        self._names: tuple[str | None, ...] = (None,)
        self._is_logit = options.scores == "logits"
        size = np.array([manifest.input.width, manifest.input.height] * 2, np.float32)
        self._unit = size if options.box_units == "normalized" else np.ones(4, np.float32)

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError when no output has a column for each number of a box."""
        found = find_all(
            outputs,
            self.options.output,
            list(self._patterns().values()),
            model=self.model,
            needs=self._needs(outputs),
        )
        for one in found:
            if len(self._layouts(one.shape)) > 1 and None not in one.shape[1:]:
                raise ModelFileError(
                    f"model {self.model!r}: output {one.name!r} {list(one.shape)} may have a row or a column "
                    "for each box; say which with the decoder option layout: rows or columns"
                )
        self._names = tuple(one.name for one in found)

    def _patterns(self) -> dict[str, Pattern]:
        patterns: dict[str, Pattern] = {"rows": (1, None, self._width), "columns": (1, self._width, None)}
        layout = self.options.layout
        return {layout: patterns[layout]} if layout else patterns

    def _layouts(self, shape: tuple[int | None, ...]) -> list[str]:
        return [name for name, pattern in self._patterns().items() if fits(shape, pattern)]

    def _needs(self, outputs: tuple[TensorSpec, ...]) -> str:
        has_objectness: bool = self.options.objectness
        text = (
            f"yolo with {len(self._label_ids)} labels {'and' if has_objectness else 'without'} objectness "
            f"needs (1, N, {self._width}) or (1, {self._width}, N)"
        )
        other = self._width + (-1 if has_objectness else 1)
        if any(len(one.shape) == 3 and other in one.shape[1:] for one in outputs):
            text += (
                f" (an axis of {other} is a label {'fewer' if has_objectness else 'more'}, or objectness: "
                f"{str(not has_objectness).lower()})"
            )
        return text

    def output_kinds(self) -> Mapping[str, OutputKinds]:
        """Return boxes, objectness where there is one, class scores, and columns that are not read."""
        scores: Kind = "logits" if self._is_logit else "probability"
        first = [Columns("pixel_box", _BOX)]
        if self.options.objectness:
            first.append(Columns(scores, 1, is_objectness=True))
        columns = (*first, Columns(scores), Columns("value", self.options.extra_columns))
        axis = {"rows": 2, "columns": 1}.get(self.options.layout or "")
        return {name: OutputKinds(columns, axis) for name in self._names if name}

    def candidates(self, outputs: Mapping[str, NDArray[Any]], score_threshold: float) -> Candidates:
        """Return boxes, scores and class ids at or above the threshold, in model pixels."""
        parts = [self._part(outputs, name, score_threshold) for name in self._names]
        boxes, scores, class_ids = (np.concatenate(one) for one in zip(*parts, strict=True))
        return boxes, scores, class_ids

    def _part(self, outputs: Mapping[str, NDArray[Any]], name: str | None, threshold: float) -> Candidates:
        columns, where = self.columns(outputs, name), self.where(name)
        least = logit(threshold) if self._is_logit else threshold
        classes = columns[self._first : self._first + len(self._label_ids)]
        if self.options.objectness:
            # Class scores are at most 1, so objectness alone already rules most boxes out.
            likely = np.flatnonzero(columns[_BOX] >= least)
        else:
            likely = np.flatnonzero(largest(classes) >= least)
        rows = columns[:, likely]
        classes = rows[self._first : self._first + len(self._label_ids)]
        strongest = classes.argmax(axis=0)
        scores = classes[strongest, np.arange(len(likely))]
        objectness = rows[_BOX]
        if self._is_logit:
            scores, objectness = sigmoid(scores), sigmoid(objectness)
        elif self.options.objectness:
            check_probability(classes, where, _CAUSE)
        if self.options.objectness:
            scores = scores * objectness
        scores = np.minimum(scores, np.float32(1.0))
        strong = scores >= threshold
        boxes = self._corners(rows[:_BOX, strong].T)
        return boxes, scores[strong].astype(np.float32), self._label_ids[strongest[strong]]

    def _corners(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (N, 4) boxes of the file as xyxy in model pixels."""
        scaled: NDArray[np.float32] = boxes * self._unit
        if self.options.box_format == "xyxy":
            return scaled
        first, size = scaled[:, :2], scaled[:, 2:]
        if self.options.box_format == "xywh":
            first = first - size * 0.5
        return np.concatenate([first, first + size], axis=1)

    def columns(self, outputs: Mapping[str, NDArray[Any]], name: str | None) -> NDArray[np.float32]:
        """Return an output as (4 + objectness + classes + extra, N) float32, a column a box.

        Raises:
            OutputError: a wrong shape, any number that is not finite, scores that are no probabilities.
        """
        values, where = self.read(outputs, name), self.where(name)
        layouts = self._layouts(values.shape)
        if len(layouts) != 1:
            asked = " or ".join(str(list(one)) for one in self._patterns().values())
            raise OutputError(
                f"{where}: {list(values.shape)} instead of {asked.replace('None', 'N')}"
                + ("; say which with the decoder option layout" if layouts else "")
            )
        raw = np.asarray(values[0], np.float32)
        check_finite(raw, where)
        columns = raw.T if layouts[0] == "rows" else raw
        if not self._is_logit:
            last = self._first + (0 if self.options.objectness else len(self._label_ids))
            check_probability(columns[_BOX:last], where, _CAUSE)
        return columns
