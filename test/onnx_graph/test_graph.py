# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One object answers who computes, who reads and what is constant; nobody else builds such maps."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.onnx_graph.graph import Graph, remove_dead

PACKAGE = Path(__file__).resolve().parents[2] / "ad_compressed_perception"
VECTOR = [2]


def branching() -> onnx.ModelProto:
    """Return y = x * two, z = cond ? y : w, where only the branches read y and w; and one dead node."""

    def branch(name: str, source: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, VECTOR)
        return helper.make_graph([helper.make_node("Identity", [source], [f"{name}_out"])], name, [], [out])

    two = helper.make_tensor("v", TensorProto.FLOAT, VECTOR, [2.0, 2.0])
    nodes = [
        helper.make_node("Constant", [], ["two"], value=two),
        helper.make_node("Mul", ["x", "two"], ["y"], "times"),
        helper.make_node("Clip", ["x", "", "limit"], ["dead"], "clip"),
        helper.make_node(
            "If", ["cond"], ["z"], "choose",
            then_branch=branch("then", "y"), else_branch=branch("else", "w"),
        ),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, VECTOR),
            helper.make_tensor_value_info("cond", TensorProto.BOOL, []),
        ],
        [
            helper.make_tensor_value_info("z", TensorProto.FLOAT, VECTOR),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, VECTOR),
        ],
        [
            numpy_helper.from_array(np.ones(2, np.float32), "w"),
            numpy_helper.from_array(np.float32(6.0), "limit"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_what_bodies_read_counts_as_read_by_their_node() -> None:
    graph = Graph(branching())

    assert [node.name for node in graph.consumers["y"]] == ["choose"]
    assert [node.name for node in graph.consumers["w"]] == ["choose"]
    assert graph.uses("y") == 2  # by a branch, and as an output
    assert graph.only_consumer("y") is None  # an output has a reader that is not in the graph
    assert "" not in graph.consumers  # an input that is left out is no tensor


def test_weights_and_constants_are_alike_and_computed_values_are_none() -> None:
    graph = Graph(branching())

    assert graph.constant("w").tolist() == [1.0, 1.0]
    assert graph.constant("two").tolist() == [2.0, 2.0]
    assert graph.constant("y") is graph.constant("x") is graph.constant("") is None
    assert graph.producer("y", "Mul", "Div").name == "times"
    assert graph.producer("y", "Conv") is graph.producer("x", "Mul") is None
    assert graph.inputs == {"x", "cond"}


def test_with_bodies_each_node_reads_for_itself() -> None:
    graph = Graph(branching(), with_bodies=True)

    assert [node.op_type for node in graph.consumers["y"]] == ["Identity"]
    assert graph.producer("then_out", "Identity") is not None


def test_a_replaced_tensor_is_read_in_the_bodies_too() -> None:
    model = branching()
    graph = Graph(model)

    graph.replace_uses("y", graph.add_constant("w", np.zeros(2, np.float32)))

    assert set(Graph(model).weights) == {"w", "w_2", "limit"}  # w was taken
    assert [node.name for node in Graph(model).consumers["w_2"]] == ["choose"]


def test_dead_nodes_go_in_any_order_and_shapes_stay_where_asked() -> None:
    model = branching()
    nodes = list(reversed(model.graph.node))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.value_info.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, VECTOR))

    remove_dead(model, keep_shapes=True)
    assert [node.op_type for node in model.graph.node] == ["If", "Mul", "Constant"]
    assert [tensor.name for tensor in model.graph.initializer] == ["w"]
    assert len(model.graph.value_info) == 1

    remove_dead(model)
    assert not model.graph.value_info


def test_no_other_module_maps_tensors_to_their_producers_or_consumers() -> None:
    """Sorting nodes into an order that can be indexed at all is the one exception."""
    producers = re.compile(r"\{[^{}]*: [^{}]*\bfor \w+ in [\w.]+\.node\b[^{}]*\bfor \w+ in \w+\.output\b")
    consumers = re.compile(r"for (\w+) in [\w.]*\bnode:\s+for \w+ in \1\.input:\s+\w+\.setdefault\(")
    found = [
        path.relative_to(PACKAGE).as_posix()
        for path in sorted(PACKAGE.rglob("*.py"))
        if producers.search(text := path.read_text("utf-8")) or consumers.search(text)
    ]
    assert found == []
