# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Biases that several compute ops share, separated before ONNX Runtime's quantizer sees them.

The scale of an integer bias is its operator's input scale times weight scale, so each operator needs its own.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ad_compressed_perception.onnx_graph.qdq import COMPUTE_OPS
from ad_compressed_perception.onnx_graph.subgraphs import all_names, free_name, read_names

if TYPE_CHECKING:
    from onnx import ModelProto

_BIAS = 2


def separate_biases(model: ModelProto) -> None:
    """Give every compute op a bias of its own, in place."""
    graph = model.graph
    taken = all_names(model)
    weights = {tensor.name: tensor for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in read_names(node))
    uses.update(value.name for value in graph.output)
    for node in graph.node:
        if node.op_type not in COMPUTE_OPS or len(node.input) <= _BIAS:
            continue
        bias = node.input[_BIAS]
        if bias in weights and uses[bias] > 1:
            uses[bias] -= 1
            copy = graph.initializer.add()
            copy.CopyFrom(weights[bias])
            copy.name = node.input[_BIAS] = free_name(f"{bias}/{node.name}", taken)
