# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One form of what exporters write in several: the graph computes the same, and passes see fewer cases.

Nodes stand in the order of computation, and no two have the same name; constants are weights, dense ones; the
functions of the file are written out; a node computes each output, and none is listed twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.onnx_graph.graph import label
from ad_compressed_perception.onnx_graph.subgraphs import all_names, copied, free_name, replace_read
from ad_compressed_perception.onnx_graph.walk import all_graphs, bodies, read_names

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

_SCALARS = ("value_float", "value_int", "value_floats", "value_ints")


def normalize(model: ModelProto) -> ModelProto:
    """Return the model in that form; it may be changed in place.

    Raises:
        ModelFileError: the nodes form a cycle, a node reads what nothing computes, or an output is listed
            twice; the line names it.
    """
    if model.functions:
        model = _without_functions(model)
    for graph in all_graphs(model.graph):
        _store_dense(graph)
    # Bodies keep theirs: a runtime wants a node for each of a body's results.
    constants_as_weights(model.graph)
    sort_nodes(model)
    _separate_node_names(model)
    _compute_outputs(model)
    return model


def sort_nodes(model: ModelProto) -> None:
    """Sort the nodes topologically, in subgraphs too, in place; what is in order stays as it is.

    Raises:
        ModelFileError: the graph has a cycle, or an operator reads a tensor without a producer.
    """
    _sort(model.graph, {""})


def _sort(graph: GraphProto, around: set[str]) -> None:
    known = around | {value.name for value in (*graph.input, *graph.initializer)}
    known |= {tensor.values.name for tensor in graph.sparse_initializer}
    nodes = list(graph.node)
    order = _order(nodes, known)
    if order != list(range(len(nodes))):
        copies = [copied(nodes[place]) for place in order]
        del graph.node[:]
        graph.node.extend(copies)
    known.update(name for node in graph.node for name in node.output)
    for node in graph.node:
        for body in bodies(node):
            _sort(body, known)


def _order(nodes: list[NodeProto], known: set[str]) -> list[int]:
    """Return the nodes' places in an order of computation: each after what it reads, else as they are."""
    reads = [read_names(node) for node in nodes]
    producers = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    entered, done, order = set[int](), set[int](), list[int]()
    for start in range(len(nodes)):
        stack = [start]
        while stack:
            place = stack[-1]
            if place in entered:
                stack.pop()
                if place not in done:
                    done.add(place)
                    order.append(place)
                continue
            entered.add(place)
            for name in reversed(reads[place]):
                before = producers.get(name)
                if name in known or before in done:
                    continue
                if before is None:
                    raise ModelFileError(
                        f"{label(nodes[place])} reads the tensor {name!r}, which nothing computes: "
                        "export the model again"
                    )
                if before in entered:
                    raise ModelFileError(
                        f"{label(nodes[before])} waits for its own result: the graph has a cycle, "
                        "export it again"
                    )
                stack.append(before)
    return order


def _without_functions(model: ModelProto) -> ModelProto:
    from onnx import inliner

    names = ", ".join(sorted({function.name for function in model.functions}))
    try:
        return inliner.inline_local_functions(model, True)
    except Exception as error:  # C++ errors of several types
        raise ModelFileError(
            f"the functions of the file ({names}) cannot be written out: {one_line(error)}; "
            "export it without functions"
        ) from error


def dense(sparse: SparseTensorProto, name: str) -> TensorProto:
    """Return a sparse tensor as a dense one."""
    from onnx import numpy_helper

    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    full = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 2:
        full[tuple(indices.T)] = values
    else:
        full.reshape(-1)[indices] = values
    return numpy_helper.from_array(full, name)


def _store_dense(graph: GraphProto) -> None:
    for sparse in graph.sparse_initializer:
        graph.initializer.append(dense(sparse, sparse.values.name))
    del graph.sparse_initializer[:]


def constants_as_weights(graph: GraphProto) -> None:
    """Store the values of Constant nodes as weights, in place; texts stay."""
    found = [(place, _constant(node)) for place, node in enumerate(graph.node) if node.op_type == "Constant"]
    for place, tensor in reversed(found):
        if tensor is not None:
            graph.initializer.append(tensor)
            del graph.node[place]


def _constant(node: NodeProto) -> TensorProto | None:
    """Return a Constant's value; None for texts, which stay."""
    from onnx import helper, numpy_helper

    for entry in node.attribute:
        if entry.name == "value":
            tensor = copied(entry.t)
            tensor.name = node.output[0]
            return tensor
        if entry.name == "sparse_value":
            return dense(entry.sparse_tensor, node.output[0])
        if entry.name in _SCALARS:
            kind = np.float32 if "float" in entry.name else np.int64
            value = np.array(helper.get_attribute_value(entry), kind)
            return numpy_helper.from_array(value, node.output[0])
    return None


def _separate_node_names(model: ModelProto) -> None:
    """Give nodes whose name came before another one."""
    taken = all_names(model)
    seen: set[str] = set()
    for graph in all_graphs(model.graph):
        for node in graph.node:
            if node.name in seen:
                node.name = free_name(node.name, taken)
            seen |= {node.name} - {""}


def _compute_outputs(model: ModelProto) -> None:
    """Let a node compute each output that is a weight or an input itself; refuse one that is listed twice."""
    from onnx import helper

    graph = model.graph
    names = [output.name for output in graph.output]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ModelFileError(
            f"output {twice[0]!r} is listed twice: export the model with each output once, or give the "
            "second one a name of its own by an Identity"
        )
    weights = {tensor.name: tensor for tensor in graph.initializer}
    taken = all_names(model)
    for name in names:
        if name in weights:
            inner = free_name(f"{name}/constant", taken)
            for node in graph.node:
                replace_read(node, name, inner)
            weights[name].name = inner
            node = helper.make_node("Identity", [inner], [name], free_name(f"{name}/output", taken))
            graph.node.append(node)
