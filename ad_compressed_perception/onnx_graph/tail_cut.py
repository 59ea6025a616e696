# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A graph in two: up to operators that a device does not have, and from them on, for another runtime.

Running one after the other gives what the graph gives.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.graph import Graph, Shape, label, remove_dead, tensor_shapes
from ad_compressed_perception.onnx_graph.io import check_model
from ad_compressed_perception.onnx_graph.layers import element_types
from ad_compressed_perception.onnx_graph.subgraphs import copied
from ad_compressed_perception.onnx_graph.walk import read_names

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


def cut_before(
    model: ModelProto, operators: Collection[str]
) -> tuple[ModelProto, ModelProto | None, list[str]]:
    """Return the graph before such operators, the rest of it, and which nodes they were.

    Args:
        model: not changed.
        operators: types; where the graph has none of them, it is returned whole, and no rest.

    Raises:
        ModelFileError: nothing is left before the cut.
    """
    graph = Graph(model)
    first = [node for node in graph.nodes if node.op_type in operators]
    if not first:
        return model, None, []
    tail = _behind(graph, first)
    made = {name for node in graph.nodes if id(node) not in tail for name in node.output if name}
    read = dict.fromkeys(name for node in graph.nodes if id(node) in tail for name in read_names(node))
    crossing = [name for name in read if name in made]
    ends = [value.name for value in model.graph.output if value.name in made]
    outputs = list(dict.fromkeys([*crossing, *ends]))
    if not outputs:
        raise ModelFileError(f"nothing is computed before {label(first[0])}: there is no model to cut off")
    shapes, types = tensor_shapes(model), element_types(model)
    head = copied(model)
    _declare(head.graph.output, outputs, shapes, types)
    remove_dead(head)
    rest = copied(model)
    inputs = [*(name for name in read if name in graph.inputs), *crossing]
    _declare(rest.graph.input, inputs, shapes, types)
    kept = [value for value in rest.graph.output if value.name not in made]
    del rest.graph.output[:]
    rest.graph.output.extend(kept)
    _without(rest, set(inputs))
    remove_dead(rest)
    for part, name in ((head, "the model before the cut"), (rest, "the model behind the cut")):
        check_model(part, name)
    return head, rest, [label(node) for node in first]


def _behind(graph: Graph, first: Iterable[NodeProto]) -> set[int]:
    """Return the ids of nodes and of all that depend on them."""
    found = {id(node) for node in first}
    reached = {name for node in first for name in node.output}
    for node in graph.nodes:
        if id(node) not in found and not reached.isdisjoint(read_names(node)):
            found.add(id(node))
            reached.update(node.output)
    return found


def _without(model: ModelProto, given: set[str]) -> None:
    """Remove the nodes all of whose outputs are given from outside."""
    for index in range(len(model.graph.node) - 1, -1, -1):
        node = model.graph.node[index]
        if given.issuperset(name for name in node.output if name):
            del model.graph.node[index]


def _declare(values: object, names: list[str], shapes: dict[str, Shape], types: dict[str, int]) -> None:
    """Replace declared inputs or outputs by these tensors."""
    from onnx import TensorProto, helper

    infos = [
        helper.make_tensor_value_info(name, types.get(name) or TensorProto.FLOAT, shapes.get(name))
        for name in names
    ]
    del values[:]  # type: ignore[attr-defined]
    values.extend(infos)  # type: ignore[attr-defined]
