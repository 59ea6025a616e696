# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""SSD and RetinaNet: boxes, decoded or as offsets from anchors, beside the scores of all classes.

Offsets (Girshick et al., R-CNN, 2014, appendix C, scaled by Liu et al., SSD, ECCV 2016): with an anchor of
center ``a`` and size ``s`` and the variances ``v``, ``center = a + v_xy * t_xy * s`` and
``size = s * exp(v_wh * t_wh)``. The TensorFlow Object Detection API divides by scale factors (10, 10, 5, 5)
and torchvision by weights of the same meaning: variances (0.1, 0.1, 0.2, 0.2); RetinaNet has (1, 1, 1, 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, log
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ad_compressed_perception.core.errors import OutputError
from ad_compressed_perception.core.manifest import InputSpec, Manifest, StrictModel
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks.decoders.box_columns import (
    Activation,
    BoxOptions,
    as_rows,
    class_labels,
    corners,
    find_worded,
    strong_scores,
)
from ad_compressed_perception.tasks.decoders.find_outputs import Pattern
from ad_compressed_perception.tasks.detection import DetectionDecoder

_MOST_LOG_SIZE = log(1000.0 / 16.0)
"""torchvision's limit of a logarithm of a size: an anchor of 16 pixels becomes a box of at most 1000."""


class AnchorLevel(StrictModel):
    """Anchors of one feature map: every cell has one of each size; rows of cells from the top left."""

    stride: float | None = Field(
        None, gt=0.0, description="pixels from cell to cell; input / grid when absent"
    )
    grid: tuple[int, int] | None = Field(
        None, description="columns and rows of cells; input / stride, rounded up, when absent"
    )
    sizes: list[tuple[float, float]] = Field(
        min_length=1, description="width and height of the anchors of a cell, pixels"
    )
    center: float = Field(
        0.5, description="of a cell's anchors, in strides: 0.5, or 0 as in torchvision's RetinaNet"
    )

    @model_validator(mode="after")
    def _stride_or_grid(self) -> AnchorLevel:
        if self.stride is None and self.grid is None:
            raise ValueError("a level of anchors needs stride or grid")
        if self.grid is not None and min(self.grid) < 1:
            raise ValueError("grid needs columns and rows of at least 1")
        return self

    def anchors(self, spec: InputSpec) -> NDArray[np.float32]:
        """Return (cells * sizes, 4) center and size, pixels: the sizes of a cell follow each other."""
        stride = self.stride or 1.0
        columns, rows = self.grid or (ceil(spec.width / stride), ceil(spec.height / stride))
        steps = self.stride or spec.width / columns, self.stride or spec.height / rows
        x, y = np.meshgrid(
            (np.arange(columns) + self.center) * steps[0], (np.arange(rows) + self.center) * steps[1]
        )
        centers = np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), len(self.sizes), axis=0)
        sizes = np.tile(np.asarray(self.sizes), (columns * rows, 1))
        return np.concatenate([centers, sizes], axis=1).astype(np.float32)


class SsdOptions(BoxOptions):
    """Options of the SSD decoder."""

    activation: Activation = Field("none", description="of the class scores; none where the file applies it")
    background: Literal["first", "last", "none"] = Field(
        "first", description="which column of the scores is the background"
    )
    boxes_output: str | None = Field(None, description="output of boxes or offsets; by shape when absent")
    scores_output: str | None = Field(None, description="output of the class scores; by shape when absent")
    anchors_output: str | None = Field(
        None, description="output of the anchors, in box_order and box_units; the boxes are then offsets"
    )
    anchors: list[AnchorLevel] | None = Field(
        None, min_length=1, description="anchors of each feature map; the boxes are then offsets from them"
    )
    variances: tuple[float, float, float, float] = Field(
        (0.1, 0.1, 0.2, 0.2), description="factors of offsets x, y and of log sizes w, h"
    )

    @model_validator(mode="after")
    def _one_kind_of_anchors(self) -> SsdOptions:
        if self.anchors is not None and self.anchors_output is not None:
            raise ValueError("give anchors or anchors_output, not both")
        return self


