# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detection heads found in the graph, and the effect of a shared scale on scores without protection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8
from ad_compressed_perception.compression.quantization.float_graph import name_nodes
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.heads import find_heads
from ad_compressed_perception.onnx_graph.io import read_model
from support.compression import model_and_context
from support.models import write_detector, write_planner, write_segmenter


def boxes_beside_scores() -> onnx.ModelProto:
    """Return a graph that outputs pixels in 0..400 and scores in 0..1 in one tensor."""
    rng = np.random.default_rng(3)
    weights = {
        "body_w": rng.uniform(0.0, 0.2, (4, 3, 1, 1)),
        "box_w": rng.uniform(20.0, 50.0, (4, 4, 1, 1)),
        "score_w": rng.uniform(-3.0, 3.0, (2, 4, 1, 1)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "body_w"], ["body"], "body"),
        helper.make_node("Relu", ["body"], ["features"], "relu"),
        helper.make_node("Conv", ["features", "box_w"], ["boxes"], "box"),
        helper.make_node("Conv", ["features", "score_w"], ["logits"], "score"),
        helper.make_node("Sigmoid", ["logits"], ["scores"], "squash"),
        helper.make_node("Concat", ["boxes", "scores"], ["output"], "join", axis=1),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("image", TensorProto.FLOAT, [1, 3, 48, 64])],
        [value("output", TensorProto.FLOAT, [1, 6, 48, 64])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_a_shared_scale_destroys_scores_and_a_protected_head_keeps_them(tmp_path: Path) -> None:
    model = boxes_beside_scores()
    heads = find_heads(model)
    assert (heads.head, heads.concat_points) == (("squash", "join"), ("join",))
    assert heads.head_inputs == ("logits", "boxes")
    errors = {}
    for name, exclude in (("shared", []), ("protected", list(heads.head))):
        # Only the images in 0..255 of this folder are used, not its model.
        _, context = model_and_context(write_segmenter(tmp_path / name), tmp_path / f"{name}_scratch")
        feeds = next(context.feeds())
        exact = run_model(model, feeds)["output"][:, 4:]
        options = {"exclude": exclude, "protect_heads": False}
        quantized = QuantizeInt8(options).apply(boxes_beside_scores(), context)
        errors[name] = float(np.abs(run_model(quantized, feeds)["output"][:, 4:] - exact).max())
    # The step for pixels is larger than the range of the scores.
    assert errors["shared"] > 0.45
    # Logits of a range of some hundred, in steps of half a unit: sigmoid's slope is at most 1/4.
    assert errors["protected"] < 0.35


def test_levels_of_one_pyramid_have_one_meaning() -> None:
    """A Concat of outputs of equal operators with similar ranges needs no protection."""
    model = boxes_beside_scores()
    del model.graph.node[4]  # the sigmoid
    model.graph.node[4].input[1] = "logits"
    assert find_heads(model, {"boxes": (0.0, 9.0), "logits": (-3.0, 3.0)}).concat_points == ()
    # A range four times wider costs the narrow one two bits: another meaning.
    assert find_heads(model, {"boxes": (0.0, 13.0), "logits": (-3.0, 3.0)}).concat_points == ("join",)


def test_finds_values_of_two_meanings_in_one_compute_op(tmp_path: Path) -> None:
    # Boxes, objectness and classes of a level come from one convolution and are split after a Concat.
    model = read_model(write_detector(tmp_path / "detector") / "fp32.onnx")
    name_nodes(model)
    heads = find_heads(model)
    assert heads.shared == ("head_8", "head_16", "head_32")
    assert heads.need_protection
    # Steering and collision are split from one convolution's output.
    model = read_model(write_planner(tmp_path / "planner") / "fp32.onnx")
    name_nodes(model)
    assert find_heads(model).shared == ("both",)
    known = {"steering": (-2.0, 2.0), "brightness": (0.0, 1.0)}
    assert find_heads(model, known).shared == ()  # of similar range
    known["steering"] = (-20.0, 20.0)
    assert find_heads(model, known).shared == ("both",)
    # A pass that does not measure what float costs gives up a layer only where a part would be lost.
    assert find_heads(model, known, 64.0).shared == ()
    known["steering"] = (-100.0, 100.0)
    assert find_heads(model, known, 64.0).shared == ("both",)


def test_a_segmenter_has_no_head_to_protect(tmp_path: Path) -> None:
    model = read_model(write_segmenter(tmp_path / "m") / "fp32.onnx")
    heads = find_heads(model)
    assert not heads.need_protection
    assert heads.head == ()


def decoded_beside_scores() -> onnx.ModelProto:
    """Return a graph with two outputs: corners of boxes in pixels, and scores; nothing joins the two."""
    rng = np.random.default_rng(4)
    x, y = np.meshgrid(np.arange(16.0), np.arange(12.0))
    cells = np.stack([x.ravel(), y.ravel()])[None]
    weights = {
        "body_w": rng.uniform(-0.05, 0.1, (6, 3, 4, 4)),
        "box_w": rng.uniform(-0.005, 0.005, (2, 6, 1, 1)),
        "score_w": rng.uniform(-0.1, 0.1, (2, 6, 1, 1)),
        "cells": cells,
        "stride": np.array(25.0),
    }
    nodes = [
        helper.make_node("Conv", ["image", "body_w"], ["body"], "body", strides=[4, 4]),
        helper.make_node("Relu", ["body"], ["features"], "relu"),
        helper.make_node("Conv", ["features", "box_w"], ["offsets"], "box"),
        helper.make_node("Conv", ["features", "score_w"], ["logits"], "score"),
        helper.make_node("Reshape", ["offsets", "flat"], ["rows"], "flatten"),
        helper.make_node("Add", ["rows", "cells"], ["moved"], "move"),
        helper.make_node("Mul", ["moved", "stride"], ["boxes"], "scale"),
        helper.make_node("Sigmoid", ["logits"], ["scores"], "squash"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("image", TensorProto.FLOAT, [1, 3, 48, 64])],
        [value("boxes", TensorProto.FLOAT, [1, 2, 192]), value("scores", TensorProto.FLOAT, [1, 2, 12, 16])],
        [
            *(numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()),
            numpy_helper.from_array(np.array([1, 2, 192], np.int64), "flat"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_decoded_boxes_keep_their_pixels_where_no_tensor_joins_them_with_scores(tmp_path: Path) -> None:
    heads = find_heads(decoded_beside_scores())
    assert heads.concat_points == ("move",)
    assert heads.head == ("flatten", "move", "scale", "squash")
    errors = {}
    for protect in (False, True):
        _, context = model_and_context(write_segmenter(tmp_path / f"{protect}"), tmp_path / f"{protect}_s")
        feeds = next(context.feeds())
        exact = run_model(decoded_beside_scores(), feeds)["boxes"]
        quantized = QuantizeInt8({"protect_heads": protect}).apply(decoded_beside_scores(), context)
        errors[protect] = float(np.abs(run_model(quantized, feeds)["boxes"] - exact).mean())
    # A range of 16 cells of 25 pixels: a step of 1.6 pixels, in two tensors one after another.
    assert errors[False] > 0.3
    assert errors[True] < 0.5 * errors[False]
