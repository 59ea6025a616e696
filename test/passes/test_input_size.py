# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Changing the image size: constants that scale with it, and errors that name operators that cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from ad_compressed_perception.compression.passes.graph.input_size import InputSize
from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.core.manifest import InputSpec, OutputSpec
from ad_compressed_perception.onnx_graph.spatial_constants import regroup
from support.compression import model_and_context
from support.graphs import context_for, make_graph, noise, run_frame
from support.models import write_detector, write_planner, write_segmenter

SPEC = InputSpec(width=64, height=48, color="BGR")


def encoder_decoder(resize: list[onnx.NodeProto], weights: dict[str, Any]) -> onnx.ModelProto:
    """Return a network that halves the image and enlarges the scores again."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "down", strides=[2, 2], pads=[1] * 4),
        *resize,
    ]
    return make_graph(
        nodes, {"w": noise((4, 3, 3, 3)), **weights}, {"x": [1, 3, 48, 64]}, {"y": [1, 4, 48, 64]}
    )


def output_shape(model: onnx.ModelProto, context: Any) -> tuple[int, ...]:
    return run_frame(model, context.input)["y"].shape


def test_target_sizes_scale_with_the_image(tmp_path: Path) -> None:
    node = helper.make_node("Resize", ["c", "", "", "sizes"], ["y"], "up", mode="linear")
    model = encoder_decoder([node], {"sizes": [1, 4, 48, 64]})
    context = context_for(model, tmp_path, SPEC)

    after = InputSize({"width": 96, "height": 24}).apply(model, context)

    assert (context.input.width, context.input.height) == (96, 24)
    assert output_shape(after, context) == (1, 4, 24, 96)
    assert context.notes["edited"] == ["Resize 'up'"]


def test_relative_scales_stay(tmp_path: Path) -> None:
    node = helper.make_node("Resize", ["c", "", "scales"], ["y"], "up")
    model = encoder_decoder([node], {"scales": [1.0, 1.0, 2.0, 2.0]})
    context = context_for(model, tmp_path, SPEC)

    after = InputSize({"factor": 0.5, "multiple_of": 8}).apply(model, context)

    assert output_shape(after, context) == (1, 4, 24, 32)
    assert context.notes["edited"] == []


def test_a_globally_pooled_image_is_resized_to_the_new_size(tmp_path: Path) -> None:
    # The pooled tensor has one pixel at every size; only the scale factor depends on the image size.
    nodes = [
        helper.make_node("GlobalAveragePool", ["c"], ["g"], "pool"),
        helper.make_node("Resize", ["g", "", "scales"], ["y"], "blow_up"),
    ]
    model = encoder_decoder(nodes, {"scales": [1.0, 1.0, 48.0, 64.0]})
    context = context_for(model, tmp_path, SPEC)

    after = InputSize({"factor": 2.0, "multiple_of": 8}).apply(model, context)

    assert output_shape(after, context) == (1, 4, 96, 128)


def test_sides_with_an_extra_pixel_keep_aligned_corners(tmp_path: Path) -> None:
    """33 pixels at stride 8 are 4 steps, so 5 samples; 17 pixels are 2 steps, 3 samples.

    Such networks pool the 5x5 samples, blow the mean up to 5x5 again, and enlarge 5 to 33: a scale of 6.6
    for which 3 samples would become 19 pixels.
    """
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "down", strides=[8, 8], pads=[1] * 4),
        helper.make_node("AveragePool", ["c"], ["g"], "mean", kernel_shape=[5, 5]),
        helper.make_node("Resize", ["g", "", "blow"], ["b"], "blow_up", mode="linear"),
        helper.make_node("Concat", ["b", "c"], ["j"], "join", axis=1),
        helper.make_node("Resize", ["j", "", "scales"], ["y"], "up", mode="linear"),
    ]
    weights = {"w": noise((2, 3, 3, 3)), "blow": [1.0, 1.0, 5.0, 5.0], "scales": [1.0, 1.0, 6.6001, 6.6001]}
    model = make_graph(nodes, weights, {"x": [1, 3, 33, 33]}, {"y": [1, 4, 33, 33]})
    context = context_for(model, tmp_path, InputSpec(width=33, height=33, color="BGR"))

    after = InputSize({"factor": 0.5, "multiple_of": 16}).apply(model, context)

    assert (context.input.width, context.input.height) == (17, 17)
    assert output_shape(after, context) == (1, 4, 17, 17)
    assert context.notes["edited"] == ["AveragePool 'mean'", "Resize 'blow_up'", "Resize 'up'"]


def test_global_pooling_stays_global(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("AveragePool", ["c"], ["g"], "mean", kernel_shape=[24, 32]),
        helper.make_node("Resize", ["g", "", "", "sizes"], ["y"], "blow_up"),
    ]
    model = encoder_decoder(nodes, {"sizes": [1, 4, 48, 64]})
    context = context_for(model, tmp_path, SPEC)

    after = InputSize({"width": 32, "height": 32}).apply(model, context)

    assert output_shape(after, context) == (1, 4, 32, 32)
    pool = next(node for node in after.graph.node if node.op_type == "AveragePool")
    assert list(helper.get_node_attr_value(pool, "kernel_shape")) == [16, 16]


def test_the_detector_s_reshapes_scale_and_its_boxes_are_decoded_on_the_new_grid(tmp_path: Path) -> None:
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")

    after = InputSize({"width": 128, "height": 96}).apply(model, context)

    # (128/8 * 96/8) + (128/16 * 96/16) + (128/32 * 96/32) cells.
    assert run_frame(after, context.input)["output"].shape == (1, 192 + 48 + 12, 8)
    assert len(context.notes["edited"]) == 3


def test_a_slice_to_the_old_end_extends_to_the_new_end(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Slice", ["c", "starts", "ends", "axes", "steps"], ["y"], "every_second"),
    ]
    weights = {"w": noise((4, 3, 1, 1)), "starts": [0], "ends": [64], "axes": [3], "steps": [2]}
    first = helper.make_node("Conv", ["x", "w"], ["c"])
    model = make_graph([first, *nodes], weights, {"x": [1, 3, 48, 64]}, {"y": [1, 4, 48, 32]})
    context = context_for(model, tmp_path, SPEC)

    after = InputSize({"width": 128, "height": 48}).apply(model, context)

    assert output_shape(after, context) == (1, 4, 48, 64)


def refused(nodes: list[onnx.NodeProto], weights: dict[str, Any], output: list[int]) -> onnx.ModelProto:
    return make_graph(nodes, weights, {"x": [1, 3, 48, 64]}, {"y": output})


REFUSED = {
    "Gemm 'classify' has weights for one size": refused(
        [
            helper.make_node("Flatten", ["x"], ["f"]),
            helper.make_node("Gemm", ["f", "w"], ["y"], "classify", transB=1),
        ],
        {"w": noise((1, 3 * 48 * 64))},
        [1, 1],
    ),
    "Add 'positions' joins .* a constant of one size": refused(
        [helper.make_node("Add", ["x", "grid"], ["y"], "positions")],
        {"grid": noise((1, 1, 48, 64))},
        [1, 3, 48, 64],
    ),
    "Conv 'all_of_it' has a kernel as large": refused(
        [helper.make_node("Conv", ["x", "w"], ["y"], "all_of_it")], {"w": noise((1, 3, 48, 64))}, [1, 1, 1, 1]
    ),
    "Reshape 'windows' splits the image's axes": refused(
        [helper.make_node("Reshape", ["x", "shape"], ["y"], "windows")],
        {"shape": [1, 3, 8, 6, 8, 8]},
        [1, 3, 8, 6, 8, 8],
    ),
    "Slice 'crop' cuts out 8:40": refused(
        [helper.make_node("Slice", ["x", "starts", "ends", "axes"], ["y"], "crop")],
        {"starts": [8], "ends": [40], "axes": [2]},
        [1, 3, 32, 64],
    ),
    "Resize 'up' .* simplify": make_graph(
        [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Resize", ["x", "", "", "s"], ["y"], "up"),
        ],
        {},
        {"x": [1, 3, 48, 64]},
        {"y": [1, 3, 48, 64]},
    ),
}


@pytest.mark.parametrize("words", REFUSED)
def test_an_operator_that_cannot_scale_is_named(tmp_path: Path, words: str) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(REFUSED[words])
    context = context_for(model, tmp_path, SPEC, task="planning", output=OutputSpec(decoder="steering"))

    with pytest.raises(ModelFileError, match=words) as caught:
        InputSize({"width": 32, "height": 24}).apply(model, context)

    assert "\n" not in str(caught.value)
    assert context.input == SPEC


def test_a_product_over_channels_takes_any_number_of_rows(tmp_path: Path) -> None:
    """A Gemm on (pixels, channels), as in transformers, whose weights do not depend on the image size."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "embed"),
        helper.make_node("Reshape", ["c", "s"], ["r"], "flat"),
        helper.make_node("Transpose", ["r"], ["t"], "rows", perm=[1, 0]),
        helper.make_node("Gemm", ["t", "m", "b"], ["g"], "mix", transB=1),
        helper.make_node("ReduceMean", ["g"], ["all"], "mean"),
        helper.make_node("Add", ["c", "all"], ["y"], "scores"),
    ]
    weights = {"w": noise((4, 3, 1, 1)), "s": [4, -1], "m": noise((5, 4)), "b": noise((5,))}
    model = make_graph(nodes, weights, {"x": [1, 3, 48, 64]}, {"y": [1, 4, 48, 64]})
    context = context_for(model, tmp_path, SPEC)

    after = InputSize({"width": 32, "height": 24}).apply(model, context)

    assert output_shape(after, context) == (1, 4, 24, 32)


