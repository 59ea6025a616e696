# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Classes: one score for every label of the whole frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ManifestError, ModelFileError, OutputError
from ad_compressed_perception.core.manifest import Manifest, StrictModel
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks.classification import ClassificationDecoder
from ad_compressed_perception.tasks.output_contract import check_finite, check_probability
from ad_compressed_perception.tasks.output_kinds import Columns, Kind, OutputKinds


class ClassesOptions(StrictModel):
    """Options of the classes decoder."""

    output: str | None = Field(None, description="output tensor; the only output when absent")
    activation: Literal["none", "softmax", "sigmoid"] = Field(
        "none",
        description="what the file leaves out: nothing (its output holds probabilities), the softmax of "
        "classes that exclude each other, or the sigmoid of labels that do not",
    )


class ClassesDecoder(ClassificationDecoder):
    """Decodes 1xK, or 1xKx1x1 of a head that is a convolution; K may be 1 for two labels.

    One number is then the probability (or logit) of the second label, as Keras and PyTorch train a binary
    classifier. A log-softmax is decoded as logits, for ``softmax(log(p)) = p``.
    """

    options_type = ClassesOptions

    def __init__(self, manifest: Manifest) -> None:
        """Validate the options and the number of labels."""
        super().__init__(manifest)
        self._labels = len(manifest.labels)
        if self._labels < 2:
            raise ManifestError(
                f"model {manifest.name!r}: with one label every frame has it; name two or more, such as "
                "other,stop_sign"
            )
        self._output: str | None = self.options.output
        self.activation: str = self.options.activation

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError when the file's output is not one number for each label."""
        tensor = self.find_output(outputs, self._output)
        described = f"the file's output {tensor.name!r} is {tensor.dtype} {list(tensor.shape)}"
        if not tensor.dtype.startswith("float"):
            raise ModelFileError(f"model {self.model!r}: class scores are floats, {described}")
        open_axes = tensor.shape.count(None)
        known = [size for size in tensor.shape if size not in (None, 1)]
        counts = known or ([1] if open_axes == 0 else [])
        fits = len(counts) <= 1 and all(self._fits(size) for size in counts)
        if not tensor.shape or len(tensor.shape) > 4 or not fits:
            binary = ", or one number for two labels" if self._labels == 2 else ""
            raise ModelFileError(
                f"model {self.model!r}: {self._labels} labels need an output of 1x{self._labels} or "
                f"1x{self._labels}x1x1{binary}; {described}"
            )
        if counts == [1] and self.activation == "softmax":
            raise ModelFileError(
                f"model {self.model!r}: {described}, and the softmax of one number is always 1; set the "
                "decoder option activation: sigmoid (logit of the second label) or none (its probability)"
            )
        self._output = tensor.name

    def output_kinds(self) -> Mapping[str, OutputKinds]:
        """Return probabilities or what they are computed from."""
        kinds: dict[str, Kind] = {"sigmoid": "logits", "softmax": "distribution"}
        return {self._output or "": OutputKinds((Columns(kinds.get(self.activation, "probability")),), 1)}

    def _fits(self, count: int) -> bool:
        return count == self._labels or (count == 1 and self._labels == 2)

    def values(self, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return (K,) numbers as the file gives them; raise OutputError where they are no such numbers."""
        values, where = self.read(outputs, self._output), self.where(self._output)
        if not self._fits(values.size) or max(values.shape) != values.size:
            raise OutputError(f"{where}: {list(values.shape)} is no score of each of {self._labels} labels")
        flat = np.asarray(values, np.float32).reshape(-1)
        check_finite(flat, where)
        return flat

    def scores(self, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return (K,) scores.

        Raises:
            OutputError: a value is not finite, or without an activation not in 0..1.
        """
        values = self.values(outputs)
        if self.activation == "none":
            check_probability(
                values,
                self.where(self._output),
                "are they logits? Set the decoder option activation: softmax for classes that exclude each "
                "other, sigmoid for labels that do not",
            )
            found = np.clip(values, 0.0, 1.0)
        elif self.activation == "sigmoid" or values.size == 1:
            # Written with tanh, which no value overflows.
            found = 0.5 * (1.0 + np.tanh(0.5 * values))
        else:
            found = np.exp(values - values.max())
            found /= found.sum()
        if found.size < self._labels:
            found = np.concatenate([1.0 - found, found])
        return np.asarray(found, np.float32)
