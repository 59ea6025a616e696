# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Turn a detector's maps into rows map by map, not all at once at the end.

A grid detector joins its maps (1, C, H, W) as (1, C, cells) and transposes the whole. Transposing each map
to (1, H, W, C) before its cells are counted gives the same rows; a runtime that keeps images channels last
(OpenVINO, LiteRT) then has nothing to move, and the cells of each map are joined as one piece of memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.equivalence import require_same
from ad_compressed_perception.onnx_graph.graph import (
    Graph,
    Shape,
    attribute,
    refresh_outputs,
    remove_dead,
    tensor_shapes,
)
from ad_compressed_perception.onnx_graph.io import check_model
from ad_compressed_perception.pass_api.passes import Pass, PassContext

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_TOLERANCE = 1e-6
_MAP_RANK = 4


@dataclass(frozen=True)
class RowsAtTheEnd:
    """A transposition of joined maps.

    Attributes:
        transpose: (1, C, cells) to (1, cells, C).
        concat: joins the maps' cells; None for one map.
        reshapes: (1, C, H, W) to (1, C, cells), in the order they are joined.
    """

    transpose: NodeProto
    concat: NodeProto | None
    reshapes: tuple[NodeProto, ...]


def find_rows(graph: Graph, shapes: dict[str, Shape]) -> list[RowsAtTheEnd]:
    """Return the transpositions of joined maps whose parts nothing else takes."""
    found = []
    for node in graph.model.graph.node:
        if node.op_type != "Transpose" or list(attribute(node, "perm", [])) != [0, 2, 1]:
            continue
        above = graph.producers.get(node.input[0])
        joins = above is not None and above.op_type == "Concat" and attribute(above, "axis") in (2, -1)
        concat = above if joins and graph.only_consumer(node.input[0]) is node else None
        names = list(concat.input) if concat is not None else [node.input[0]]
        reshapes = [graph.producers.get(name) for name in names]
        alone = all(graph.only_consumer(name) is not None for name in names)
        flat = [r for r in reshapes if r is not None and _counts_cells(r, shapes)]
        if alone and len(flat) == len(names):
            found.append(RowsAtTheEnd(node, concat, tuple(flat)))
    return found


def _counts_cells(node: NodeProto, shapes: dict[str, Shape]) -> bool:
    before, after = shapes.get(node.input[0], ()), shapes.get(node.output[0], ())
    if node.op_type != "Reshape" or len(before) != _MAP_RANK or None in (*before, *after):
        return False
    sizes = [int(size) for size in before if size is not None]
    return after == (sizes[0], sizes[1], prod(sizes[2:]))


class FlattenPerLevel(Pass):
    """Transposes maps before they are joined; the numbers stay."""

    name = "flatten_per_level"
    cleans = True

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the edited model.

        Raises:
            ModelFileError: no such end, or an output changed on a calibration frame.
        """
        import onnx
        from onnx import helper

        original = onnx.ModelProto()
        original.CopyFrom(model)
        graph, shapes = Graph(model), tensor_shapes(model)
        ends = find_rows(graph, shapes)
        if not ends:
            raise ModelFileError(
                "no maps (1, C, H, W) that are joined and transposed to rows: leave this pass out"
            )
        for end in ends:
            added, rows = [], []
            for node in end.reshapes:
                one, channels, height, width = (int(size or 0) for size in shapes[node.input[0]])
                last, row = graph.new_name(f"{node.output[0]}_last"), graph.new_name(f"{node.output[0]}_rows")
                target = np.array([one, height * width, channels], np.int64)
                shape = graph.add_constant(f"{node.output[0]}_shape", target)
                added.append(
                    helper.make_node("Transpose", [node.input[0]], [last], name=last, perm=[0, 2, 3, 1])
                )
                added.append(helper.make_node("Reshape", [last, shape], [row], name=row))
                rows.append(row)
            name = end.concat.name if end.concat is not None else end.transpose.name
            outputs = list(end.transpose.output)
            joined = (
                helper.make_node("Concat", rows, outputs, name=name, axis=1)
                if len(rows) > 1
                else helper.make_node("Identity", rows, outputs, name=name)
            )
            added.append(joined)
            graph.insert_before(end.transpose, added)
            model.graph.node.remove(end.transpose)
        remove_dead(model)
        refresh_outputs(model)
        check_model(model, "the model with rows turned early")
        context.notes.update(
            maps=sum(len(end.reshapes) for end in ends),
            largest_difference=require_same(original, model, next(context.feeds()), _TOLERANCE),
        )
        return model
