# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Weights of compute ops as 8-bit integers, with a DequantizeLinear before their use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.onnx_graph.graph import Graph, attribute

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

_LARGEST = 127
WEIGHTS = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (1,), "MatMul": (1,), "GRU": (1, 2), "LSTM": (1, 2)}
"""Operator to the places of weights among its inputs. Gemm's axis depends on transB."""


@dataclass(frozen=True)
class StoredWeight:
    """A weight with the axis of its output channels."""

    tensor: TensorProto
    values: NDArray[np.float32]
    axis: int


def find_weights(model: ModelProto, kinds: Sequence[str]) -> list[StoredWeight]:
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
                is_weight = node.op_type in kinds and place in WEIGHTS[node.op_type]
                axis = _channel_axis(node, len(tensors[name].dims)) if is_weight else None
                axes.setdefault(name, set()).add(axis)
    found = []
    for name, used in axes.items():
        axis = next(iter(used)) if len(used) == 1 else None
        if axis is not None:
            values: Any = numpy_helper.to_array(tensors[name])
            found.append(StoredWeight(tensors[name], values, axis))
    return found


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


def _channel_axis(node: NodeProto, rank: int) -> int:
    """Return the output-channel axis of an operator's weights."""
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "MatMul":
        return rank - 1
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return 1 if node.op_type in ("GRU", "LSTM") else 0


def store_integers(
    graph: Graph, weight: StoredWeight, numbers: NDArray[np.int8], scales: NDArray[np.float32]
) -> None:
    """Replace a weight by its int8 values, their scales and a DequantizeLinear, under names not taken."""
    from onnx import helper, numpy_helper

    name = weight.tensor.name
    stored = graph.new_name(f"{name}_int8")
    weight.tensor.CopyFrom(numpy_helper.from_array(numbers, stored))
    scale = graph.add_constant(f"{name}_scale", scales)
    zero = graph.add_constant(f"{name}_zero_point", np.zeros(scales.shape, np.int8))
    expand = graph.new_name(f"{name}_expand")
    node = helper.make_node("DequantizeLinear", [stored, scale, zero], [name], expand, axis=weight.axis)
    graph.model.graph.node.insert(0, node)
