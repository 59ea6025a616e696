# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""DETR and its successors: a class and a box for each of a fixed number of queries, no suppression.

DETR (Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020): softmax over the classes and
"no object", the strongest class of every query. Deformable DETR, RT-DETR, D-FINE and RF-DETR: sigmoid, and
the strongest pairs of query and class, as many as there are queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import OutputError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks.decoders.box_columns import (
    Activation,
    BoxOptions,
    BoxOrder,
    BoxUnits,
    as_rows,
    class_labels,
    corners,
    find_worded,
    strong_scores,
)
from ad_compressed_perception.tasks.detection import DetectionDecoder
from ad_compressed_perception.tasks.output_kinds import Columns, Kind, OutputKinds


class DetrOptions(BoxOptions):
    """Options of the DETR decoder."""

    activation: Activation = Field(
        "sigmoid", description="of the class scores; none where the file applies it"
    )
    no_object: Literal["auto", "first", "last", "none"] = Field(
        "auto", description="which class means no object; auto: the last one with softmax, else none"
    )
    logits_output: str | None = Field(None, description="output of the classes; by shape when absent")
    boxes_output: str | None = Field(None, description="output of the boxes; by shape when absent")
    box_order: BoxOrder = Field("center", description="columns of a box: xyxy, yxyx or center (cx cy w h)")
    box_units: BoxUnits = Field("normalized", description="0 to 1 of the input's sides, or its pixels")


class DetrDecoder(DetectionDecoder):
    """Decodes class scores (1, queries, classes) and boxes (1, queries, 4); other outputs are not read."""

    options_type = DetrOptions
    needs_nms = False

    def __init__(self, manifest: Manifest) -> None:
        """Validate the options."""
        super().__init__(manifest)
        options: DetrOptions = self.options
        self._input = manifest.input
        self._labels = class_labels(manifest, options.label_ids)
        auto = "last" if options.activation == "softmax" else "none"
        self._no_object = auto if options.no_object == "auto" else options.no_object
        self._columns = len(self._labels) + (self._no_object != "none")
        self._logits: str | None = options.logits_output
        self._boxes: str | None = options.boxes_output

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError when no outputs have the shapes of boxes and of the labels' scores."""
        beside = " and 'no object'" if self._no_object != "none" else ""
        boxes = find_worded(
            [one for one in outputs if one.name != self._logits],
            self._boxes,
            [(1, None, 4)],
            "boxes",
            model=self.model,
            needs="decoder detr needs boxes [1, queries, 4]",
            option="boxes_output",
        )
        queries = boxes.shape[1]
        logits = find_worded(
            [one for one in outputs if one.name != boxes.name],
            self._logits,
            [(1, queries, self._columns)],
            "scores",
            model=self.model,
            needs=f"decoder detr with {len(self._labels)} classes{beside} needs class scores "
            f"[1, {queries or 'queries'}, {self._columns}]",
            option="logits_output",
        )
        self._boxes, self._logits = boxes.name, logits.name

    def output_kinds(self) -> Mapping[str, OutputKinds]:
        """Return the boxes and the class scores of each query."""
        kinds: dict[str, Kind] = {"sigmoid": "logits", "softmax": "distribution"}
        scores = Columns(kinds.get(self.options.activation, "probability"))
        return {
            self._logits or "": OutputKinds((scores,), 2),
            self._boxes or "": OutputKinds((Columns("pixel_box"),), 2),
        }

    def candidates(
        self, outputs: Mapping[str, NDArray[Any]], score_threshold: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Return boxes, scores and label ids at or above the threshold, in model pixels.

        Raises:
            OutputError: wrong shapes, numbers that are not finite, scores that are no logits or no
                probabilities, or boxes of another order or other units.
        """
        options: DetrOptions = self.options
        values = as_rows(self.read(outputs, self._logits), self._columns, self.where(self._logits))
        boxes = as_rows(self.read(outputs, self._boxes), 4, self.where(self._boxes))
        if len(values) != len(boxes):
            raise OutputError(
                f"{self.where(self._boxes)}: {len(boxes)} boxes, but class scores of {len(values)} queries"
            )
        rows, columns, scores = strong_scores(
            values, options.activation, score_threshold, self.where(self._logits)
        )
        if self._no_object == "first":
            columns = columns - 1
        is_object = (columns >= 0) & (columns < len(self._labels))
        order = np.flatnonzero(is_object)
        order = order[np.argsort(-scores[order], kind="stable")]
        if self._no_object != "none":  # the strongest class of every query
            order = order[np.sort(np.unique(rows[order], return_index=True)[1])]
        order = order[: len(values)]
        label_ids = self._labels[columns[order]]
        order, label_ids = order[label_ids >= 0], label_ids[label_ids >= 0]
        found = corners(
            boxes[rows[order]], options.box_order, options.box_units, self._input, self.where(self._boxes)
        )
        return found, scores[order], label_ids
