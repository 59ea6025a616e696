# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A detector's maps are flattened before concatenation: the same rows, no transposition at the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from ad_compressed_perception.compression.passes.graph.exact_edits import FlattenPerLevel
from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.manifest import InputSpec
from support.graphs import context_for, make_graph, noise, run_frame

SPEC = InputSpec(width=32, height=16, color="BGR", scale=1 / 255)
STEPS = (2, 4)


def maps(steps: tuple[int, ...], axis: int = 2) -> onnx.ModelProto:
    """Return one convolution per step, its map flattened, all concatenated and transposed."""
    nodes, weights, parts, cells = [], {}, [], 0
    for step in steps:
        count = (16 // step) * (32 // step)
        weights |= {f"w{step}": noise((6, 3, step, step), step), f"shape{step}": [1, 6, count]}
        nodes.append(helper.make_node("Conv", ["x", f"w{step}"], [f"map{step}"], strides=[step, step]))
        nodes.append(helper.make_node("Reshape", [f"map{step}", f"shape{step}"], [f"row{step}"]))
        parts.append(f"row{step}")
        cells += count
    if len(parts) > 1:
        nodes.append(helper.make_node("Concat", parts, ["all"], "join", axis=axis))
    last = "all" if len(parts) > 1 else parts[0]
    nodes.append(helper.make_node("Transpose", [last], ["y"], "turn", perm=[0, 2, 1]))
    return make_graph(nodes, weights, {"x": [1, 3, 16, 32]}, {"y": [1, cells, 6]})


@pytest.mark.parametrize("steps", [(2, 4), (4,), (2, 4, 8)])
@pytest.mark.parametrize("axis", [2, -1])
def test_the_rows_are_the_same_and_in_order(tmp_path: Path, steps: tuple[int, ...], axis: int) -> None:
    model = maps(steps, axis)
    before = run_frame(model, SPEC)["y"]
    context = context_for(model, tmp_path, SPEC)
    after = FlattenPerLevel().apply(model, context)
    np.testing.assert_array_equal(run_frame(after, SPEC)["y"], before)
    transposes = [node for node in after.graph.node if node.op_type == "Transpose"]
    assert [list(node.attribute[0].ints) for node in transposes] == [[0, 2, 3, 1]] * len(steps)
    assert context.notes["maps"] == len(steps)


def test_a_map_with_another_consumer_is_refused(tmp_path: Path) -> None:
    """The concatenated cells are a graph output too, so they must still be computed."""
    model = maps(STEPS)
    model.graph.output.append(helper.make_tensor_value_info("all", 1, [1, 6, 160]))
    with pytest.raises(ModelFileError, match="leave this pass out"):
        FlattenPerLevel().apply(model, context_for(model, tmp_path, SPEC))


def test_a_graph_without_rows_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    model = make_graph(nodes, {"w": noise((4, 3, 1, 1))}, {"x": [1, 3, 16, 32]}, {"y": [1, 4, 16, 32]})
    with pytest.raises(ModelFileError, match="no maps"):
        FlattenPerLevel().apply(model, context_for(model, tmp_path, SPEC))
