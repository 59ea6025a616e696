# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Outputs of a graph that do not depend on its input: anchors, class names' ids, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ad_compressed_perception.onnx_graph.walk import read_names

if TYPE_CHECKING:
    from onnx import ModelProto

# They read their input's shape only, which is the same for every image.
_OF_SHAPE = ("Shape", "Size")


def outputs_without_input(model: ModelProto) -> frozenset[str]:
    """Return the names of the outputs that no value of an input reaches; nodes are in topological order."""
    constants = {tensor.name for tensor in model.graph.initializer}
    reached = {value.name for value in model.graph.input if value.name not in constants}
    for node in model.graph.node:
        if node.op_type not in _OF_SHAPE and not reached.isdisjoint(read_names(node)):
            reached.update(node.output)
    return frozenset(value.name for value in model.graph.output if value.name not in reached)
