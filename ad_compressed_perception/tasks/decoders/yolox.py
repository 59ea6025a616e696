# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""YOLOX: grid-relative boxes of an anchor-free head (Ge et al., YOLOX, 2021, section 2.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ModelFileError, OutputError
from ad_compressed_perception.core.manifest import Manifest, StrictModel
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks.decoders.cells import grid_cells
from ad_compressed_perception.tasks.decoders.find_outputs import fits
from ad_compressed_perception.tasks.detection import DetectionDecoder
from ad_compressed_perception.tasks.output_contract import check_finite, check_probability
from ad_compressed_perception.tasks.output_kinds import Columns, OutputKinds

RAW_HEAD = (
    "decoder yolox takes the raw head, so read decoded boxes with decoder yolo, "
    "objectness: true, or export without decoding (YOLOX: head.decode_in_inference = False)"
)
_MAX_LOG_SIZE = 20.0
"""exp(20) is far beyond any image; trained heads stay below 6, boxes in pixels exceed 30."""
_CAUSE = "does the file lack the sigmoid of objectness and class scores?"


class YoloxOptions(StrictModel):
    """Options of the YOLOX decoder."""

    strides: list[int] = Field(default_factory=lambda: [8, 16, 32], min_length=1)
    output: str | None = Field(None, description="output tensor; the only output when absent")
    label_ids: list[int] | None = Field(
        None, min_length=1, description="which of the manifest's labels the class scores are; all when absent"
    )


class YoloxDecoder(DetectionDecoder):
    """Decodes (1, N, 5 + classes): cx, cy, log w, log h, objectness, class scores (sigmoid applied).

    ``center = (raw + cell) * stride``, ``size = exp(raw) * stride``, ``score = objectness * class``.
    The last two axes may be transposed, as by converters to channels-last formats.
    """

    options_type = YoloxOptions

    def __init__(self, manifest: Manifest) -> None:
        """Compute the grid cells of the model's input size."""
        super().__init__(manifest)
        self._is_transposed = False
        self._label_ids = self.label_ids(manifest)
        self._output: str | None = self.options.output
        strides = self.options.strides
        # Without a rest: YOLOX convolves inputs of whole cells only.
        sizes = [(manifest.input.width // stride, manifest.input.height // stride) for stride in strides]
        self.cells, self.strides = grid_cells(sizes, strides)

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError when no output has the shape that grid and labels ask for."""
        tensor = self.find_output(outputs, self._output)
        expected = (1, len(self.cells), 5 + len(self._label_ids))
        shape = tensor.shape
        transposed = (1, expected[2], expected[1])
        self._is_transposed = not fits(shape, expected) and fits(shape, transposed)
        if not self._is_transposed and not fits(shape, expected):
            raise ModelFileError(
                f"model {self.model!r}: yolox with {len(self._label_ids)} labels needs output "
                f"{list(expected)}, the file's {tensor.name!r} is {list(shape)}"
            )
        if not tensor.dtype.startswith("float"):
            raise ModelFileError(
                f"model {self.model!r}: yolox needs real numbers, the file's {tensor.name!r} is "
                f"{tensor.dtype}: export it with dequantized outputs"
            )
        self._output = tensor.name

    def output_kinds(self) -> Mapping[str, OutputKinds]:
        """Return offsets and logarithms of sizes, objectness and class scores of each cell."""
        objectness = Columns("probability", 1, is_objectness=True)
        columns = (Columns("log_size", 4), objectness, Columns("probability"))
        axis = 1 if self._is_transposed else 2
        return {self._output or "": OutputKinds(columns, axis, tuple(self.options.strides))}

    def candidates(
        self, outputs: Mapping[str, NDArray[Any]], score_threshold: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Return boxes, scores and class ids at or above the threshold, in model pixels."""
        raw = self.rows(outputs)
        # Class scores are at most 1, so objectness alone already rules most cells out.
        likely = np.flatnonzero(raw[:, 4] >= score_threshold)
        rows = raw[likely]
        check_probability(rows[:, 5:], self.where(self._output), _CAUSE)
        strongest = rows[:, 5:].argmax(axis=1)
        scores = np.minimum(rows[:, 4] * rows[np.arange(len(rows)), 5 + strongest], np.float32(1.0))
        class_ids = self._label_ids[strongest]
        strong = scores >= score_threshold
        rows, scores, class_ids = rows[strong], scores[strong], class_ids[strong]
        cells, strides = self.cells[likely[strong]], self.strides[likely[strong]]
        centers = (rows[:, :2] + cells) * strides
        halves = np.exp(rows[:, 2:4]) * strides * 0.5
        boxes = np.concatenate([centers - halves, centers + halves], axis=1)
        return boxes.astype(np.float32), scores, class_ids

    def rows(self, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return (N, 5 + classes) float32, a row a cell.

        Raises:
            OutputError: a wrong shape, any number that is not finite, sizes that are no logarithms,
                objectness that is no probability.
        """
        values, where = self.read(outputs, self._output), self.where(self._output)
        expected = (1, len(self.cells), 5 + len(self._label_ids))
        if self._is_transposed:
            expected = (1, expected[2], expected[1])
        if values.shape != expected:
            raise OutputError(f"{where}: {list(values.shape)} instead of {list(expected)}")
        raw = np.asarray(values[0], np.float32)
        check_finite(raw, where)
        raw = raw.T if self._is_transposed else raw
        largest = float(raw[:, 2:4].max())
        if largest > _MAX_LOG_SIZE:
            raise OutputError(f"{where}: box sizes up to {largest:.4g} are no logarithms; {RAW_HEAD}")
        check_probability(raw[:, 4], where, _CAUSE)
        return raw
