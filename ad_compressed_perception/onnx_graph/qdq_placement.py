# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where Q/DQ pairs belong in a graph: on every tensor, or on what products read.

Runtimes differ in what they make of a pair between a product and the activation behind it. ONNX Runtime
has integer kernels of single operators and needs all that such an operator takes and gives quantized.
OpenVINO and TensorRT merge what follows a product into its kernel, where numbers are wide anyway: a pair
in between keeps them from it, costs time and rounds once more than is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from ad_compressed_perception.onnx_graph.graph import Graph, self_gated
from ad_compressed_perception.onnx_graph.io import HARD_SWISH_OPSET, opset_of
from ad_compressed_perception.onnx_graph.qdq import PRODUCTS, QdqGraph, drop_unused

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Placement = Literal["auto", "everywhere", "products"]

MOVING = (
    "AveragePool", "Concat", "Flatten", "Gather", "GlobalAveragePool", "MaxPool", "Pad", "Reshape", "Resize",
    "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Operators that hand numbers on: between two products they move bytes."""

_CLOSING = ("QuantizeLinear", "Relu", "Clip")


def merges_activations(runtime: tuple[str, Mapping[str, Any]]) -> bool:
    """Whether a runtime (backend and its options) computes activations inside a product's kernel."""
    backend, options = runtime
    return backend == "openvino" or options.get("provider") == "tensorrt"


def read_by_products(model: ModelProto) -> set[str]:
    """Return the tensors that products read, at once or through operators that hand numbers on."""
    read: set[str] = set()
    for node in reversed(model.graph.node):
        if node.op_type in PRODUCTS or (node.op_type in MOVING and not read.isdisjoint(node.output)):
            read.update(node.input)
    return read


def relies_on_merging(model: ModelProto) -> bool:
    """Whether a Q/DQ graph has a product on quantized operands whose result meets an activation in float."""
    makers = {name: node for node in model.graph.node for name in node.output}
    followed = {name for node in model.graph.node if node.op_type in _CLOSING for name in node.input}
    followed |= {output.name for output in model.graph.output}
    for node in model.graph.node:
        operands = [makers.get(name) for name in node.input[:2]] if node.op_type in PRODUCTS else [None]
        quantized = all(maker is not None and maker.op_type == "DequantizeLinear" for maker in operands)
        if quantized and node.output[0] not in followed:
            return True
    return False


def keep_pairs_of_products(graph: QdqGraph) -> ModelProto:
    """Return the quantized graph with pairs on nothing but what products read.

    The parts that a Concat joins get its scale, so that joining moves bytes.

    Args:
        graph: made with ``merged_activations``.
    """
    read = read_by_products(graph.floating)
    others = [t.name for t in graph.tensors() if t.kind == "activation" and t.name not in read]
    model = graph.with_float(others)
    _share_scales_of_joins(model)
    return model


def _share_scales_of_joins(model: ModelProto) -> None:
    makers = {name: node for node in model.graph.node for name in node.output}
    pairs = {node.input[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    # From the last to the first: what a join gives may be a part of a later one.
    for node in reversed(model.graph.node):
        if node.op_type == "Concat" and node.output[0] in pairs:
            whole = pairs[node.output[0]]
            for name in node.input:
                expand = makers.get(name)
                if expand is not None and expand.op_type == "DequantizeLinear":
                    quantize = makers.get(expand.input[0])
                    if quantize is not None and quantize.op_type == "QuantizeLinear":
                        _take_scale(quantize, whole)
                        _take_scale(expand, whole)
    drop_unused(model)


def _take_scale(node: NodeProto, other: NodeProto) -> None:
    node.input[1], node.input[2] = other.input[1], other.input[2]


def restore_hard_swish(model: ModelProto) -> None:
    """Write x * HardSigmoid(x) as one HardSwish again, in place; ONNX Runtime's preparation parts them."""
    from onnx import helper

    if opset_of(model) < HARD_SWISH_OPSET:
        return
    for node, gate in self_gated(Graph(model), "HardSigmoid"):
        slope = {entry.name: entry.f for entry in gate.attribute}
        if abs(slope.get("alpha", 0.2) - 1 / 6) < 1e-6 and slope.get("beta", 0.5) == 0.5:
            node.CopyFrom(helper.make_node("HardSwish", [gate.input[0]], list(node.output), name=node.name))
    drop_unused(model)
