# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rewrites of patterns: the one-convolution stem, other activations, denormals, small files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ad_compressed_perception.compression.passes.graph.exact_edits import DeduplicateInitializers, FocusToConv
from ad_compressed_perception.compression.passes.graph.optimize import FlushDenormals
from ad_compressed_perception.compression.passes.graph.replace_activation import ReplaceActivation
from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8
from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.onnx_graph.io import opset_of
from support.compression import model_and_context
from support.graphs import context_for, make_graph, noise, run_frame
from support.models import write_segmenter

SPEC = InputSpec(width=32, height=16, color="BGR", scale=1 / 255)
YOLOX_ORDER = ((0, 0), (1, 0), (0, 1), (1, 1))


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def stem(order: tuple[tuple[int, int], ...], stride: int = 1, end: int = 2**62) -> onnx.ModelProto:
    nodes, parts = [], []
    for row, column in order:
        halved, part = f"rows_{row}{column}", f"part_{row}{column}"
        nodes += [
            helper.make_node("Slice", ["x", f"at{row}", "end", "axis2", "two"], [halved]),
            helper.make_node("Slice", [halved, f"at{column}", "end", "axis3", "two"], [part]),
        ]
        parts.append(part)
    nodes += [
        helper.make_node("Concat", parts, ["joined"], axis=1),
        helper.make_node("Conv", ["joined", "w", "b"], ["y"], "stem", pads=[1] * 4, strides=[stride, stride]),
    ]
    weights = {
        "at0": [0], "at1": [1], "end": [end], "axis2": [2], "axis3": [3], "two": [2],
        "w": noise((4, 12, 3, 3)), "b": noise((4,), 1),
    }  # fmt: skip
    rows, columns = -(-8 // stride), -(-16 // stride)
    return make_graph(nodes, weights, {"x": [1, 3, 16, 32]}, {"y": [1, 4, rows, columns]})


@pytest.mark.parametrize("order", [YOLOX_ORDER, ((0, 0), (0, 1), (1, 0), (1, 1))])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_focus_stem_becomes_one_convolution_with_the_same_outputs(
    tmp_path: Path, order: tuple[tuple[int, int], ...], stride: int
) -> None:
    model = stem(order, stride)
    before = run_frame(model, SPEC)["y"]

    after = FocusToConv().apply(model, context_for(model, tmp_path, SPEC))

    assert operators(after) == {"Conv": 1}
    (kernel,) = (t for t in after.graph.initializer if len(t.dims) == 4)
    assert list(kernel.dims) == [4, 3, 6, 6]
    # Up to the border: one padded row of the concatenated slices is two of the image.
    np.testing.assert_allclose(run_frame(after, SPEC)["y"], before, atol=1e-5)


def test_slice_ends_equal_to_the_image_size_are_the_same_stem(tmp_path: Path) -> None:
    model = stem(YOLOX_ORDER, end=32)
    assert operators(FocusToConv().apply(model, context_for(model, tmp_path, SPEC))) == {"Conv": 1}


def test_slices_that_skip_pixels_are_no_stem(tmp_path: Path) -> None:
    model = stem(YOLOX_ORDER)
    for node in model.graph.node:  # the second part starts where the first does
        if node.output[0] == "rows_10":
            node.input[1] = "at0"
    with pytest.raises(ModelFileError, match="no space-to-depth stem"):
        FocusToConv().apply(model, context_for(model, tmp_path, SPEC))


def silu_network() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "first"),
        helper.make_node("Sigmoid", ["a"], ["sa"]),
        helper.make_node("Mul", ["a", "sa"], ["fa"], "silu1"),
        helper.make_node("Conv", ["fa", "w2"], ["b"], "second"),
        helper.make_node("Sigmoid", ["b"], ["sb"]),
        helper.make_node("Mul", ["sb", "b"], ["fb"], "silu2"),
        helper.make_node("Sigmoid", ["fb"], ["y"], "probability"),
    ]
    weights = {"w1": noise((4, 3, 1, 1), scale=2.0), "w2": noise((4, 4, 1, 1), 1, scale=2.0)}
    return make_graph(nodes, weights, {"x": [1, 3, 16, 32]}, {"y": [1, 4, 16, 32]})


@pytest.mark.parametrize(("to", "operator", "opset"), [("relu", "Relu", 13), ("hard_swish", "HardSwish", 14)])
def test_every_silu_is_replaced_and_other_sigmoids_stay(
    tmp_path: Path, to: str, operator: str, opset: int
) -> None:
    model = silu_network()
    context = context_for(model, tmp_path, SPEC)

    after = ReplaceActivation({"to": to}).apply(model, context)

    assert operators(after) == {"Conv": 2, operator: 2, "Sigmoid": 1}
    assert opset_of(after) == opset
    assert context.notes["activations_swapped"] == 2
    assert context.notes["needs_fine_tuning"] is True
    # Another function, so other numbers; close ones, as both are near x for large x and near 0 below.
    assert 0.0 < context.notes["largest_difference"] < 1.0


