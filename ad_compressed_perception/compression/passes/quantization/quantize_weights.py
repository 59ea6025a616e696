# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Weights stored in 8 bits and dequantized before use: a quarter of the size, no calibration.

Per output channel c and symmetric: ``scale_c = max|W_c| / 127``,
``q = clip(round_half_to_even(W_c / scale_c), -127, 127)``, ``W'_c = q * scale_c``. The arithmetic
stays in floating point, so files become smaller, not networks faster. One exception: ONNX Runtime fuses
a matrix product with its stored weights into its operator MatMulNBits, which rounds the activations to
8 bits as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from ad_compressed_perception.compression.quantization.float_graph import require_float
from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.graph import Graph
from ad_compressed_perception.onnx_graph.stored_weights import (
    WEIGHTS,
    find_weights,
    quantize_channels,
    store_integers,
)
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions

if TYPE_CHECKING:
    from onnx import ModelProto


class QuantizeWeightsOptions(PassOptions):
    """Options of quantize_weights."""

    renamed = {"least_elements": "min_elements"}

    min_elements: int = Field(
        256,
        ge=1,
        description="smaller tensors stay in float: the scale of each channel would use up the savings",
    )


class QuantizeWeights(Pass):
    """Stores the weights of compute ops as int8 with a DequantizeLinear before each use."""

    name = "quantize_weights"
    lowers_precision = True
    options_type = QuantizeWeightsOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the model with 8-bit weights.

        Raises:
            RecipeError: the opset is below 13.
            ModelFileError: quantized already, no weights large enough, or a weight that is not finite.
        """
        require_float(model, self.name)
        return self.store(model, context, tuple(WEIGHTS))

    def store(self, model: ModelProto, context: PassContext, kinds: tuple[str, ...]) -> ModelProto:
        """Store the weights of operators of these types; raise ModelFileError as apply does."""
        options: QuantizeWeightsOptions = self.options
        chosen = [
            weight for weight in find_weights(model, kinds) if weight.values.size >= options.min_elements
        ]
        if not chosen:
            raise ModelFileError(
                f"nothing to quantize: no {', '.join(kinds)} has weights of {options.min_elements} "
                "numbers or more"
            )
        signal = noise = 0.0
        graph = Graph(model)
        for weight in chosen:
            if not np.isfinite(weight.values).all():
                raise ModelFileError(f"weight {weight.tensor.name!r} is not finite: it has no scale")
            numbers, scales = quantize_channels(weight.values, weight.axis)
            store_integers(graph, weight, numbers, scales)
            shape = [1] * numbers.ndim
            shape[weight.axis] = -1
            expanded = numbers * scales.reshape(shape)
            signal += float(np.sum(weight.values.astype(np.float64) ** 2))
            noise += float(np.sum((weight.values - expanded.astype(np.float64)) ** 2))
        context.notes.update(
            stored_tensors=len(chosen),
            stored_numbers=int(sum(weight.values.size for weight in chosen)),
            weight_sqnr_db=10.0 * np.log10(signal / noise).item() if noise > 0.0 and signal > 0.0 else None,
        )
        return model
