# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Outputs as they are: the decoder of task raw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ModelFileError, OutputError
from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.core.results import RawOutputs
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks.output_contract import check_finite
from ad_compressed_perception.tasks.raw import RawDecoder

_NUMBERS = (
    *("float16", "float32", "float64", "bool"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)


class RawOptions(StrictModel):
    """Options of the decoder raw."""

    outputs: list[str] | None = Field(
        None, min_length=1, description="outputs that are compared; all of them when absent"
    )
    numbers: list[str] = Field(
        default_factory=list,
        description="outputs of whole numbers that are quantities, such as pixels of an image, not ids",
    )
    row_scores: dict[str, list[int]] = Field(
        default_factory=dict,
        description="tables of candidates: output to the columns whose score says how much a row counts, "
        "such as objectness; by default those of small scores in most rows",
    )


class OutputsDecoder(RawDecoder):
    """Takes the outputs that the manifest names, all of them when it names none."""

    options_type = RawOptions

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError where the file lacks an output, or one holds no numbers."""
        found = {tensor.name: tensor for tensor in outputs}
        for name in self.options.outputs or found:
            if name not in found:
                raise ModelFileError(
                    f"model {self.model!r}: the file has no output {name!r}; it has {', '.join(found)}"
                )
            if found[name].dtype.partition("[")[0] not in _NUMBERS:
                raise ModelFileError(
                    f"{self.where(name)} is of type {found[name].dtype}, not of numbers; name the others in "
                    "the manifest's output: {decoder: raw, options: {outputs: [...]}}"
                )

    def take(self, outputs: Mapping[str, NDArray[Any]]) -> RawOutputs:
        """Return the outputs; raise OutputError where one is missing or a number is not finite."""
        taken = {}
        for name in self.options.outputs or outputs:
            values = outputs.get(name)
            if values is None:
                raise OutputError(f"{self.where(name)}: the runtime gave no output")
            if values.size and not np.issubdtype(values.dtype, np.integer) and values.dtype != np.bool_:
                check_finite(values, self.where(name))
            taken[name] = values
        return RawOutputs(taken)