def test_the_most_sensitive_activations_stay(tmp_path: Path) -> None:
    """By measurement: the outputs depend on one of two activations of equal size."""
    model = silu_network()
    quiet = next(tensor for tensor in model.graph.initializer if tensor.name == "w1")
    # Far below zero and far above it SiLU and ReLU are the same; between -1 and 1 they are not.
    quiet.CopyFrom(numpy_helper.from_array(1000.0 * numpy_helper.to_array(quiet), "w1"))
    loud = next(tensor for tensor in model.graph.initializer if tensor.name == "w2")
    loud.CopyFrom(numpy_helper.from_array(0.001 * numpy_helper.to_array(loud), "w2"))
    context = context_for(model, tmp_path, SPEC)

    after = ReplaceActivation({"to": "relu", "keep": 0.5}).apply(model, context)

    assert operators(after) == {"Conv": 2, "Relu": 1, "Sigmoid": 2, "Mul": 1}
    assert context.notes["activations_kept"] == ["b"]
    assert context.notes["activations_swapped"] == 1


def test_a_share_too_small_for_any_activation_keeps_none(tmp_path: Path) -> None:
    model = silu_network()
    context = context_for(model, tmp_path, SPEC)
    ReplaceActivation({"to": "relu", "keep": 0.4}).apply(model, context)
    assert context.notes["activations_kept"] == []


def test_replaced_relu_computes_relu(tmp_path: Path) -> None:
    node = [
        helper.make_node("Sigmoid", ["x"], ["s"]),
        helper.make_node("Mul", ["x", "s"], ["y"]),
    ]
    model = make_graph(node, {}, {"x": [1, 3, 16, 32]}, {"y": [1, 3, 16, 32]})
    spec = InputSpec(width=32, height=16, mean=[128.0])
    after = ReplaceActivation().apply(model, context_for(model, tmp_path, spec))
    values = run_frame(after, spec)["y"]
    assert values.min() == 0.0
    assert values.max() > 100.0


def test_a_gate_by_another_tensor_is_no_silu(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Sigmoid", ["c"], ["gate"]),
        helper.make_node("Mul", ["x", "gate"], ["y"]),  # attention, not an activation
    ]
    model = make_graph(nodes, {"w": noise((3, 3, 1, 1))}, {"x": [1, 3, 16, 32]}, {"y": [1, 3, 16, 32]})
    with pytest.raises(ModelFileError, match="no SiLU"):
        ReplaceActivation().apply(model, context_for(model, tmp_path, SPEC))


def test_denormal_weights_are_zeroed_counted_and_change_nothing(tmp_path: Path) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    smooth = next(t for t in model.graph.initializer if t.name == "smooth_w")
    values = numpy_helper.to_array(smooth).copy()
    values[values == 0.0] = 1e-40
    smooth.CopyFrom(numpy_helper.from_array(values, "smooth_w"))

    after = FlushDenormals().apply(model, context)

    # 3x3 kernels from 3 to 3 colors, one weight of each own color not zero.
    assert context.notes == {"denormal_weights_zeroed": 78, "largest_difference": 0.0}
    smooth = next(t for t in after.graph.initializer if t.name == "smooth_w")
    assert np.count_nonzero(numpy_helper.to_array(smooth)) == 3


def test_a_quantized_file_shrinks_and_computes_the_same(tmp_path: Path) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    quantized = QuantizeInt8().apply(model, context)
    feed = next(context.feeds())
    before, size = run(quantized, feed), quantized.ByteSize()

    after = DeduplicateInitializers().apply(quantized, context)

    np.testing.assert_array_equal(run(after, feed), before)
    assert after.ByteSize() < 0.8 * size
    assert [value.name for value in (*after.graph.input, *after.graph.output)] == ["image", "scores"]
    # Names cost bytes; only compute ops keep one, to match a runtime's layers to nodes of the file.
    named = [(node.op_type, node.name) for node in after.graph.node if node.name]
    assert named == [("Conv", "0"), ("Conv", "1")]


def run(model: onnx.ModelProto, feed: dict[str, Any]) -> np.ndarray[Any, Any]:
    from ad_compressed_perception.onnx_graph.equivalence import run_model

    return run_model(model, feed)["scores"]


def test_a_generated_name_does_not_collide_with_an_input(tmp_path: Path) -> None:
    # The input already has the first generated name.
    nodes = [
        helper.make_node("Relu", ["_0"], ["long_name"]),
        helper.make_node("Neg", ["long_name"], ["y"]),
    ]
    model = make_graph(nodes, {}, {"_0": [1, 3, 16, 32]}, {"y": [1, 3, 16, 32]})
    after = DeduplicateInitializers().apply(model, context_for(model, tmp_path, SPEC))
    assert after.graph.node[0].output[0] not in ("_0", "y", "long_name")


def test_equal_weights_of_another_shape_are_not_shared(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["x", "a"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["q"]),
        helper.make_node("Add", ["q", "c"], ["y"]),
    ]
    weights = {"a": np.ones((1, 3, 1, 1)), "b": np.ones((1, 3, 1, 1)), "c": np.ones((3, 1, 1))}
    model = make_graph(nodes, weights, {"x": [1, 3, 16, 32]}, {"y": [1, 3, 16, 32]})
    context = context_for(model, tmp_path, SPEC)

    after = DeduplicateInitializers({"names": False}).apply(model, context)

    assert context.notes["constants_shared"] == 1
    assert sorted(tensor.name for tensor in after.graph.initializer) == ["a", "c"]
