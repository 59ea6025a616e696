# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Duplicates shared initializers so that every trainable node has its own weights.

Files share equal weights between nodes, mostly all-zero biases. Once such nodes are trained or pruned, their
weights differ.
"""

from __future__ import annotations

from collections import Counter

from onnx import ModelProto, NodeProto, TensorProto

from ad_compressed_perception.onnx_graph.normal_form import constants_as_weights
from ad_compressed_perception.onnx_graph.subgraphs import all_names, copied, free_name
from ad_compressed_perception.onnx_graph.walk import outer_names

TRAINABLE_INPUTS = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (1, 2),
    "MatMul": (0, 1),
    "BatchNormalization": (1, 2, 3, 4),
    "PRelu": (1,),
    **dict.fromkeys(("GroupNormalization", "InstanceNormalization", "LayerNormalization"), (1, 2)),
}
"""Positions of the inputs that training may change, by operator."""


def unshare_weights(model: ModelProto) -> ModelProto:
    """Return a copy without Constant nodes in which each trainable input has its own initializer.

    What the bodies of branches and loops read stays as it is, too.
    """
    copy = copied(model)
    constants_as_weights(copy.graph)
    graph = copy.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    expanded = {
        node.output[0]: node
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in stored
    }
    uses = Counter(name for node in graph.node for name in (*node.input, *outer_names(node)))
    uses.update(output.name for output in graph.output)
    taken = all_names(copy)
    fresh_nodes: list[tuple[int, NodeProto]] = []
    for index, node in enumerate(graph.node):
        for position in TRAINABLE_INPUTS.get(node.op_type, ()):
            if position >= len(node.input):
                continue
            name = node.input[position]
            suffix = f"{node.output[0]}/{position}"
            if name in stored and uses[name] > 1:
                uses[name] -= 1
                node.input[position] = _duplicate(copy, stored[name], suffix, taken)
            elif name in expanded:
                source = expanded[name]
                if uses[name] > 1:
                    uses[name] -= 1
                    source = copied(expanded[name])
                    source.name = free_name(f"{source.name}/{suffix}", taken)
                    source.output[0] = free_name(f"{name}/{suffix}", taken)
                    uses.update(source.input)
                    fresh_nodes.append((index, source))
                    node.input[position] = source.output[0]
                for index_in_source, stored_name in enumerate(source.input[:2]):
                    if uses[stored_name] > 1:
                        uses[stored_name] -= 1
                        source.input[index_in_source] = _duplicate(copy, stored[stored_name], suffix, taken)
    for index, node in reversed(fresh_nodes):
        graph.node.insert(index, node)
    return copy


def _duplicate(model: ModelProto, tensor: TensorProto, suffix: str, taken: set[str]) -> str:
    copy = copied(tensor)
    copy.name = free_name(f"{tensor.name}/{suffix}", taken)
    model.graph.initializer.append(copy)
    return copy.name
