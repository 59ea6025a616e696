# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Quantisation-aware training: weights that know how they will be rounded.

Runs on a graph that a quantising pass made, with its Q/DQ pairs where they are. Forward, activations and
weights pass the same rounding as in the file; backward, rounding counts as the identity. Activations keep
their calibrated scales, weights have ``max|w| / 127`` of what they have become.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ad_compressed_perception.compression.passes.distillation.distill import Distil
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.onnx_graph.io import is_quantised
from ad_compressed_perception.training.options import TrainingOptions

if TYPE_CHECKING:
    from onnx import ModelProto


class QuantizeAwareOptions(TrainingOptions):
    """Options of quantize_aware: training's, with a rate for weights that are nearly right."""

    learning_rate: float = Field(1e-4, gt=0.0, le=1.0, description="peak of AdamW's rate")


class QuantizeAware(Distil):
    """Trains the integer weights and biases of a Q/DQ graph."""

    name = "quantize_aware"
    rounds = True
    options_type = QuantizeAwareOptions

    def _check(self, model: ModelProto) -> None:
        if not is_quantised(model):
            raise RecipeError("the graph is not quantised: put quantize_int8 before quantize_aware")
        if self.options.precision != "fp32":
            raise RecipeError(
                "bfloat16 rounds before the integer grid does: quantize_aware needs precision: fp32"
            )