def test_a_recurrence_along_flattened_rows_is_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "rows_first", perm=[2, 0, 1, 3]),
        helper.make_node("Reshape", ["t", "s"], ["r"], "flat"),
        helper.make_node("LSTM", ["r", "w", "u"], ["y"], "memory", hidden_size=2),
    ]
    weights = {"s": [48, 1, 192], "w": noise((1, 8, 192)), "u": noise((1, 8, 2))}
    model = make_graph(nodes, weights, {"x": [1, 3, 48, 64]}, {"y": [48, 1, 1, 2]})
    with pytest.raises(ModelFileError, match="LSTM 'memory' has weights for one size only"):
        InputSize({"width": 32, "height": 24}).apply(model, context_for(model, tmp_path, SPEC))


def test_an_operator_at_a_size_that_strides_do_not_divide_is_named(tmp_path: Path) -> None:
    # 48 / 2 enlarged again must meet the skipped image: 25 rows become 13, then 26.
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "down", strides=[2, 2], pads=[1] * 4),
        helper.make_node("Resize", ["c", "", "scales"], ["u"], "up"),
        helper.make_node("Add", ["u", "x"], ["y"], "skip"),
    ]
    weights = {"w": noise((3, 3, 3, 3)), "scales": [1.0, 1.0, 2.0, 2.0]}
    model = refused(nodes, weights, [1, 3, 48, 64])

    # Older versions of onnx infer a size for it: the decoder then refuses that size.
    reason = r"Add 'skip' joins .* multiple of|do not fit the file's output 'y' \[1, 3, 25, 64\]"
    with pytest.raises(ModelFileError, match=reason):
        InputSize({"width": 64, "height": 25}).apply(model, context_for(model, tmp_path, SPEC))


