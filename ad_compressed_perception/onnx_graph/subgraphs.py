# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Names and copies in a graph with branches and loops, and bodies as plain inputs.

Tools that do not look into bodies (see walk.py) are given a graph in which each node that has one is replaced
by a placeholder that lists all it reads (``with_placeholders``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ad_compressed_perception.onnx_graph.walk import all_graphs, bodies, graph_nodes, outer_names

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

MessageT = TypeVar("MessageT", bound=Any)

PLACEHOLDER_DOMAIN = "adcp.placeholder"


def copied(message: MessageT) -> MessageT:
    """Return a copy of a model, node or tensor."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def all_names(model: ModelProto) -> set[str]:
    """Return the names of all tensors and nodes of a model, in its subgraphs too."""
    return (all_tensor_names(model) | {node.name for node in graph_nodes(model.graph)}) - {""}


def all_tensor_names(model: ModelProto) -> set[str]:
    """Return the names of all tensors of a model, in its subgraphs too."""
    names: set[str] = set()
    for graph in all_graphs(model.graph):
        names |= {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
        names |= {tensor.values.name for tensor in graph.sparse_initializer}
        names |= {name for node in graph.node for name in (*node.input, *node.output)}
    return names - {""}


def free_name(base: str, taken: set[str]) -> str:
    """Return a name that is not taken yet, made from ``base``, and take it."""
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    taken.add(name)
    return name


def rename_tensors(graph: GraphProto, new: Mapping[str, str] | Callable[[str], str]) -> None:
    """Rename the tensors of a graph and of its subgraphs, in place; names not in a mapping stay."""
    rename = new if callable(new) else lambda name: new.get(name, name)
    for one in all_graphs(graph):
        for node in one.node:
            rename_node(node, rename)
        for value in (*one.input, *one.output, *one.value_info, *one.initializer):
            value.name = rename(value.name)
        for sparse in one.sparse_initializer:
            sparse.values.name = rename(sparse.values.name)
        for entry in one.quantization_annotation:
            entry.tensor_name = rename(entry.tensor_name)


def rename_node(node: NodeProto, rename: Callable[[str], str]) -> None:
    """Rename the inputs and outputs of one node, in place, not those in its bodies."""
    for names in (node.input, node.output):
        for index, name in enumerate(names):
            if name:
                names[index] = rename(name)


def replace_read(node: NodeProto, old: str, new: str) -> None:
    """Let a node and its bodies read tensor ``new`` where they read ``old`` of the graph around it."""
    for index, name in enumerate(node.input):
        if name == old:
            node.input[index] = new
    if old in outer_names(node):
        for body in bodies(node):
            # ONNX forbids a name inside that exists outside, so every use means the tensor outside.
            rename_tensors(body, {old: new})


def with_placeholders(model: ModelProto) -> dict[str, NodeProto]:
    """Replace nodes that have bodies by placeholders that list all they read, in place.

    Returns:
        The replaced nodes by the placeholder's operator type, for ``without_placeholders``.
    """
    from onnx import helper

    stored: dict[str, NodeProto] = {}
    for index, node in enumerate(model.graph.node):
        if any(True for _ in bodies(node)):
            kind = f"{node.op_type}:{node.name or index}"
            stored[kind] = copied(node)
            node.CopyFrom(
                helper.make_node(
                    kind, [*node.input, *outer_names(node)], list(node.output), node.name,
                    domain=PLACEHOLDER_DOMAIN,
                )
            )  # fmt: skip
    if stored and all(entry.domain != PLACEHOLDER_DOMAIN for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(PLACEHOLDER_DOMAIN, 1))
    return stored


def without_placeholders(model: ModelProto, stored: Mapping[str, NodeProto]) -> ModelProto:
    """Put the nodes with bodies back, reading what their placeholders read now; in place, and return it."""
    for node in model.graph.node:
        if node.domain != PLACEHOLDER_DOMAIN:
            continue
        inputs, outputs, name = list(node.input), list(node.output), node.name
        original = stored[node.op_type]
        count, outer = len(original.input), outer_names(original)
        node.CopyFrom(original)
        node.name = name
        for names, present in ((node.input, inputs[:count]), (node.output, outputs)):
            del names[:]
            names.extend(present)
        renamed = {old: new for old, new in zip(outer, inputs[count:], strict=True) if old != new}
        for body in bodies(node):
            rename_tensors(body, renamed)
    kept = [entry for entry in model.opset_import if entry.domain != PLACEHOLDER_DOMAIN]
    if len(kept) != len(model.opset_import):
        del model.opset_import[:]
        model.opset_import.extend(kept)
    return model
