# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Preprocessing in the graph: a camera frame gives the same outputs as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from ad_compressed_perception.compression.passes.graph.embed_preprocessing import EmbedPreprocessing
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.manifest import InputSpec, OutputSpec
from support.graphs import context_for, make_graph, noise, run_frame

NORMALIZED: dict[str, Any] = {
    "scale": 1 / 255,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}


def convolution(pads: int, colors: int = 3, outputs: int = 4) -> onnx.ModelProto:
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], "first", pads=[pads] * 4)
    weights = {"w": noise((outputs, colors, 3, 3)), "b": noise((outputs,), 1)}
    side = 16 + 2 * pads - 2
    return make_graph([node], weights, {"x": [1, colors, 16, 16]}, {"y": [1, outputs, side, side]})


@pytest.mark.parametrize("pads", [0, 1])
@pytest.mark.parametrize("color", ["BGR", "RGB"])
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_outputs_are_the_same_up_to_the_border(tmp_path: Path, pads: int, color: str, resize: str) -> None:
    spec = InputSpec(width=16, height=16, color=color, resize=resize, **NORMALIZED)
    model = convolution(pads)
    before = run_frame(model, spec)["y"]
    context = context_for(model, tmp_path, spec)

    after = EmbedPreprocessing().apply(model, context)

    assert (context.input.dtype, context.input.layout, context.input.color) == ("uint8", "NHWC", "BGR")
    assert (context.input.scale, context.input.mean, context.input.std) == (1.0, [0.0], [1.0])
    np.testing.assert_allclose(run_frame(after, context.input)["y"], before, atol=1e-4)
    # Padding puts zeros where the mean would be, so the shift cannot be folded into the bias.
    assert context.notes["kept_in_graph"] == (["Add"] if pads else [])
    assert context.notes["folded_into"] == ["first"]


def test_a_gray_planner_takes_bytes_without_mul_or_add(tmp_path: Path) -> None:
    spec = InputSpec(width=16, height=16, color="GRAY", scale=1 / 255)
    model = convolution(1, colors=1)
    before = run_frame(model, spec)["y"]
    context = context_for(model, tmp_path, spec)

    after = EmbedPreprocessing().apply(model, context)

    assert context.input.shape == (1, 16, 16, 1)
    assert context.input.color == "GRAY"
    np.testing.assert_allclose(run_frame(after, context.input)["y"], before, atol=1e-4)
    assert [node.op_type for node in after.graph.node] == ["Transpose", "Cast", "Conv"]


def test_a_model_of_channels_last_keeps_its_own_transpose(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["y"], "first"),
    ]
    model = make_graph(nodes, {"w": noise((4, 3, 3, 3))}, {"x": [1, 16, 16, 3]}, {"y": [1, 4, 14, 14]})
    spec = InputSpec(width=16, height=16, color="RGB", layout="NHWC", **NORMALIZED)
    before = run_frame(model, spec)["y"]
    context = context_for(model, tmp_path, spec)

    after = EmbedPreprocessing().apply(model, context)

    assert [node.op_type for node in after.graph.node] == ["Cast", "Transpose", "Conv"]
    assert context.input.color == "BGR"
    np.testing.assert_allclose(run_frame(after, context.input)["y"], before, atol=1e-4)


def test_through_joined_slices_each_slice_keeps_its_colors(tmp_path: Path) -> None:
    # Rows 0, 2, ... and 1, 3, ... joined: the weights of both halves are permuted and scaled.
    nodes = [
        helper.make_node("Slice", ["x", "zero", "end", "rows", "two"], ["even"]),
        helper.make_node("Slice", ["x", "one", "end", "rows", "two"], ["odd"]),
        helper.make_node("Concat", ["even", "odd"], ["joined"], axis=1),
        helper.make_node("Conv", ["joined", "w"], ["y"], "first"),
    ]
    weights = {"zero": [0], "one": [1], "end": [2**62], "rows": [2], "two": [2], "w": noise((4, 6, 1, 1))}
    model = make_graph(nodes, weights, {"x": [1, 3, 16, 16]}, {"y": [1, 4, 8, 16]})
    spec = InputSpec(width=16, height=16, color="RGB", **NORMALIZED)
    before = run_frame(model, spec)["y"]
    context = context_for(model, tmp_path, spec)

    after = EmbedPreprocessing().apply(model, context)

    assert context.notes["folded_into"] == ["first"]
    np.testing.assert_allclose(run_frame(after, context.input)["y"], before, atol=1e-4)


def test_what_cannot_go_into_weights_stays_as_operators(tmp_path: Path) -> None:
    # The input is also added to the result, so it must be computed; the color order stays, too.
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "first", pads=[1] * 4),
        helper.make_node("Add", ["c", "x"], ["y"]),
    ]
    model = make_graph(nodes, {"w": noise((3, 3, 3, 3))}, {"x": [1, 3, 16, 16]}, {"y": [1, 3, 16, 16]})
    spec = InputSpec(width=16, height=16, color="RGB", **NORMALIZED)
    before = run_frame(model, spec)["y"]
    context = context_for(model, tmp_path, spec, task="planning", output=OutputSpec(decoder="steering"))

    after = EmbedPreprocessing().apply(model, context)

    assert context.notes["kept_in_graph"] == ["Mul", "Add"]
    assert context.input.color == "RGB"
    np.testing.assert_allclose(run_frame(after, context.input)["y"], before, atol=1e-4)


def test_twice_is_refused(tmp_path: Path) -> None:
    spec = InputSpec(width=16, height=16, layout="NHWC", dtype="uint8")
    with pytest.raises(RecipeError, match="takes bytes already"):
        EmbedPreprocessing().apply(convolution(0), context_for(convolution(0), tmp_path, spec))
