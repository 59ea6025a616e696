# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Outputs of a graph that do not depend on its input: anchors, class names' ids, versions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

# They read their input's shape only, which is the same for every image.
_OF_SHAPE = ("Shape", "Size")


def outputs_without_input(model: ModelProto) -> frozenset[str]:
    """Return the names of the outputs that no value of an input reaches; nodes are in topological order."""
    constants = {tensor.name for tensor in model.graph.initializer}
    reached = {value.name for value in model.graph.input if value.name not in constants}
    for node in model.graph.node:
        if node.op_type not in _OF_SHAPE and not reached.isdisjoint(_names_read(node)):
            reached.update(node.output)
    return frozenset(value.name for value in model.graph.output if value.name not in reached)


def _names_read(node: NodeProto) -> Iterator[str]:
    """Yield the tensors that a node reads, those of its inner graphs too (If, Loop, Scan)."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _names_read(inner)
            yield from (value.name for value in graph.output)
