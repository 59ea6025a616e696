# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Biases that several compute ops share, separated before ONNX Runtime's quantizer sees them.

The scale of an integer bias is its operator's input scale times weight scale, so each operator needs its own.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ad_compressed_perception.onnx_graph.graph import Graph
from ad_compressed_perception.onnx_graph.qdq import COMPUTE_OPS
from ad_compressed_perception.onnx_graph.subgraphs import copied

if TYPE_CHECKING:
    from onnx import ModelProto

_BIAS = 2


def separate_biases(model: ModelProto) -> None:
    """Give every compute op a bias of its own, in place."""
    graph, given = Graph(model), Counter[str]()
    for node in graph.nodes:
        if node.op_type not in COMPUTE_OPS or len(node.input) <= _BIAS:
            continue
        bias = node.input[_BIAS]
        if bias in graph.weights and graph.uses(bias) - given[bias] > 1:
            given[bias] += 1
            copy = copied(graph.weights[bias])
            copy.name = node.input[_BIAS] = graph.new_name(f"{bias}/{node.name}")
            model.graph.initializer.append(copy)
