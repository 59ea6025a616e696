# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""CenterNet: peaks of a heatmap of object centers (Zhou et al., Objects as Points, 2019).

A frame of 80 x 128 x 128 scores takes 0.6 ms of one core of a server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import OutputError
from ad_compressed_perception.core.manifest import Manifest, StrictModel
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks.decoders.activations import logit, sigmoid
from ad_compressed_perception.tasks.decoders.cells import grid_size
from ad_compressed_perception.tasks.decoders.find_outputs import Pattern, find_fitting, fits
from ad_compressed_perception.tasks.detection import DetectionDecoder
from ad_compressed_perception.tasks.output_contract import check_finite, check_probability
from ad_compressed_perception.tasks.output_kinds import Columns, OutputKinds

_CAUSE = "are they logits? (decoder option scores: logits)"
# How CenterNet and its descendants call the two outputs of the same shape.
_SIZE_NAMES, _OFFSET_NAMES = ("wh", "size"), ("reg", "off")


class CenternetOptions(StrictModel):
    """Options of the centernet decoder."""

    stride: int = Field(4, ge=1, description="pixels of the model's input for a cell of the heatmap")
    scores: Literal["probability", "logits"] = Field(
        "probability", description="of the heatmap; CenterNet's own network gives logits"
    )
    size_units: Literal["cells", "pixels"] = Field("cells", description="of width and height")
    heatmap_output: str | None = Field(None, description="a channel a class; by shape when absent")
    size_output: str | None = Field(
        None, description="width and height, 2 channels or 2 for each class; by names such as wh when absent"
    )
    offset_output: str | None = Field(
        None,
        description="of the center in its cell, 2 channels; the one left when absent; half a cell without it",
    )
    nms: bool = Field(False, description="whether peaks of one object are suppressed by their boxes' overlap")
    label_ids: list[int] | None = Field(
        None, min_length=1, description="which of the manifest's labels the channels are; all when absent"
    )


