# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training: weights that know how they will be rounded.

Runs on a graph that a quantizing pass made, with its Q/DQ pairs where they are. Forward, activations and
weights pass the same rounding as in the file; backward, rounding counts as the identity. Activations keep
their calibrated scales, weights have ``max|w| / 127`` of what they have become.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ad_compressed_perception.compression.passes.distillation.distill import Distill
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.onnx_graph.io import is_quantized
from ad_compressed_perception.training.options import TrainingOptions

if TYPE_CHECKING:
    from onnx import ModelProto


class QatOptions(TrainingOptions):
    """Options of qat: training's, with a rate for weights that are nearly right."""

    learning_rate: float = Field(1e-4, gt=0.0, le=1.0, description="peak of AdamW's rate")


class Qat(Distill):
    """Trains the integer weights and biases of a Q/DQ graph."""

    name = "qat"
    rounds = True
    options_type = QatOptions

    def _check(self, model: ModelProto) -> None:
        if not is_quantized(model):
            raise RecipeError("the graph is not quantized: put quantize_int8 before qat")
        if self.options.precision != "fp32":
            raise RecipeError("bfloat16 rounds before the integer grid does: qat needs precision: fp32")
