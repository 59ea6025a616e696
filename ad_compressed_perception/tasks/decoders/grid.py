# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Maps of raw boxes, one a stride: darknet's YOLO, YOLOv5 before its decoding, and small single-map heads.

| style             | center, in cells              | size                    | scores of classes       |
|-------------------|-------------------------------|-------------------------|-------------------------|
| yolov2            | cell + sigmoid(xy)            | exp(wh) * anchor        | softmax                 |
| yolov3            | cell + s sigmoid(xy) - (s - 1) / 2 | exp(wh) * anchor   | sigmoid                 |
| yolov5            | the same, s = 2               | (2 sigmoid(wh))^2 * anchor | sigmoid              |
| yolo_fastest_v2   | as yolov5                     | as yolov5               | softmax, of all anchors |
| fastestdet        | cell + tanh(xy)               | sigmoid(wh) * input     | softmax                 |

s is scale_xy: YOLOv4's 1.2, 1.1 and 1.05. YOLOv7 and scaled YOLOv4 (new_coords) are yolov5. Sources: Redmon
and Farhadi, YOLO9000 (2016) and YOLOv3 (2018); darknet's region and yolo layers; heads of YOLOv5, YOLOv7,
Yolo-FastestV2 and FastestDet.

A frame of 25200 boxes and 80 labels takes 0.8 to 1.4 ms of one core of a server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ManifestError, OutputError
from ad_compressed_perception.core.manifest import Manifest, StrictModel
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks.decoders.activations import logit, sigmoid, softmax
from ad_compressed_perception.tasks.decoders.cells import grid_cells, grid_size
from ad_compressed_perception.tasks.decoders.find_outputs import Names, Pattern, find_each, fits
from ad_compressed_perception.tasks.detection import DetectionDecoder
from ad_compressed_perception.tasks.output_contract import check_finite, check_probability

_MAX_LOG_SIZE = 20.0
"""As in decoder yolox: exp(20) is far beyond any image."""
_CAUSE = "are they logits? (decoder option activated: false)"
_FASTESTDET_WEIGHT = 0.6


class GridOptions(StrictModel):
    """Options of the grid decoder."""

    style: Literal["yolov2", "yolov3", "yolov5", "yolo_fastest_v2", "fastestdet"]
    strides: list[int] = Field(default_factory=lambda: [8, 16, 32], min_length=1)
    anchors: list[list[tuple[float, float]]] | None = Field(
        None, description="for each stride a list of width, height; not for fastestdet"
    )
    anchor_units: Literal["pixels", "cells"] = Field(
        "pixels", description="of the model's input, or cells of each grid as in yolov2's cfg files"
    )
    scale_xy: float | list[float] | None = Field(
        None, description="s of the table above, one or one a stride; 1, or 2 in yolov5, when absent"
    )
    activated: bool | None = Field(
        None,
        description="whether the file applies sigmoid and softmax; as the style's exporter when absent",
    )
    objectness_weight: float | None = Field(
        None,
        gt=0.0,
        lt=1.0,
        description="score = objectness^w * class^(1 - w); their product when absent, 0.6 for fastestdet",
    )
    output: Names = Field(
        None, description="maps in the order of the strides: a name or a list; by shape when absent"
    )
    label_ids: list[int] | None = Field(
        None, min_length=1, description="which of the manifest's labels the class scores are; all when absent"
    )


