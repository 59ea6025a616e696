# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Unstructured pruning: the weights of lowest score become zero.

With ``score`` s a weight is set to 0 when ``s < t``:

* ``lamp``: ``w^2`` as a share of the squares of all weights of its tensor that are not smaller (Lee et
  al., "Layer-adaptive sparsity for the magnitude-based pruning", 2021). Tensors of different scale
  become comparable, and the largest weight of each is always kept;
* ``magnitude``: ``|w|``. Across tensors (``scope: global``) that removes whole layers whose inputs are
  large and weights therefore small, such as a first convolution on pixels of 0..255;
* ``activation``: ``|w| sqrt(E[x^2])`` with the mean square of the input it multiplies (Sun et al., "A
  simple and effective pruning approach for large language models", 2023).

``t`` is given (``threshold``, on magnitudes), or such that the requested share (``ratio``) of all weights
becomes zero: of all tensors together (``scope: global``) or of each (``scope: layer``). Biases,
normalizations and small tensors are not pruned.

Reduces size only, and only when stored packed: no maintained CPU runtime skips single zeros, so the
variant is exactly as fast as before. Speed needs structured pruning (``prune_channels``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ad_compressed_perception.compression.quantization.activation_statistics import (
    correct_bias,
    importance,
    measure_moments,
)
from ad_compressed_perception.onnx_graph.io import float_constants
from ad_compressed_perception.onnx_graph.sparsity import EFFECT, lamp, select_lowest
from ad_compressed_perception.onnx_graph.weights import WeightTensor, find_weights
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions

if TYPE_CHECKING:
    from onnx import ModelProto


class PruneMagnitudeOptions(PassOptions):
    """Options of prune_magnitude: a ratio or a threshold."""

    ratio: float | None = Field(None, gt=0.0, lt=1.0, description="share of the weights that become zero")
    threshold: float | None = Field(None, gt=0.0, description="weights of less magnitude become zero")
    scope: Literal["global", "layer"] = Field(
        "global", description="rank weights over the whole model, or within each tensor, for the ratio"
    )
    score: Literal["lamp", "magnitude", "activation"] = Field(
        "lamp",
        description="w^2 relative to the tensor's larger weights, |w|, or |w| times the RMS of its input",
    )
    correct_bias: bool = Field(True, description="compensate the mean shift of each output in its bias")
    min_size: int = Field(256, ge=2, description="tensors of fewer weights stay as they are")
    exclude: list[str] = Field(
        default_factory=list, description="weights or operators left as they are, by name (* and ? allowed)"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> PruneMagnitudeOptions:
        if (self.ratio is None) == (self.threshold is None):
            raise ValueError("give either ratio or threshold")
        if self.threshold is not None and "score" in self.model_fields_set and self.score != "magnitude":
            raise ValueError(f"a threshold is on magnitudes: use ratio with score: {self.score}")
        return self


class PruneMagnitude(Pass):
    """Sets the weights of lowest score to zero."""

    name = "prune_magnitude"
    options_type = PruneMagnitudeOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the model with zeros in its weights.

        Raises:
            RecipeError: a pattern in ``exclude`` matches nothing.
            ModelFileError: no weights of that size, or one that is not finite; the model cannot run.
            DataError: a calibration frame cannot be read.
        """
        options: PruneMagnitudeOptions = self.options
        weights = find_weights(model, self.name, options.min_size, options.exclude)
        needs_moments = options.score == "activation" or options.correct_bias
        moments = measure_moments(model, weights, context) if needs_moments else {}
        scores = []
        for weight in weights:
            score = np.abs(weight.values.astype(np.float64))
            if options.score == "activation":
                score *= np.sqrt(importance(weight, moments, centered=options.correct_bias))
            elif options.score == "lamp" and options.threshold is None:
                score = lamp(score)
            scores.append(score)
        pruned = zeros = corrected = 0
        for weight, drop in zip(weights, self._selected(scores), strict=True):
            before = weight.values
            weight.store(np.where(drop, np.float32(0.0), before))
            pruned += int(np.count_nonzero(before) - np.count_nonzero(weight.values))
            zeros += int(weight.values.size - np.count_nonzero(weight.values))
            if options.correct_bias:
                corrected += correct_bias(model, weight, before, moments)
        considered = sum(weight.values.size for weight in weights)
        parameters = sum(values.size for _, values in float_constants(model))
        context.notes.update(
            pruned=pruned,
            zeros_of_pruned_tensors=zeros / considered,
            zeros_of_all_parameters=zeros / parameters,
            pruned_tensors=len(weights),
            emptied_tensors=all_zero_names(weights),
            biases_corrected=corrected,
            effect=EFFECT,
        )
        return model

    def _selected(self, scores: list[NDArray[np.float64]]) -> list[NDArray[np.bool_]]:
        options: PruneMagnitudeOptions = self.options
        if options.threshold is not None:
            return [score < options.threshold for score in scores]
        assert options.ratio is not None  # validated
        return select_lowest(scores, options.ratio, options.scope)


def all_zero_names(weights: list[WeightTensor]) -> list[str]:
    """Return the names of tensors without a nonzero weight, which block their layer's signal."""
    return [weight.name for weight in weights if not weight.values.any()]
