# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training (QAT) with a straight-through estimator.

Runs on the graph of a quantizing pass and keeps its Q/DQ pairs. In the forward pass activations and weights
are rounded as in the file; in the backward pass rounding counts as the identity. Activations keep their
calibrated scales; weight scales are ``max|w| / 127`` of the present weights.
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
    """Options of qat: the training options with a lower default learning rate."""

    learning_rate: float = Field(1e-4, gt=0.0, le=1.0, description="peak learning rate of AdamW")


class Qat(Distill):
    """Trains the integer weights and biases of a Q/DQ graph."""

    name = "qat"
    lowers_precision = True
    options_type = QatOptions

    def _check(self, model: ModelProto) -> None:
        if not is_quantized(model):
            raise RecipeError("the graph is not quantized: put quantize_int8 before qat")
        if self.options.precision != "fp32":
            raise RecipeError("bfloat16 rounds before the integer grid does: qat needs precision: fp32")
