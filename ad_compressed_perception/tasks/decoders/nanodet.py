# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""NanoDet and other heads with a distribution of each side's distance (Li et al., Generalized Focal Loss).

| model                  | options                                                                    |
|------------------------|----------------------------------------------------------------------------|
| NanoDet-Plus           |                                                                            |
| NanoDet of 2020        | strides: [8, 16, 32], cell_offset: 0.5                                     |
| PicoDet without decoding | cell_offset: 0.5                                                         |

A frame of 3598 cells and 80 labels takes 0.25 ms of one core of a server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ManifestError, OutputError
from ad_compressed_perception.core.manifest import Manifest, StrictModel
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks.decoders.activations import largest, logit, sigmoid, softmax
from ad_compressed_perception.tasks.decoders.cells import grid_cells, grid_size
from ad_compressed_perception.tasks.decoders.find_outputs import Names, Pattern, find_each, fits
from ad_compressed_perception.tasks.detection import DetectionDecoder
from ad_compressed_perception.tasks.output_contract import check_finite, check_probability
from ad_compressed_perception.tasks.output_kinds import Columns, OutputKinds

_CAUSE = "are they logits? (decoder option scores: logits)"
Level = tuple[int, int]
"""Columns and rows of a stride's grid."""


class NanodetOptions(StrictModel):
    """Options of the nanodet decoder."""

    strides: list[int] = Field(default_factory=lambda: [8, 16, 32, 64], min_length=1)
    reg_max: int = Field(7, ge=1, le=64, description="largest distance of a side, in strides")
    cell_offset: float = Field(
        0.0, ge=0.0, le=1.0, description="where in its cell a center lies: 0 in NanoDet-Plus, 0.5 before it"
    )
    scores: Literal["probability", "logits"] = "probability"
    output: Names = Field(
        None, description="output of scores and distances, or a list of one a stride; by shape when absent"
    )
    class_output: Names = Field(None, description="output of scores alone, or a list of one a stride")
    box_output: Names = Field(None, description="output of distances alone, or a list of one a stride")
    label_ids: list[int] | None = Field(
        None, min_length=1, description="which of the manifest's labels the class scores are; all when absent"
    )


