# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Matching and rewriting patterns in an ONNX graph: producers, consumers and constants."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.onnx_graph.inferred_types import output_shape
from ad_compressed_perception.onnx_graph.shape_stand_ins import use_stand_ins
from ad_compressed_perception.onnx_graph.subgraphs import all_names, copied, free_name, replace_read
from ad_compressed_perception.onnx_graph.walk import all_graphs, graph_nodes, read_names

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

Shape = tuple[int | None, ...]


def label(node: NodeProto) -> str:
    """Return how a node is named in messages: its operator and its name, or its first output's."""
    return f"{node.op_type} {node.name or (node.output[0] if node.output else '?')!r}"


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """Return a node's attribute as a plain value, text decoded; ``default`` where it is absent."""
    from onnx import helper

    for entry in node.attribute:
        if entry.name == name:
            value = helper.get_attribute_value(entry)
            return value.decode() if isinstance(value, bytes) else value
    return default


class Graph:
    """A model's graph, indexed: who computes, reads and stores what. Make a new one after edits of nodes.

    Attributes:
        model: the model; edits go straight into it.
        nodes: the indexed nodes, in their order.
        producers: name of a tensor to the node that computes it.
        consumers: name of a tensor to the nodes that read it, once per input; a branch's or loop's node reads
            what is in its body.
        weights: name of a weight to its tensor.
        inputs: names of the graph's inputs that are no weights.
        outputs: names of the graph's outputs.
    """

    def __init__(self, model: ModelProto, *, with_bodies: bool = False) -> None:
        """Index the top-level graph; ``with_bodies`` also the nodes of branches and loops, each by itself."""
        self.model = model
        self.nodes: list[NodeProto] = list(graph_nodes(model.graph) if with_bodies else model.graph.node)
        self.producers = {name: node for node in self.nodes for name in node.output if name}
        self.consumers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input if with_bodies else read_names(node):
                if name:
                    self.consumers.setdefault(name, []).append(node)
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.inputs = {value.name for value in model.graph.input} - self.weights.keys()
        self.outputs = {value.name for value in model.graph.output}

    @cached_property
    def _names(self) -> set[str]:
        return all_names(self.model)

    def tensor(self, name: str) -> TensorProto | None:
        """Return the stored tensor of a weight or of a Constant; None for what is computed or absent."""
        node = self.producers.get(name)
        if node is not None and node.op_type == "Constant":
            return next((entry.t for entry in node.attribute if entry.name == "value"), None)
        return self.weights.get(name)

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return a weight's or constant's value, read-only; None for what is computed or absent."""
        from onnx import numpy_helper

        tensor = self.tensor(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def constant_input(self, node: NodeProto, index: int) -> NDArray[Any] | None:
        """Return the value of a node's input; None where it is absent, empty or computed."""
        return self.constant(node.input[index]) if index < len(node.input) and node.input[index] else None

    def producer(self, name: str, *operators: str) -> NodeProto | None:
        """Return the node that computes a tensor, where it is one of these operators; else None."""
        node = self.producers.get(name)
        return node if node is not None and node.op_type in operators else None

    def uses(self, name: str) -> int:
        """Return how often a tensor is read, by nodes or as an output of the graph."""
        return len(self.consumers.get(name, ())) + (name in self.outputs)

    def only_consumer(self, name: str) -> NodeProto | None:
        """Return a tensor's only consumer; None where it has none or several, or is an output."""
        found = self.consumers.get(name, [])
        return found[0] if len(found) == 1 and name not in self.outputs else None

    def new_name(self, base: str) -> str:
        """Return a name that no tensor or node has yet, and reserve it."""
        return free_name(base, self._names)

    def add_constant(self, base: str, value: NDArray[Any]) -> str:
        """Add a weight of a new name and return the name."""
        from onnx import numpy_helper

        name = self.new_name(base)
        tensor = self.model.graph.initializer.add()
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), name))
        self.weights[name] = tensor
        return name

    def replace_uses(self, old: str, new: str) -> None:
        """Let every consumer of tensor ``old`` read ``new`` instead."""
        for node in self.consumers.get(old, []):
            replace_read(node, old, new)

    def insert_before(self, node: NodeProto, new: Iterable[NodeProto]) -> None:
        """Put nodes into the list before another one, which keeps the order of computation."""
        nodes = list(self.model.graph.node)
        place = next(index for index, other in enumerate(nodes) if other is node)
        for offset, added in enumerate(new):
            self.model.graph.node.insert(place + offset, added)


