# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Every graph, node and tensor of a model: those of branches and loops, and what their bodies read, too.

The bodies of If, Loop and Scan read tensors of the graph around them without listing them as inputs (ONNX,
docs/IR.md, "Graphs"), so whatever cuts, sorts or renames must look into them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the subgraphs of a node."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def all_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and all subgraphs in it."""
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from all_graphs(body)


def graph_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield every node of a graph and of its subgraphs, each before those in its bodies."""
    for node in graph.node:
        yield node
        for body in bodies(node):
            yield from graph_nodes(body)


def all_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Yield every node of a model: of its graph, of the branches and loops in it, of its functions."""
    yield from graph_nodes(model.graph)
    for function in model.functions:
        yield from function.node


def outer_names(node: NodeProto) -> list[str]:
    """Return the tensors that a node's bodies read from around it, once each, in order of their first use."""
    found: dict[str, None] = {}
    for body in bodies(node):
        own = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
        own |= {tensor.values.name for tensor in body.sparse_initializer}
        own |= {name for inner in body.node for name in inner.output}
        read = [name for inner in body.node for name in read_names(inner)]
        read += [value.name for value in body.output]
        found.update(dict.fromkeys(name for name in read if name and name not in own))
    return list(found)


def read_names(node: NodeProto) -> list[str]:
    """Return all tensors that a node reads: its inputs, then those that its bodies read from around it."""
    return [name for name in node.input if name] + outer_names(node)
