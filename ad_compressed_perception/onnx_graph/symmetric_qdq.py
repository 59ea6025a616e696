# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Q/DQ pairs in the form that TensorRT reads: signed 8 bits, zero points of zero, biases in float.

A range [low, high] of an activation becomes [-m, m] with m = max(|low|, |high|) and the scale m / 127, so
that a range of one sign keeps 7 of its 8 bits. Weights that are unsigned, or whose zero point is not zero,
are rounded again; those that are symmetric already stay as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.graph import Graph, attribute, label, remove_dead, remove_nodes
from ad_compressed_perception.onnx_graph.layers import element_types
from ad_compressed_perception.onnx_graph.qdq_placement import PASS_THROUGH

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_MAX = 127
_NEVER_NEGATIVE = ("Abs", "Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax", "Softplus", "Sqrt")


def make_symmetric(model: ModelProto) -> dict[str, int]:
    """Change a graph's Q/DQ pairs in place; return how many activations, weights and biases were changed.

    Raises:
        ModelFileError: a scale is computed, not stored, or a tensor has more than 8 bits.
    """
    counts = {"activations": 0, "weights": 0, "biases": 0, "added_relu": 0}
    graph, types = Graph(model), element_types(model)
    obsolete: list[NodeProto] = []
    for node in list(graph.nodes):
        if node.op_type == _DEQUANTIZE and graph.tensor(node.input[0]) is not None:
            stored = graph.constant(node.input[0])
            assert stored is not None
            if stored.dtype == np.int32:
                _unquantize(graph, node, stored)
                obsolete.append(node)
                counts["biases"] += 1
            else:
                counts["weights"] += _make_weights_symmetric(graph, node, stored)
        elif node.op_type == _QUANTIZE:
            limits = _limits(types.get(node.output[0], 0), node)
            clips = bool(np.all(_parameters(graph, node)[1] == limits[0]))
            changed = _make_activation_symmetric(graph, node, limits)
            counts["activations"] += changed
            counts["added_relu"] += _keep_clipping(graph, node) if changed and clips else 0
    _finish_activations(graph)
    remove_nodes(model, obsolete)
    remove_dead(model)
    return counts


def _parameters(graph: Graph, node: NodeProto) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return scale and zero point as float64 and int64."""
    scale = graph.constant_input(node, 1)
    given = len(node.input) > 2 and bool(node.input[2])
    zero = graph.constant_input(node, 2) if given else None
    if scale is None or (given and zero is None):
        raise ModelFileError(f"the scale of {label(node)} is computed: quantize with calibrated scales")
    zeros = np.zeros(scale.shape, np.int64) if zero is None else zero.astype(np.int64)
    return scale.astype(np.float64), zeros


def _limits(kind: int, node: NodeProto) -> tuple[int, int]:
    from onnx import TensorProto

    if kind in (TensorProto.UINT8, 0):
        return (0, 255)
    if kind == TensorProto.INT8:
        return (-128, 127)
    raise ModelFileError(f"{label(node)} does not quantize to 8 bits, which this form has: use quantize_int8")


def _set(graph: Graph, node: NodeProto, scale: NDArray[Any], base: str) -> None:
    """Give a node a scale and a zero point of int8 zeros."""
    zero = np.zeros(scale.shape, np.int8)
    names = [
        graph.add_constant(f"{base}_scale", scale.astype(np.float32)),
        graph.add_constant(f"{base}_zero", zero),
    ]
    del node.input[1:]
    node.input.extend(names)


def _make_activation_symmetric(graph: Graph, node: NodeProto, limits: tuple[int, int]) -> int:
    scale, zero = _parameters(graph, node)
    low, high = limits
    if low < 0 and not zero.any():
        return 0
    largest = np.maximum(np.abs(low - zero), np.abs(high - zero)) * scale
    _set(graph, node, largest / _MAX, f"{node.input[0]}_symmetric")
    return 1


def _finish_activations(graph: Graph) -> None:
    """Give each DequantizeLinear the parameters of the QuantizeLinear before it."""
    for node in graph.nodes:
        quantize = graph.producer(node.input[0], _QUANTIZE) if node.op_type == _DEQUANTIZE else None
        if quantize is not None:
            del node.input[1:]
            node.input.extend(quantize.input[1:])


def _keep_clipping(graph: Graph, node: NodeProto) -> int:
    """Put a Relu before a QuantizeLinear whose range cut negative values off, where nothing else does."""
    from onnx import helper

    source = node.input[0]
    if source not in graph.producers or _never_negative(graph, source):
        return 0
    clipped = graph.new_name(f"{source}_clipped")
    relu = helper.make_node("Relu", [source], [clipped], graph.new_name(f"{source}_relu"))
    graph.insert_before(node, [relu])
    node.input[0] = clipped
    return 1


def _never_negative(graph: Graph, name: str) -> bool:
    node = graph.producers.get(name)
    if node is None:
        return False
    if node.op_type == "Clip":
        low = graph.constant_input(node, 1)
        return (low is not None and float(low.reshape(-1)[0]) >= 0.0) or attribute(node, "min", -1.0) >= 0.0
    if node.op_type in PASS_THROUGH or node.op_type in (_QUANTIZE, _DEQUANTIZE):
        data = node.input if node.op_type == "Concat" else node.input[:1]
        return all(_never_negative(graph, one) for one in data)
    return node.op_type in _NEVER_NEGATIVE


def _make_weights_symmetric(graph: Graph, node: NodeProto, stored: NDArray[Any]) -> int:
    scale, zero = _parameters(graph, node)
    if stored.dtype == np.int8 and not zero.any():
        return 0
    if stored.dtype not in (np.dtype(np.int8), np.dtype(np.uint8)):
        raise ModelFileError(f"weights {node.input[0]!r} have {stored.dtype}, not 8 bits: use quantize_int8")
    axis = attribute(node, "axis", 1)
    shape = [1] * stored.ndim
    if scale.size > 1:
        shape[axis] = scale.size
    scales, zeros = (one.reshape(shape if scale.size > 1 else ()) for one in (scale, zero))
    real = (stored.astype(np.int64) - zeros) * scales
    others = tuple(index for index in range(stored.ndim) if index != axis % stored.ndim)
    largest = np.abs(real).max(axis=others, keepdims=True) if scale.size > 1 else np.abs(real).max()
    new = np.maximum(largest / _MAX, np.finfo(np.float32).tiny)
    rounded = np.clip(np.rint(real / new), -_MAX, _MAX).astype(np.int8)
    name = graph.add_constant(f"{node.input[0]}_symmetric", rounded)
    base = f"{node.input[0]}_symmetric"
    node.input[0] = name
    _set(graph, node, np.asarray(new).reshape(scale.shape), base)
    return 1


def _unquantize(graph: Graph, node: NodeProto, stored: NDArray[Any]) -> None:
    """Let the readers of a bias read it in float."""
    scale, zero = _parameters(graph, node)
    real = ((stored.astype(np.int64) - zero) * scale).astype(np.float32)
    graph.replace_uses(node.output[0], graph.add_constant(f"{node.output[0]}_float", real))
