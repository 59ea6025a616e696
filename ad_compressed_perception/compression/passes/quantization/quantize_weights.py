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

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.onnx_graph.io import is_quantized, opset_of
from ad_compressed_perception.onnx_graph.subgraphs import all_names, free_name
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

_LEAST_OPSET = 13
_LARGEST = 127
# Operator: indices of the weights among its inputs. Gemm's axis depends on transB.
_WEIGHTS = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (1,), "MatMul": (1,), "GRU": (1, 2), "LSTM": (1, 2)}


class QuantizeWeightsOptions(PassOptions):
    """Options of quantize_weights."""

    renamed = {"least_elements": "min_elements"}

    min_elements: int = Field(
        256,
        ge=1,
        description="smaller tensors stay in float: the scale of each channel would use up the savings",
    )


@dataclass(frozen=True)
class _Weight:
    tensor: TensorProto
    values: NDArray[np.float32]
    axis: int


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
        if is_quantized(model):
            raise ModelFileError("the model is quantized already; start from its float baseline")
        if opset_of(model) < _LEAST_OPSET:
            raise RecipeError(
                f"{self.name} needs opset {_LEAST_OPSET}, the model has {opset_of(model)}: "
                "put upgrade_opset before it"
            )
        return self.store(model, context, tuple(_WEIGHTS))

    def store(self, model: ModelProto, context: PassContext, kinds: tuple[str, ...]) -> ModelProto:
        """Store the weights of operators of these types; raise ModelFileError as apply does."""
        options: QuantizeWeightsOptions = self.options
        chosen = [weight for weight in _find(model, kinds) if weight.values.size >= options.min_elements]
        if not chosen:
            raise ModelFileError(
                f"nothing to quantize: no {', '.join(kinds)} has weights of {options.min_elements} "
                "numbers or more"
            )
        signal = noise = 0.0
        taken = all_names(model)
        for weight in chosen:
            if not np.isfinite(weight.values).all():
                raise ModelFileError(f"weight {weight.tensor.name!r} is not finite: it has no scale")
            numbers, scales = quantize_channels(weight.values, weight.axis)
            _replace(model, weight, numbers, scales, taken)
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


def quantize_channels(values: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 values and one scale per channel of ``axis``; a channel of zeros has scale 1.

    Args:
        values: weights, any shape.
        axis: the channels' axis.

    Returns:
        numbers of the same shape in -127..127, and (channels,) scales.
    """
    others = tuple(place for place in range(values.ndim) if place != axis)
    peaks = np.abs(values).max(axis=others).astype(np.float64)
    scales = np.where(peaks > 0.0, peaks / _LARGEST, 1.0).astype(np.float32)
    # The scale of a denormal channel may round to zero.
    scales[scales == 0.0] = 1.0
    shape = [1] * values.ndim
    shape[axis] = -1
    numbers = np.clip(np.rint(values / scales.reshape(shape)), -_LARGEST, _LARGEST).astype(np.int8)
    return numbers, scales


def _find(model: ModelProto, kinds: tuple[str, ...]) -> list[_Weight]:
    """Return the float weights of compute ops, each with the same channel axis in all of its uses."""
    from onnx import TensorProto, numpy_helper

    tensors = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) >= 2
    }
    axes: dict[str, set[int | None]] = {}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name in tensors:
                is_weight = node.op_type in kinds and place in _WEIGHTS[node.op_type]
                axis = _channel_axis(node, len(tensors[name].dims)) if is_weight else None
                axes.setdefault(name, set()).add(axis)
    found = []
    for name, used in axes.items():
        axis = next(iter(used)) if len(used) == 1 else None
        if axis is not None:
            values: Any = numpy_helper.to_array(tensors[name])
            found.append(_Weight(tensors[name], values, axis))
    return found


def _channel_axis(node: NodeProto, rank: int) -> int:
    """Return the output-channel axis of an operator's weights."""
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "MatMul":
        return rank - 1
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        return 0 if transposed else 1
    return 1 if node.op_type in ("GRU", "LSTM") else 0


def _replace(
    model: ModelProto,
    weight: _Weight,
    numbers: NDArray[np.int8],
    scales: NDArray[np.float32],
    taken: set[str],
) -> None:
    """Replace a weight by its int8 values, their scales and a DequantizeLinear, under names not taken."""
    from onnx import helper, numpy_helper

    name = weight.tensor.name
    stored, scale, zero = (free_name(f"{name}_{end}", taken) for end in ("int8", "scale", "zero_point"))
    weight.tensor.CopyFrom(numpy_helper.from_array(numbers, stored))
    zeros = np.zeros(scales.shape, np.int8)
    model.graph.initializer.extend(
        [numpy_helper.from_array(scales, scale), numpy_helper.from_array(zeros, zero)]
    )
    node = helper.make_node(
        "DequantizeLinear",
        [stored, scale, zero],
        [name],
        free_name(f"{name}_expand", taken),
        axis=weight.axis,
    )
    model.graph.node.insert(0, node)
