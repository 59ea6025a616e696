# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Placement of Q/DQ pairs in a graph: on every tensor, or on the inputs of compute ops only.

Runtimes differ in how they treat a pair between a compute op (Conv, MatMul) and the activation after it.
ONNX Runtime has integer kernels of single operators, which need all inputs and outputs quantized. OpenVINO
and TensorRT fuse the operators after a compute op into its kernel, which accumulates in higher precision: a
pair in between prevents the fusion, costs time and adds a rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from ad_compressed_perception.onnx_graph.graph import Graph, remove_dead, self_gated
from ad_compressed_perception.onnx_graph.io import HARD_SWISH_OPSET, opset_of
from ad_compressed_perception.onnx_graph.qdq import COMPUTE_OPS, QdqGraph

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Placement = Literal["auto", "everywhere", "compute_ops"]

PASS_THROUGH = (
    "AveragePool", "Concat", "Flatten", "Gather", "GlobalAveragePool", "MaxPool", "Pad", "Reshape", "Resize",
    "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Operators that pass values through: between two compute ops they move bytes."""

_CLOSING = ("QuantizeLinear", "Relu", "Clip")


def merges_activations(runtime: tuple[str, Mapping[str, Any]]) -> bool:
    """Whether a runtime (backend and its options) fuses activations into a compute op's kernel."""
    backend, options = runtime
    return backend in ("openvino", "tensorrt") or options.get("provider") == "tensorrt"


def read_by_compute_ops(model: ModelProto) -> set[str]:
    """Return the tensors that compute ops read, directly or through operators that pass values through."""
    read: set[str] = set()
    for node in reversed(model.graph.node):
        if node.op_type in COMPUTE_OPS or (node.op_type in PASS_THROUGH and not read.isdisjoint(node.output)):
            read.update(node.input)
    return read


def relies_on_merging(model: ModelProto) -> bool:
    """Whether a Q/DQ graph has a compute op with quantized operands whose output is not quantized."""
    graph = Graph(model)
    followed = {
        name for node in graph.nodes if node.op_type in _CLOSING for name in node.input
    } | graph.outputs
    return any(
        all(graph.producer(name, "DequantizeLinear") for name in node.input[:2])
        for node in graph.nodes
        if node.op_type in COMPUTE_OPS and node.output[0] not in followed
    )


def keep_compute_op_pairs(graph: QdqGraph) -> ModelProto:
    """Return the quantized graph with pairs only on tensors that compute ops read.

    The inputs of a Concat get the scale of its output, so that it only moves bytes.

    Args:
        graph: constructed with ``merged_activations``.
    """
    read = read_by_compute_ops(graph.floating)
    others = [t.name for t in graph.tensors() if t.kind == "activation" and t.name not in read]
    model = graph.with_float(others)
    _share_concat_scales(model)
    return model


def _share_concat_scales(model: ModelProto) -> None:
    graph = Graph(model)
    pairs = {node.input[0]: node for node in graph.nodes if node.op_type == "QuantizeLinear"}
    # From the last to the first: a Concat's output may be an input of a later one.
    for node in reversed(graph.nodes):
        if node.op_type == "Concat" and node.output[0] in pairs:
            output_pair = pairs[node.output[0]]
            for name in node.input:
                expand = graph.producer(name, "DequantizeLinear")
                quantize = graph.producer(expand.input[0], "QuantizeLinear") if expand is not None else None
                if expand is not None and quantize is not None:
                    _copy_scale(quantize, output_pair)
                    _copy_scale(expand, output_pair)
    remove_dead(model, keep_shapes=True)


def _copy_scale(node: NodeProto, other: NodeProto) -> None:
    node.input[1], node.input[2] = other.input[1], other.input[2]


def restore_hard_swish(model: ModelProto) -> None:
    """Fuse x * HardSigmoid(x) into HardSwish, in place; ONNX Runtime's pre-processing splits it."""
    from onnx import helper

    if opset_of(model) < HARD_SWISH_OPSET:
        return
    for node, gate in self_gated(Graph(model), "HardSigmoid"):
        slope = {entry.name: entry.f for entry in gate.attribute}
        if abs(slope.get("alpha", 0.2) - 1 / 6) < 1e-6 and slope.get("beta", 0.5) == 0.5:
            node.CopyFrom(helper.make_node("HardSwish", [gate.input[0]], list(node.output), name=node.name))
    remove_dead(model, keep_shapes=True)
