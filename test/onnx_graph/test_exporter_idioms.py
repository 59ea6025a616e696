# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Channel counts that exporters store as constants, removed without changing outputs."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.exporter_idioms import free_channel_counts
from support.graphs import make_graph, noise

X = [1, 4, 8, 6]


def gate(indices: np.ndarray) -> tuple:
    """Return squeeze-and-excite as torch's newer exporter writes it: mean, flattening, Gather."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], "mean", axes=[2, 3]),
        helper.make_node("Reshape", ["m", "flat"], ["f"], "flatten"),
        helper.make_node("Gather", ["f", "all"], ["g"], "channels"),
        helper.make_node("Mul", ["x", "g"], ["y"], "gate"),
    ]
    weights = {"flat": np.array([-1]), "all": indices}
    model = make_graph(nodes, weights, {"x": X}, {"y": X})
    return model, {"x": noise(tuple(X), 3, 1.0)}


def test_a_gather_of_all_channels_in_order_becomes_a_reshape_with_minus_one() -> None:
    model, feeds = gate(np.arange(4).reshape(1, 4, 1, 1))
    before = run_model(model, feeds)["y"]

    assert free_channel_counts(model) == 2  # the Gather, then its Reshape's constant length

    kinds = [node.op_type for node in model.graph.node]
    assert "Gather" not in kinds
    shapes = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in model.graph.initializer}
    assert [1, -1, 1, 1] in shapes.values()
    np.testing.assert_array_equal(run_model(model, feeds)["y"], before)


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [0, 1, 2, 2]])
def test_a_gather_that_selects_or_reverses_stays(order: list[int]) -> None:
    model, _ = gate(np.array(order).reshape(1, 4, 1, 1))
    assert free_channel_counts(model) == 0
    assert "Gather" in [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    ("shape", "free"),
    [
        ([1, 192], [1, -1]),
        ([1, 192, 1, 1], [1, -1, 1, 1]),
        ([1, 4, 48], None),  # two lengths: which of them are channels?
        ([192], None),  # no batch axis
        ([1, -1], None),
    ],
)
def test_a_reshape_to_one_long_axis_uses_minus_one(shape: list[int], free: list[int] | None) -> None:
    node = helper.make_node("Reshape", ["x", "s"], ["y"], "view")
    out = [n if n > 0 else 192 for n in shape]
    model = make_graph([node], {"s": np.array(shape)}, {"x": X}, {"y": out})
    assert free_channel_counts(model) == (free is not None)
    if free is not None:
        stored = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in model.graph.initializer}
        assert stored[model.graph.node[0].input[1]] == free