class CenternetDecoder(DetectionDecoder):
    """Decodes a heatmap (1, classes, h, w), sizes and offsets (1, 2, h, w), or each with channels last.

    A cell is an object where no neighbor of the 3 x 3 around it is larger in the same class:
    ``center = (cell + offset) * stride``, ``size = size * stride`` (ctdet_decode of CenterNet). Of equal
    neighbors, frequent in 8 bits, the first is taken and not each of them.
    """

    options_type = CenternetOptions

    def __init__(self, manifest: Manifest) -> None:
        """Compute the heatmap's size."""
        super().__init__(manifest)
        options: CenternetOptions = self.options
        self.needs_nms = options.nms
        self._label_ids = self.label_ids(manifest)
        self._columns, self._rows = grid_size(manifest.input.width, manifest.input.height, options.stride)
        self._is_logit = options.scores == "logits"
        self._size_factor = float(options.stride) if options.size_units == "cells" else 1.0
        self._heatmap = self._size = ""
        self._offset: str | None = None

    def _patterns(self, channels: int) -> list[Pattern]:
        return [(1, channels, self._rows, self._columns), (1, self._rows, self._columns, channels)]

    def _size_patterns(self) -> list[Pattern]:
        return [*self._patterns(2), *self._patterns(2 * len(self._label_ids))]

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError when heatmap or sizes are missing, or which output is which is not certain."""
        options: CenternetOptions = self.options
        given = {options.heatmap_output, options.size_output, options.offset_output}
        free = tuple(one for one in outputs if one.name not in given)
        size = options.size_output or _named(free, _SIZE_NAMES, self._size_patterns())
        offset = options.offset_output or _named(free, _OFFSET_NAMES, self._patterns(2))
        where = f"centernet with {len(self._label_ids)} labels and stride {options.stride} needs"
        self._heatmap = self._find(
            [one for one in outputs if one.name not in (size, offset)],
            options.heatmap_output,
            self._patterns(len(self._label_ids)),
            f"{where} a heatmap",
            "heatmap_output",
        )
        rest = [one for one in outputs if one.name not in (self._heatmap, offset)]
        self._size = self._find(
            rest, size, self._size_patterns(), f"{where} widths and heights", "size_output"
        )
        rest = [one for one in outputs if one.name not in (self._heatmap, self._size)]
        self._offset = None
        # Of the shape of offsets there is nothing else: boxes without them would be off by up to half a cell.
        if offset or any(fits(one.shape, each) for one in rest for each in self._patterns(2)):
            self._offset = self._find(rest, offset, self._patterns(2), f"{where} offsets", "offset_output")

    def output_kinds(self) -> Mapping[str, OutputKinds]:
        """Return scores, sizes and offsets of each cell."""
        scores = Columns("logits" if self._is_logit else "probability")
        kinds = {self._heatmap: scores, self._size: Columns("pixel_box")}
        if self._offset:
            kinds[self._offset] = Columns("log_size")
        return {name: OutputKinds((columns,)) for name, columns in kinds.items()}

    def _find(
        self,
        outputs: list[TensorSpec] | tuple[TensorSpec, ...],
        name: str | None,
        patterns: list[Pattern],
        needs: str,
        option: str,
    ) -> str:
        needs += " " + " or ".join(str(list(pattern)) for pattern in patterns[:2])
        return find_fitting(outputs, name, patterns, model=self.model, needs=needs, option=option).name

    def candidates(
        self, outputs: Mapping[str, NDArray[Any]], score_threshold: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Return boxes, scores and class ids of the peaks at or above the threshold, in model pixels."""
        heat = self._planes(outputs, self._heatmap, self._patterns(len(self._label_ids)))
        sizes = self._planes(outputs, self._size, self._size_patterns())
        offsets = self._planes(outputs, self._offset, self._patterns(2)) if self._offset else None
        if not self._is_logit:
            check_probability(heat, self.where(self._heatmap), _CAUSE)
        least = logit(score_threshold) if self._is_logit else score_threshold
        # Only likely cells are compared with their neighbors; flat indices are found several times as fast.
        channels, rows, columns = np.unravel_index(np.flatnonzero(heat >= least), heat.shape)
        is_peak = np.ones(len(channels), bool)
        values = heat[channels, rows, columns]
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                row = np.clip(rows + down, 0, self._rows - 1)
                column = np.clip(columns + right, 0, self._columns - 1)
                other = heat[channels, row, column]
                is_first = row * self._columns + column >= rows * self._columns + columns
                is_peak &= (values > other) | ((values == other) & is_first)
        scores = np.minimum(sigmoid(values) if self._is_logit else values, np.float32(1.0))
        kept = is_peak & (scores >= score_threshold)
        channels, rows, columns, scores = channels[kept], rows[kept], columns[kept], scores[kept]
        centers = np.stack([columns, rows]).astype(np.float32)
        centers += np.float32(0.5) if offsets is None else offsets[:, rows, columns]
        first = 2 * channels if len(sizes) > 2 else np.zeros_like(channels)
        halves = np.stack([sizes[first, rows, columns], sizes[first + 1, rows, columns]])
        halves *= np.float32(0.5 * self._size_factor)
        centers *= np.float32(self.options.stride)
        boxes = np.concatenate([centers - halves, centers + halves]).T
        return np.ascontiguousarray(boxes, np.float32), scores, self._label_ids[channels]

    def _planes(
        self, outputs: Mapping[str, NDArray[Any]], name: str, patterns: list[Pattern]
    ) -> NDArray[np.float32]:
        """Return an output as (channels, h, w); raise OutputError for a wrong shape or not finite numbers."""
        values, where = self.read(outputs, name), self.where(name)
        fitting = [place for place, pattern in enumerate(patterns) if fits(values.shape, pattern)]
        if not fitting:
            asked = " or ".join(str(list(pattern)) for pattern in patterns)
            raise OutputError(f"{where}: {list(values.shape)} instead of {asked}")
        raw = np.asarray(values[0], np.float32)
        check_finite(raw, where)
        return raw if fitting[0] % 2 == 0 else raw.transpose(2, 0, 1)


def _named(outputs: tuple[TensorSpec, ...], words: tuple[str, ...], patterns: list[Pattern]) -> str | None:
    """Return the only output of a fitting shape with one of the words in its name."""
    found = [
        one.name
        for one in outputs
        if any(word in one.name.lower() for word in words) and any(fits(one.shape, each) for each in patterns)
    ]
    return found[0] if len(found) == 1 else None