class NanodetDecoder(DetectionDecoder):
    """Decodes classes and 4 * (reg_max + 1) logits of distances for each cell of each stride's grid.

    In one output of all strides or one a stride, joined or apart; rows (1, N, width), columns (1, width, N)
    or maps (1, width, rows, columns). The expected distances to left, top, right and bottom are in strides:
    ``corner = (cell + cell_offset) * stride -+ sum(softmax(logits) * (0..reg_max)) * stride``, clipped to the
    input as NanoDet's ``distance2bbox`` does.
    """

    options_type = NanodetOptions

    def __init__(self, manifest: Manifest) -> None:
        """Compute the cells; raise ManifestError where options contradict each other."""
        super().__init__(manifest)
        options: NanodetOptions = self.options
        if options.output and (options.class_output or options.box_output):
            raise ManifestError(
                f"model {manifest.name!r}, options of decoder 'nanodet': output names joined outputs, "
                "class_output and box_output separate ones: give one or the other"
            )
        self._label_ids = self.label_ids(manifest)
        spec = manifest.input
        self._levels = [grid_size(spec.width, spec.height, stride) for stride in options.strides]
        self._cells, self._strides = grid_cells(self._levels, options.strides)
        self._limit = np.array([spec.width, spec.height] * 2, np.float32)
        self._bins = options.reg_max + 1
        self._is_logit = options.scores == "logits"
        self._sources: list[tuple[tuple[str, ...], int]] = []

    @property
    def _widths(self) -> tuple[int, int]:
        return len(self._label_ids), 4 * self._bins

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError when outputs for some stride are missing or may be several."""
        options: NanodetOptions = self.options
        classes, sides = self._widths
        apart = options.class_output or options.box_output
        joined = options.output or any(
            fits(one.shape, pattern)
            for one in outputs
            for group in (self._whole(classes + sides), *self._each(classes + sides))
            for pattern in group
        )
        if joined and not apart:
            self._sources = [self._find(outputs, options.output, classes + sides, "output")]
        else:
            self._sources = [
                self._find(outputs, options.class_output, classes, "class_output"),
                self._find(outputs, options.box_output, sides, "box_output"),
            ]

    def output_kinds(self) -> Mapping[str, OutputKinds]:
        """Return class scores and the distributions of the four distances of each cell."""
        scores = Columns("logits" if self._is_logit else "probability")
        sides = Columns("distribution", 4 * self._bins, self._bins)
        parts = [(scores, sides)] if len(self._sources) == 1 else [(scores,), (sides,)]
        return {
            name: OutputKinds(columns)
            for (names, _), columns in zip(self._sources, parts, strict=True)
            for name in names
        }

    def _whole(self, width: int) -> list[Pattern]:
        count = len(self._cells)
        return [(1, count, width), (1, width, count)]

    def _each(self, width: int) -> list[list[Pattern]]:
        return [
            [(1, columns * rows, width), (1, width, columns * rows), (1, width, rows, columns)]
            for columns, rows in self._levels
        ]

    def _find(
        self, outputs: tuple[TensorSpec, ...], names: Sequence[str] | None, width: int, option: str
    ) -> tuple[tuple[str, ...], int]:
        """Return the names of one output, or of one a stride, and the numbers they hold for each cell."""
        whole = self._whole(width)
        chosen = [one for one in outputs if names is None or one.name in names]
        is_whole = any(fits(one.shape, pattern) for one in chosen for pattern in whole)
        cells = " + ".join(str(columns * rows) for columns, rows in self._levels)
        needs = (
            f"nanodet with {len(self._label_ids)} labels, reg_max {self.options.reg_max} and strides "
            f"{self.options.strides} needs {width} numbers (as {option}) for each of {cells} cells"
        )
        found = find_each(
            outputs,
            names,
            [whole] if is_whole else self._each(width),
            model=self.model,
            needs=needs,
            option=option,
        )
        return tuple(one.name for one in found), width

    def candidates(
        self, outputs: Mapping[str, NDArray[Any]], score_threshold: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Return boxes, scores and class ids at or above the threshold, in model pixels."""
        parts = [self._rows(outputs, names, width) for names, width in self._sources]
        classes = parts[0][:, : len(self._label_ids)]
        sides = parts[-1][:, -4 * self._bins :]
        if not self._is_logit:
            check_probability(classes, self.where(self._sources[0][0][0]), _CAUSE)
        best = largest(classes.T)
        likely = np.flatnonzero(best >= (logit(score_threshold) if self._is_logit else score_threshold))
        scores = np.minimum(sigmoid(best[likely]) if self._is_logit else best[likely], np.float32(1.0))
        likely, scores = likely[scores >= score_threshold], scores[scores >= score_threshold]
        class_ids = self._label_ids[classes[likely].argmax(axis=1)]
        shares = softmax(sides[likely].reshape(-1, 4, self._bins))
        strides = self._strides[likely]
        distances = shares @ np.arange(self._bins, dtype=np.float32) * strides
        centers = (self._cells[likely] + np.float32(self.options.cell_offset)) * strides
        boxes = np.concatenate([centers - distances[:, :2], centers + distances[:, 2:]], axis=1)
        return np.clip(boxes, 0.0, self._limit).astype(np.float32), scores, class_ids

    def _rows(
        self, outputs: Mapping[str, NDArray[Any]], names: tuple[str, ...], width: int
    ) -> NDArray[np.float32]:
        """Return (N, width) float32, a row a cell.

        Raises:
            OutputError: a wrong shape, or numbers that are not finite.
        """
        groups = [self._whole(width)] if len(names) == 1 and len(self._levels) > 1 else self._each(width)
        parts = []
        for name, patterns in zip(names, groups, strict=True):
            values, where = self.read(outputs, name), self.where(name)
            if not any(fits(values.shape, pattern) for pattern in patterns):
                asked = " or ".join(str(list(pattern)) for pattern in patterns)
                raise OutputError(f"{where}: {list(values.shape)} instead of {asked}")
            raw = np.asarray(values[0], np.float32)
            check_finite(raw, where)
            # A row a cell where both would fit, as NanoDet exports them.
            parts.append(raw if fits(values.shape, patterns[0]) else raw.reshape(width, -1).T)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