def self_gated(graph: Graph, gate: str) -> list[tuple[NodeProto, NodeProto]]:
    """Return the Mul nodes of x * gate(x), each with the gate's node, whose input is x."""
    found = []
    for node in graph.nodes:
        if node.op_type != "Mul":
            continue
        for side, data in (node.input, reversed(node.input)):
            producer = graph.producer(side, gate)
            if producer is not None and producer.input[0] == data:
                found.append((node, producer))
                break
    return found


def remove_nodes(model: ModelProto, nodes: Iterable[NodeProto]) -> None:
    """Remove nodes from the graph by identity, so equal ones elsewhere stay."""
    removed = {id(node) for node in nodes}
    places = [index for index, node in enumerate(model.graph.node) if id(node) in removed]
    for index in reversed(places):
        del model.graph.node[index]


def remove_dead(model: ModelProto, *, keep_shapes: bool = False) -> None:
    """Remove nodes that no output depends on, in any order, then unused weights and by default all shapes."""
    nodes = list(model.graph.node)
    alive, before = {value.name for value in model.graph.output}, 0
    while len(alive) > before:  # once more only, where the nodes are in order
        before = len(alive)
        for node in reversed(nodes):
            if not alive.isdisjoint(node.output):
                alive.update(read_names(node))
    for index in range(len(nodes) - 1, -1, -1):
        if alive.isdisjoint(nodes[index].output):
            del model.graph.node[index]
    for index in range(len(model.graph.initializer) - 1, -1, -1):
        if model.graph.initializer[index].name not in alive:
            del model.graph.initializer[index]
    if not keep_shapes:
        del model.graph.value_info[:]


def tensor_shapes(model: ModelProto, *, strict: bool = False) -> dict[str, Shape]:
    """Return all shapes that can be inferred; None for an unknown dimension.

    Raises:
        ModelFileError: with ``strict``, the shapes contradict each other.
    """
    import onnx

    fresh = copied(model)
    del fresh.graph.value_info[:]
    for output in fresh.graph.output:
        output.type.tensor_type.ClearField("shape")
    forget_body_shapes(fresh)
    use_stand_ins(fresh)
    try:
        fresh = onnx.shape_inference.infer_shapes(
            fresh, check_type=strict, strict_mode=strict, data_prop=True
        )
    except Exception as error:  # C++ errors of several types
        raise ModelFileError(f"the shapes of the graph do not fit: {one_line(error)}") from error
    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in fresh.graph.initializer}
    inputs = {value.name for value in fresh.graph.input}
    for value in (*fresh.graph.input, *fresh.graph.value_info, *fresh.graph.output):
        tensor_type = value.type.tensor_type
        if tensor_type.HasField("shape") and (value.name not in inputs or value.name not in shapes):
            shapes[value.name] = tuple(
                size.dim_value if size.HasField("dim_value") else None for size in tensor_type.shape.dim
            )
    return shapes


def forget_body_shapes(model: ModelProto) -> None:
    """Remove the sizes that the bodies of branches and loops declare, which hold for one input size.

    The rank stays: ONNX Runtime wants to know that a loop's counter is a single number.
    """
    for body in list(all_graphs(model.graph))[1:]:
        for value in (*body.input, *body.output):
            for dimension in value.type.tensor_type.shape.dim:
                dimension.Clear()
        del body.value_info[:]


def refresh_outputs(model: ModelProto) -> tuple[TensorSpec, ...]:
    """Infer the outputs' shapes again after an edit, and return them.

    Raises:
        ModelFileError: the shapes contradict each other.
    """
    from onnx import helper

    del model.graph.value_info[:]
    forget_body_shapes(model)
    shapes = tensor_shapes(model, strict=True)
    specs = []
    for output in model.graph.output:
        tensor_type = output.type.tensor_type
        tensor_type.ClearField("shape")
        shape = shapes.get(output.name)
        if shape is None:
            shape = output_shape(model, output.name) or ()
        tensor_type.shape.SetInParent()  # a number of rank 0 has a shape too
        for size in shape:
            dimension = tensor_type.shape.dim.add()
            if size is not None:
                dimension.dim_value = size
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor_type.elem_type)).name
        specs.append(TensorSpec(output.name, shape, dtype))
    return tuple(specs)
