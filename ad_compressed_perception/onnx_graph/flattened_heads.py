# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Flatten a detector's feature maps level by level, not after their concatenation.

A grid detector concatenates its maps (1, C, H, W) as (1, C, cells) and transposes the result. Transposing
each map to (1, H, W, C) before flattening gives the same rows; a runtime that stores images channels last
(OpenVINO, LiteRT) then moves no data, and the cells of each map are contiguous in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ad_compressed_perception.onnx_graph.graph import (
    Graph,
    Shape,
    attribute,
    refresh_outputs,
    remove_dead,
    tensor_shapes,
)

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_MAP_RANK = 4


def flatten_per_level(model: ModelProto) -> int:
    """Transpose a graph's feature maps before their concatenation, in place; return how many."""
    from onnx import helper

    graph, shapes = Graph(model), tensor_shapes(model)
    heads = find_flattened_heads(graph, shapes)
    for head in heads:
        added, rows = [], []
        for node in head.reshapes:
            one, channels, height, width = (int(size or 0) for size in shapes[node.input[0]])
            last, row = graph.new_name(f"{node.output[0]}_last"), graph.new_name(f"{node.output[0]}_rows")
            target = np.array([one, height * width, channels], np.int64)
            shape = graph.add_constant(f"{node.output[0]}_shape", target)
            added.append(helper.make_node("Transpose", [node.input[0]], [last], name=last, perm=[0, 2, 3, 1]))
            added.append(helper.make_node("Reshape", [last, shape], [row], name=row))
            rows.append(row)
        name = head.concat.name if head.concat is not None else head.transpose.name
        outputs = list(head.transpose.output)
        concatenated = (
            helper.make_node("Concat", rows, outputs, name=name, axis=1)
            if len(rows) > 1
            else helper.make_node("Identity", rows, outputs, name=name)
        )
        added.append(concatenated)
        graph.insert_before(head.transpose, added)
        model.graph.node.remove(head.transpose)
    if heads:
        remove_dead(model)
        refresh_outputs(model)
    return sum(len(head.reshapes) for head in heads)


@dataclass(frozen=True)
class FlattenedHead:
    """A transposition of concatenated feature maps.

    Attributes:
        transpose: (1, C, cells) to (1, cells, C).
        concat: concatenates the maps' cells; None for one map.
        reshapes: (1, C, H, W) to (1, C, cells), in the order of concatenation.
    """

    transpose: NodeProto
    concat: NodeProto | None
    reshapes: tuple[NodeProto, ...]


def find_flattened_heads(graph: Graph, shapes: dict[str, Shape]) -> list[FlattenedHead]:
    """Return the transpositions of concatenated maps whose parts have no other consumer."""
    found = []
    for node in graph.model.graph.node:
        if node.op_type != "Transpose" or list(attribute(node, "perm", [])) != [0, 2, 1]:
            continue
        above = graph.producers.get(node.input[0])
        concatenates = above is not None and above.op_type == "Concat" and attribute(above, "axis") in (2, -1)
        concat = above if concatenates and graph.only_consumer(node.input[0]) is node else None
        names = list(concat.input) if concat is not None else [node.input[0]]
        reshapes = [graph.producers.get(name) for name in names]
        alone = all(graph.only_consumer(name) is not None for name in names)
        flat = [r for r in reshapes if r is not None and _flattens_cells(r, shapes)]
        if alone and len(flat) == len(names):
            found.append(FlattenedHead(node, concat, tuple(flat)))
    return found


def _flattens_cells(node: NodeProto, shapes: dict[str, Shape]) -> bool:
    before, after = shapes.get(node.input[0], ()), shapes.get(node.output[0], ())
    if node.op_type != "Reshape" or len(before) != _MAP_RANK or None in (*before, *after):
        return False
    sizes = [int(size) for size in before if size is not None]
    return after == (sizes[0], sizes[1], prod(sizes[2:]))