class GridDecoder(DetectionDecoder):
    """Decodes a map a stride, of A anchors and C classes, of the shapes (h, w are rows and columns).

    (1, A * (5 + C), h, w), (1, h, w, A * (5 + C)), (1, A, h, w, 5 + C), (1, h, w, A, 5 + C) or
    (1, A, 5 + C, h, w): x, y, w, h, objectness, classes. fastestdet: objectness, x, y, w, h, classes.
    yolo_fastest_v2: (1, h, w, 5 * A + C) or (1, 5 * A + C, h, w): boxes, objectness of all anchors, classes.
    """

    options_type = GridOptions

    def __init__(self, manifest: Manifest) -> None:
        """Compute cells and anchors; raise ManifestError where the options do not belong together."""
        super().__init__(manifest)
        options: GridOptions = self.options
        self._label_ids = self.label_ids(manifest)
        spec, style = manifest.input, options.style
        self._input = np.array([spec.width, spec.height], np.float32)
        self._sizes = [grid_size(spec.width, spec.height, stride) for stride in options.strides]
        self._anchors = self._checked_anchors(options)
        self._names: tuple[str, ...] = ()
        self._has_softmax = style in ("yolov2", "yolo_fastest_v2", "fastestdet")
        is_small = style in ("yolo_fastest_v2", "fastestdet")
        self._activated = is_small if options.activated is None else options.activated
        default = _FASTESTDET_WEIGHT if style == "fastestdet" else None
        self._weight = options.objectness_weight or default
        scales = options.scale_xy or (2.0 if style in ("yolov5", "yolo_fastest_v2") else 1.0)
        self._scales = scales if isinstance(scales, list) else [scales] * len(options.strides)
        if len(self._scales) != len(options.strides):
            self._refuse(f"scale_xy has {len(self._scales)} numbers for {len(options.strides)} strides")

    def _refuse(self, what: str) -> None:
        raise ManifestError(f"model {self.model!r}, options of decoder 'grid': {what}")

    def _checked_anchors(self, options: GridOptions) -> list[NDArray[np.float32]]:
        """Return (A, 2) anchors in model pixels for each stride; one of no meaning without anchors."""
        if options.style == "fastestdet":
            if options.anchors is not None:
                self._refuse("style fastestdet has no anchors")
            return [np.ones((1, 2), np.float32) for _ in options.strides]
        if options.anchors is None:
            self._refuse(
                f"style {options.style} needs anchors, a list of [width, height] for each stride, such as "
                "[[[10, 13], [16, 30], [33, 23]], ...]: they are in the model's cfg or yaml file"
            )
        anchors = options.anchors or []
        counts = {len(level) for level in anchors}
        if len(anchors) != len(options.strides) or len(counts) != 1 or 0 in counts:
            self._refuse(
                f"anchors have {[len(level) for level in anchors]} pairs for {len(options.strides)} strides; "
                "each stride needs as many"
            )
        units = options.strides if options.anchor_units == "cells" else [1] * len(anchors)
        return [np.array(level, np.float32) * unit for level, unit in zip(anchors, units, strict=True)]

    def _patterns(self, size: tuple[int, int]) -> dict[str, Pattern]:
        """Return the shapes of a stride's map by their axes: anchors, numbers, rows, columns."""
        columns, rows = size
        count, width = len(self._anchors[0]), 5 + len(self._label_ids)
        if self.options.style == "yolo_fastest_v2":
            channels = 5 * count + len(self._label_ids)
            return {"C H W": (1, channels, rows, columns), "H W C": (1, rows, columns, channels)}
        return {
            "AN H W": (1, count * width, rows, columns),
            "H W AN": (1, rows, columns, count * width),
            "A H W N": (1, count, rows, columns, width),
            "H W A N": (1, rows, columns, count, width),
            "A N H W": (1, count, width, rows, columns),
        }

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError when a stride has no map, or several outputs may be one."""
        patterns = [list(self._patterns(size).values()) for size in self._sizes]
        shapes = "; ".join(
            f"stride {s}: {list(p[0])}" for s, p in zip(self.options.strides, patterns, strict=True)
        )
        found = find_each(
            outputs,
            self.options.output,
            patterns,
            model=self.model,
            needs=(
                f"grid, style {self.options.style}, with {len(self._label_ids)} labels and "
                f"{len(self._anchors[0])} anchors a stride needs maps such as {shapes}"
            ),
        )
        self._names = tuple(one.name for one in found)

    def candidates(
        self, outputs: Mapping[str, NDArray[Any]], score_threshold: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Return boxes, scores and class ids at or above the threshold, in model pixels."""
        parts = [self._level(outputs, level, score_threshold) for level in range(len(self._names))]
        boxes, scores, class_ids = (np.concatenate(one) for one in zip(*parts, strict=True))
        return boxes, scores, class_ids

    def _level(
        self, outputs: Mapping[str, NDArray[Any]], level: int, threshold: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        raw_boxes, raw_objectness, raw_classes = self._split(outputs, level)
        where = self.where(self._names[level])
        if self._activated:
            check_probability(raw_objectness, where, _CAUSE)
        # Class scores are at most 1, so objectness alone already rules most boxes out.
        needed = threshold ** (1.0 / self._weight) if self._weight else threshold
        anchor, cell = np.nonzero(raw_objectness >= (needed if self._activated else logit(needed)))
        objectness, classes = raw_objectness[anchor, cell], raw_classes[anchor, cell]
        if self._activated:
            check_probability(classes, where, _CAUSE)
        else:
            objectness = sigmoid(objectness)
            classes = softmax(classes) if self._has_softmax else sigmoid(classes)
        strongest = classes.argmax(axis=1)
        best = classes[np.arange(len(classes)), strongest]
        if self._weight:
            scores = np.clip(objectness, 0.0, 1.0) ** self._weight * np.clip(best, 0.0, 1.0) ** (
                1 - self._weight
            )
        else:
            scores = np.minimum(objectness * best, np.float32(1.0))
        strong = scores >= threshold
        anchor, cell = anchor[strong], cell[strong]
        boxes = self._boxes(raw_boxes[anchor, cell], self._anchors[level][anchor], cell, level)
        return boxes, scores[strong].astype(np.float32), self._label_ids[strongest[strong]]

    def _boxes(
        self, raw: NDArray[np.float32], anchors: NDArray[np.float32], cell: NDArray[np.intp], level: int
    ) -> NDArray[np.float32]:
        """Return (n, 4) xyxy boxes in model pixels of (n, 4) raw ones."""
        style, stride, scale = self.options.style, self.options.strides[level], self._scales[level]
        cells, _ = grid_cells([self._sizes[level]], [stride])
        raw_center, raw_size = raw[:, :2], raw[:, 2:]
        if style == "fastestdet":
            centers, sizes = np.tanh(raw_center), sigmoid(raw_size) * self._input
        else:
            shares = raw_center if self._activated else sigmoid(raw_center)
            centers = shares * np.float32(scale) - np.float32((scale - 1.0) / 2.0)
            if style in ("yolov2", "yolov3"):
                sizes = self._exp(raw_size, level) * anchors
            else:
                sizes = (2.0 * (raw_size if self._activated else sigmoid(raw_size))) ** 2 * anchors
        centers = (centers + cells[cell]) * np.float32(stride)
        halves = sizes * np.float32(0.5)
        return np.concatenate([centers - halves, centers + halves], axis=1).astype(np.float32)

    def _exp(self, log_sizes: NDArray[np.float32], level: int) -> NDArray[np.float32]:
        largest = float(log_sizes.max(initial=0.0))
        if largest > _MAX_LOG_SIZE:
            raise OutputError(
                f"{self.where(self._names[level])}: box sizes up to {largest:.4g} are no logarithms; "
                "are the boxes decoded already (decoder yolo), or is it another style?"
            )
        return np.exp(log_sizes)

    def _split(
        self, outputs: Mapping[str, NDArray[Any]], level: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return views of a map: boxes (A, cells, 4), objectness (A, cells) and classes (A, cells, C).

        Raises:
            OutputError: a wrong shape, or any number that is not finite.
        """
        name = self._names[level]
        values, where = self.read(outputs, name), self.where(name)
        patterns = self._patterns(self._sizes[level])
        axes = next((axes for axes, pattern in patterns.items() if fits(values.shape, pattern)), None)
        if axes is None:
            asked = " or ".join(str(list(pattern)) for pattern in patterns.values())
            raise OutputError(f"{where}: {list(values.shape)} instead of {asked}")
        raw = np.asarray(values[0], np.float32)
        check_finite(raw, where)
        count = len(self._anchors[level])
        columns, rows = self._sizes[level]
        if self.options.style == "yolo_fastest_v2":
            flat = raw.reshape(-1, rows * columns).T if axes == "C H W" else raw.reshape(rows * columns, -1)
            boxes = flat[:, : 4 * count].reshape(-1, count, 4).transpose(1, 0, 2)
            classes = np.broadcast_to(flat[:, 5 * count :], (count, len(flat), len(self._label_ids)))
            return boxes, flat[:, 4 * count : 5 * count].T, classes
        if axes in ("AN H W", "A N H W"):
            numbers = raw.reshape(count, -1, rows * columns).transpose(0, 2, 1)
        elif axes == "A H W N":
            numbers = raw.reshape(count, rows * columns, -1)
        else:
            numbers = raw.reshape(rows * columns, count, -1).transpose(1, 0, 2)
        if self.options.style == "fastestdet":
            return numbers[..., 1:5], numbers[..., 0], numbers[..., 5:]
        return numbers[..., :4], numbers[..., 4], numbers[..., 5:]