def test_the_planner_is_refused(tmp_path: Path) -> None:
    model, context = model_and_context(write_planner(tmp_path / "m"), tmp_path / "s")
    with pytest.raises(ModelFileError, match="Conv 'balance' has a kernel as large as its image, 32x32"):
        InputSize({"width": 16, "height": 16}).apply(model, context)


def test_the_same_size_is_refused(tmp_path: Path) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    with pytest.raises(RecipeError, match="64x48 already"):
        InputSize({"width": 64, "height": 48}).apply(model, context)


@pytest.mark.parametrize("options", [{}, {"width": 64}, {"factor": 0.5, "width": 64, "height": 64}])
def test_either_a_factor_or_both_sides(options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="give either factor, or width and height"):
        InputSize(options)


def test_a_crop_s_image_scales_along(tmp_path: Path) -> None:
    spec = InputSpec(width=64, height=48, resize="crop", resize_width=80, resize_height=64)
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    model = make_graph([node], {"w": noise((4, 3, 1, 1))}, {"x": [1, 3, 48, 64]}, {"y": [1, 4, 48, 64]})
    context = context_for(model, tmp_path, spec)

    InputSize({"width": 32, "height": 24}).apply(model, context)

    assert (context.input.resize_width, context.input.resize_height) == (40, 32)


@given(
    channels=st.integers(2, 9),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    factor=st.integers(2, 4),
)
def test_a_flattened_image_has_the_new_product(channels: int, height: int, width: int, factor: int) -> None:
    before = [1, channels, height, width]
    after = [1, channels, height * factor, width * factor]

    target = regroup(before, [1, channels, height * width], after)

    # Either the one shape that keeps every element, or None.
    assert target is None or (np.prod(target) == np.prod(after) and target[:2] == [1, channels])
    if height > 1 and width > 1:
        assert target == [1, channels, height * width * factor**2]
