# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rewrite operators in which exporters store channel counts as constants.

``torch.onnx`` exports a global pooling as a mean, a flattening and a Gather of all channels in their order,
and a flattening as a Reshape to (1, channels). The rewritten operators compute the same without
such constants, so that pruning can change the number of channels and training the batch size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ad_compressed_perception.onnx_graph.graph import (
    Graph,
    attribute,
    remove_dead,
    tensor_shapes,
)

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


def free_channel_counts(model: ModelProto) -> int:
    """Rewrite these nodes in place; return how many."""
    graph, shapes = Graph(model), tensor_shapes(model)
    count = 0
    for node in list(model.graph.node):
        if node.op_type == "Gather":
            size = shapes.get(node.input[0], ())
            count += _as_reshape(graph, node, size[0] if len(size) == 1 else None)
    for node in model.graph.node:
        if node.op_type == "Reshape":
            count += _with_free_axis(graph, node)
    if count:
        remove_dead(model)
    return count


def _as_reshape(graph: Graph, node: NodeProto, size: int | None) -> bool:
    """Replace a Gather of all elements of a vector, in order, by a Reshape."""
    from onnx import helper

    indices = graph.constant_input(node, 1)
    if size is None or indices is None or indices.size != size or attribute(node, "axis", 0) not in (0, -1):
        return False
    if not np.array_equal(indices.reshape(-1), np.arange(size)):
        return False
    shape = graph.add_constant(f"{node.output[0]}/shape", np.array(indices.shape, np.int64))
    data, name = node.input[0], node.name
    node.CopyFrom(helper.make_node("Reshape", [data, shape], list(node.output), name=name))
    return True


def _with_free_axis(graph: Graph, node: NodeProto) -> bool:
    """Set the length to -1 in a Reshape to one long axis among axes of length 1."""
    shape = graph.constant_input(node, 1)
    # A vector has no batch axis: not changed.
    if shape is None or shape.size < 2 or shape[0] != 1:
        return False
    long = np.flatnonzero(shape != 1)
    if len(long) != 1 or shape[long[0]] < 1:
        return False
    free = np.where(np.arange(shape.size) == long[0], -1, shape).astype(np.int64)
    node.input[1] = graph.add_constant(f"{node.input[1]}/free", free)
    return True