class SsdDecoder(DetectionDecoder):
    """Decodes boxes (1, N, 4) and class scores (1, N, classes), or both transposed.

    A box is reported once for each class whose score reaches the threshold, before suppression within the
    classes. With ``box_order: yxyx`` offsets are y, x, h, w, as in the TensorFlow Object Detection API.
    """

    options_type = SsdOptions

    def __init__(self, manifest: Manifest) -> None:
        """Validate the options and generate the anchors.

        Raises:
            ManifestError: wrong options.
        """
        super().__init__(manifest)
        options: SsdOptions = self.options
        self._input = manifest.input
        self._labels = class_labels(manifest, options.label_ids)
        self._columns = len(self._labels) + (options.background != "none")
        self._boxes: str | None = options.boxes_output
        self._scores: str | None = options.scores_output
        self._anchors: NDArray[np.float32] | None = None
        if options.anchors is not None:
            self._anchors = np.concatenate([level.anchors(manifest.input) for level in options.anchors])

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError when no outputs have the shapes of boxes and of the labels' scores."""
        anchors = self.options.anchors_output
        if anchors is not None:
            self.find_output(outputs, anchors)
        count = None if self._anchors is None else len(self._anchors)
        shown = count or "N"
        boxes = find_worded(
            [one for one in outputs if one.name not in (self._scores, anchors)],
            self._boxes,
            _patterns(count, 4),
            "boxes",
            model=self.model,
            needs=f"decoder ssd needs boxes [1, {shown}, 4]"
            + (f" for the {count} anchors of its options" if count else ""),
            option="boxes_output",
        )
        beside = " and the background" if self.options.background != "none" else ""
        scores = find_worded(
            [one for one in outputs if one.name not in (boxes.name, anchors)],
            self._scores,
            _patterns(count, self._columns),
            "scores",
            model=self.model,
            needs=f"decoder ssd with {len(self._labels)} classes{beside} needs class scores "
            f"[1, {shown}, {self._columns}]",
            option="scores_output",
        )
        self._boxes, self._scores = boxes.name, scores.name

    def candidates(
        self, outputs: Mapping[str, NDArray[Any]], score_threshold: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Return boxes, scores and label ids at or above the threshold, in model pixels.

        Raises:
            OutputError: wrong shapes, numbers that are not finite, scores that are no logits or no
                probabilities, or boxes of another order or other units.
        """
        options: SsdOptions = self.options
        values = as_rows(self.read(outputs, self._scores), self._columns, self.where(self._scores))
        boxes = as_rows(self.read(outputs, self._boxes), 4, self.where(self._boxes))
        anchors = self._anchors
        if options.anchors_output is not None:
            anchors = self._read_anchors(outputs)
        if len(values) != len(boxes) or (anchors is not None and len(anchors) != len(boxes)):
            beside = "" if anchors is None else f" and {len(anchors)} anchors"
            raise OutputError(
                f"{self.where(self._boxes)}: {len(boxes)} boxes, but class scores of {len(values)}{beside}"
            )
        rows, columns, scores = strong_scores(
            values, options.activation, score_threshold, self.where(self._scores)
        )
        columns = columns - (options.background == "first")
        label_ids = self._labels[np.clip(columns, 0, len(self._labels) - 1)]
        kept = (columns >= 0) & (columns < len(self._labels)) & (label_ids >= 0)
        rows, scores, label_ids = rows[kept], scores[kept], label_ids[kept]
        where = self.where(self._boxes)
        if anchors is None:
            found = corners(boxes[rows], options.box_order, options.box_units, self._input, where)
        else:
            found = self._from_anchors(boxes[rows], anchors[rows])
        return found, scores, label_ids

    def _read_anchors(self, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return the file's anchors as (N, 4) center and size, pixels."""
        options, where = self.options, self.where(self.options.anchors_output)
        given = as_rows(self.read(outputs, options.anchors_output), 4, where)
        xyxy = corners(given, options.box_order, options.box_units, self._input, where)
        return np.concatenate(
            [(xyxy[:, :2] + xyxy[:, 2:]) * np.float32(0.5), xyxy[:, 2:] - xyxy[:, :2]], axis=1
        )

    def _from_anchors(
        self, offsets: NDArray[np.float32], anchors: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return (N, 4) xyxy pixels by the module's formula."""
        if self.options.box_order == "yxyx":
            offsets = offsets[:, [1, 0, 3, 2]]
        scaled = offsets * np.asarray(self.options.variances, np.float32)
        centers = anchors[:, :2] + scaled[:, :2] * anchors[:, 2:]
        halves = (
            anchors[:, 2:] * np.exp(np.minimum(scaled[:, 2:], np.float32(_MOST_LOG_SIZE))) * np.float32(0.5)
        )
        return np.concatenate([centers - halves, centers + halves], axis=1)


def _patterns(count: int | None, columns: int) -> list[Pattern]:
    return [(1, count, columns), (count, columns), (1, count, 1, columns), (1, columns, count)]
