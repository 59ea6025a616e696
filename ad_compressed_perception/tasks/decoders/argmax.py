# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Argmax: the strongest class of every pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ManifestError, ModelFileError, OutputError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks.decoders.score_planes import (
    ScorePlanesDecoder,
    ScorePlanesOptions,
    strongest,
)
from ad_compressed_perception.tasks.output_contract import check_finite
from ad_compressed_perception.tasks.output_kinds import Columns, OutputKinds


class ArgmaxOptions(ScorePlanesOptions):
    """Options of the argmax decoder."""

    layout: Literal["NCHW", "NHWC", "LABELS"] = Field(
        "NCHW", description="axes of the scores; LABELS when the graph already ends in label ids"
    )


class ArgmaxDecoder(ScorePlanesDecoder):
    """Decodes per-class scores (any monotone function of the probability) or ready label ids."""

    options_type = ArgmaxOptions

    def __init__(self, manifest: Manifest) -> None:
        """Validate the options and the number of labels."""
        super().__init__(manifest, len(manifest.labels))
        if len(manifest.labels) > 256:
            raise ManifestError(f"model {manifest.name!r}: a mask of bytes holds at most 256 labels")
        self._layout: str = self.options.layout

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError when labels, class axis, height or width do not fit the file's output."""
        tensor = self.find_planes(outputs)
        if self._channels < 2:
            raise ModelFileError(
                f"model {self.model!r}: with one label every pixel has it, whatever the file's output "
                f"{tensor.name!r} {list(tensor.shape)} holds; name the label of the other pixels too, such "
                "as background"
            )
        self.check_size(tensor)

    def output_kinds(self) -> Mapping[str, OutputKinds]:
        """Return the distribution of each pixel's labels; ready ids have no loss."""
        axes = {"NCHW": 1, "NHWC": 3}
        if self._layout not in axes:
            return {}
        return {self._output or "": OutputKinds((Columns("distribution"),), axes[self._layout])}

    def shapes(self, layout: str) -> tuple[tuple[int | None, ...], ...]:
        """Return the shapes of a layout; those of ready ids have one channel or none."""
        if layout == "LABELS":
            return ((None, None), (1, None, None), (1, 1, None, None), (1, None, None, 1))
        return super().shapes(layout)

    def layout_of(self, shape: tuple[int | None, ...]) -> str | None:
        """Return the layout of the options, whatever else a shape fits."""
        return self._layout if self.size_in(self._layout, shape) else None

    def expected(self) -> str:
        """Return in words what the decoder takes."""
        return f"{self._layout} scores of {self._channels} labels"

    def label_ids(self, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
        """Return (h, w) label ids; equal scores go to the lower id.

        Raises:
            OutputError: a score is not finite, or ready ids are not whole numbers below the number of labels.
        """
        scores, where = self.checked(self.read(outputs, self._output)), self.where(self._output)
        if self._layout == "LABELS":
            return _whole_ids(scores.reshape([side or 0 for side in self.size_of(scores.shape) or ()]), where)
        return strongest(self.planes(scores), scores, where)[0]


def _whole_ids(values: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Return ready ids as uint8; a cast alone would turn 0.9 into 0, inf into 0 and 256 into 0."""
    if values.dtype == np.uint8:
        return values
    with np.errstate(invalid="ignore"):
        label_ids = values.astype(np.uint8)
    if np.array_equal(label_ids, values):
        return label_ids
    check_finite(values, where)
    low, high = float(values.min()), float(values.max())
    if np.array_equal(np.rint(values), values):
        raise OutputError(f"{where}: label ids from {low:.4g} to {high:.4g}; they must be within 0 to 255")
    if low >= 0.0 and high <= 1.0:
        raise OutputError(
            f"{where}: values from {low:.4g} to {high:.4g} are a probability, not label ids: use decoder "
            "sigmoid, which compares them with a threshold"
        )
    raise OutputError(
        f"{where}: values from {low:.4g} to {high:.4g} are not whole numbers, so no label ids; end the "
        "graph in ArgMax or in a plane of scores for every label (layout NCHW), or use decoder sigmoid"
    )
