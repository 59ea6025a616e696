# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""onnx-ir as a second opinion on own graph edits, and why it does not replace them.

It comes with the extra [pytorch], through onnxscript.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.compact import share_constants
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.graph import remove_dead
from ad_compressed_perception.onnx_graph.io import drop_initializer_inputs
from ad_compressed_perception.onnx_graph.normal_form import normalize, sort_nodes
from ad_compressed_perception.onnx_graph.subgraphs import copied
from ad_compressed_perception.onnx_graph.walk import all_graphs, graph_nodes
from support.odd_graphs import KINDS, SHAPE, plain, sparse_weight

try:
    import onnx_ir as ir
except (ImportError, AttributeError) as error:  # the latter with a NumPy older than it needs
    pytest.skip(f"onnx-ir cannot be imported: {error}", allow_module_level=True)
common = pytest.importorskip("onnx_ir.passes.common", reason="onnx-ir is not installed")
Edit = Callable[[onnx.ModelProto], onnx.ModelProto]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def by_onnx_ir(model: onnx.ModelProto, *passes: Any) -> onnx.ModelProto:
    """Return the model after passes of onnx-ir."""
    loaded = ir.serde.deserialize_model(model)
    for one in passes:
        one(loaded)
    saved: onnx.ModelProto = ir.serde.serialize_model(loaded)
    return saved


def nodes_of(model: onnx.ModelProto) -> list[tuple[Any, ...]]:
    """Return operator, name, inputs and outputs of every node; inputs left out at the end do not count."""
    found = []
    for node in graph_nodes(model.graph):
        inputs = list(node.input)
        while inputs and not inputs[-1]:
            inputs.pop()
        found.append((node.domain, node.op_type, node.name, tuple(inputs), tuple(node.output)))
    return found


def weights_of(model: onnx.ModelProto) -> dict[str, tuple[int, tuple[int, ...], bytes]]:
    return {
        tensor.name: (tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes())
        for graph in all_graphs(model.graph)
        for tensor in graph.initializer
    }


def results_of(model: onnx.ModelProto) -> dict[str, Any]:
    """Return the outputs for a random image; nothing of an operator that ONNX Runtime lacks."""
    kind = helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
    image = np.random.default_rng(0).random(SHAPE)
    try:
        found = run_model(model, {model.graph.input[0].name: image.astype(kind)})
    except ModelFileError:
        return {}
    return {name: np.asarray(values).tobytes() for name, values in found.items()}


def with_dead_and_equal_parts(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph with two nodes that nothing reads, a weight that nothing reads, and a weight twice."""
    model = copied(model)
    weight = next(one for one in model.graph.initializer if len(one.dims) == 4)
    twin = copied(weight)
    twin.name = "twin"
    model.graph.initializer.extend([twin, numpy_helper.from_array(np.ones(3, np.float32), "idle")])
    first = model.graph.input[0].name
    model.graph.node.extend(
        [helper.make_node("Neg", [first], ["dead"]), helper.make_node("Neg", ["dead"], ["dead_too"])]
    )
    reader = next(node for node in model.graph.node if weight.name in node.input)
    reader.input[list(reader.input).index(weight.name)] = "twin"
    return model


def in_place(edit: Callable[[onnx.ModelProto], Any]) -> Edit:
    def apply(model: onnx.ModelProto) -> onnx.ModelProto:
        edit(model)
        return model

    return apply


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_dead_parts_and_equal_weights_are_those_that_onnx_ir_finds(kind: str) -> None:
    model = normalize(KINDS[kind]())
    drop_initializer_inputs(model)
    if any(len(one.dims) == 4 for one in model.graph.initializer):
        model = with_dead_and_equal_parts(model)
    for own, theirs in (
        (remove_dead, [common.RemoveUnusedNodesPass()]),
        (share_constants, [common.DeduplicateInitializersPass(1 << 40), common.RemoveUnusedNodesPass()]),
    ):
        expected, found = by_onnx_ir(copied(model), *theirs), in_place(own)(copied(model))

        assert nodes_of(found) == nodes_of(expected)
        assert weights_of(found) == weights_of(expected)
        assert results_of(found) == results_of(expected)


def test_onnx_ir_loses_sparse_weights_which_exporters_write() -> None:
    model = sparse_weight()
    assert results_of(normalize(copied(model)))
    assert not results_of(by_onnx_ir(model))  # the weight is gone, and the graph cannot run


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([("Add", ["x", "b"], "a"), ("Relu", ["a"], "b")], "waits for its own result"),
        ([("Add", ["x", "missing"], "b")], "reads the tensor 'missing', which nothing computes"),
    ],
    ids=["cycle", "missing tensor"],
)
def test_a_broken_graph_is_named_here_and_not_by_onnx_ir(
    nodes: list[tuple[str, list[str], str]], words: str
) -> None:
    """It makes a new input of what nothing computes: the file is then another model."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "b")]
    made = [helper.make_node(kind, inputs, [output], f"n_{output}") for kind, inputs, output in nodes]
    model = helper.make_model(helper.make_graph(made, "g", values[:1], values[1:]))

    with pytest.raises(ModelFileError, match=words):
        sort_nodes(copied(model))
    try:
        by_onnx_ir(model, common.TopologicalSortPass())
    except ValueError as error:
        assert all(node.name not in str(error) for node in made)


def test_a_graph_that_stands_in_order_stays_in_order() -> None:
    model = plain()
    before = nodes_of(model)
    sort_nodes(model)
    assert nodes_of(model) == before
