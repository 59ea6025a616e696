# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""SiLUs of a graph, ``x * sigmoid(x)``, and cheaper activations in their place."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ad_compressed_perception.onnx_graph.graph import Graph, remove_dead, self_gated

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


def find_silus(graph: Graph) -> list[tuple[NodeProto, str]]:
    """Return the Mul nodes of x * sigmoid(x) with the name of x."""
    return [(node, gate.input[0]) for node, gate in self_gated(graph, "Sigmoid")]


def replace_silus(model: ModelProto, operator: str, inputs: Collection[str]) -> int:
    """Replace the SiLUs of these inputs by an operator of one input, in place; return how many."""
    from onnx import helper

    silus = [(node, data) for node, data in find_silus(Graph(model)) if data in inputs]
    for node, data in silus:
        node.CopyFrom(helper.make_node(operator, [data], list(node.output), name=node.name))
    remove_dead(model)
    return len(silus)
