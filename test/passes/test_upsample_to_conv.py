# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A segmenter's last upsampling as a convolution: the same scores inside, the same labels everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from ad_compressed_perception.compression.passes.graph.upsample_to_conv import UpsampleToConv
from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8
from ad_compressed_perception.core.errors import ManifestError, ModelFileError
from ad_compressed_perception.core.manifest import InputSpec, OutputSpec
from ad_compressed_perception.onnx_graph.upsampling import upsampling_weight
from ad_compressed_perception.tasks.decoders.argmax import ArgmaxDecoder
from support.compression import model_and_context
from support.graphs import context_for, make_graph, noise, run_frame
from support.models import write_detector

SPEC = InputSpec(width=32, height=16, color="BGR", scale=1 / 255)
NCHW = OutputSpec(decoder="argmax", options={"layout": "NCHW", "output": "y"})


def segmenter(factor: int = 2, mode: str = "linear", **attributes: Any) -> onnx.ModelProto:
    """Return scores at a fraction of the image's size, upsampled: a segmenter's head without softmax."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "scores", strides=[factor, factor], pads=[1] * 4),
        helper.make_node("Resize", ["c", "", "scales"], ["y"], "up", mode=mode, **attributes),
    ]
    weights = {"w": noise((4, 3, 3, 3), scale=3.0), "scales": [1.0, 1.0, float(factor), float(factor)]}
    return make_graph(nodes, weights, {"x": [1, 3, 16, 32]}, {"y": [1, 4, 16, 32]})


def label_ids(model: onnx.ModelProto, context: Any) -> np.ndarray[Any, Any]:
    decoder = ArgmaxDecoder(context.manifest.model_copy(update={"output": context.output}))
    return decoder.label_ids(run_frame(model, SPEC))


@pytest.mark.parametrize("factor", [2, 4])
def test_scores_are_equal_inside_and_labels_up_to_the_border(tmp_path: Path, factor: int) -> None:
    model = segmenter(factor)
    context = context_for(model, tmp_path, SPEC, output=NCHW)
    before, labels = run_frame(model, SPEC)["y"], label_ids(model, context)

    after = UpsampleToConv().apply(model, context)

    assert [node.op_type for node in after.graph.node] == ["Conv", "Conv", "DepthToSpace"]
    # Within half a coarse pixel of the border the convolution reads the zero padding.
    inside = np.s_[:, :, factor:-factor, factor:-factor]
    np.testing.assert_allclose(run_frame(after, SPEC)["y"][inside], before[inside], atol=1e-5)
    np.testing.assert_array_equal(label_ids(after, context), labels)
    assert len(np.unique(labels)) > 1  # more than one label, so that the comparison is meaningful
    assert context.notes["labels_differing_share"] == 0.0


@given(st.integers(1, 8), st.integers(2, 8))
@settings(max_examples=30)
def test_every_pixel_is_a_mean_of_its_own_class(classes: int, factor: int) -> None:
    weight = upsampling_weight(classes, factor).reshape(factor * factor, classes, classes, 9)
    own = np.eye(classes, dtype=bool)
    np.testing.assert_allclose(weight[:, own].sum(-1), 1.0, atol=1e-6)
    assert (weight >= 0.0).all()
    assert not weight[:, ~own].any()


def test_the_convolution_is_quantized_and_the_scores_stay_float(tmp_path: Path) -> None:
    """With pairs on inputs of compute ops only the scores are float: no two are rounded to equal values."""
    model = segmenter()
    context = context_for(model, tmp_path, SPEC, output=NCHW)
    after = UpsampleToConv().apply(model, context)

    quantized = QuantizeInt8({"placement": "compute_ops", "frames": 1}).apply(after, context)

    producers = {name: node for node in quantized.graph.node for name in node.output}
    last = producers[producers["y"].input[0]]
    assert last.op_type == "Conv"
    assert {producers[name].op_type for name in last.input[:2]} == {"DequantizeLinear"}


@pytest.mark.parametrize(
    "model",
    [
        segmenter(mode="nearest"),
        segmenter(coordinate_transformation_mode="align_corners"),
        segmenter(coordinate_transformation_mode="asymmetric"),
    ],
)
def test_another_upsampling_is_refused(tmp_path: Path, model: onnx.ModelProto) -> None:
    with pytest.raises(ModelFileError, match=r"comes from Resize 'up', not from a linear upsampling"):
        UpsampleToConv().apply(model, context_for(model, tmp_path, SPEC, output=NCHW))


def test_a_network_without_upsampling_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], "scores", pads=[1] * 4)]
    model = make_graph(nodes, {"w": noise((4, 3, 3, 3))}, {"x": [1, 3, 16, 32]}, {"y": [1, 4, 16, 32]})
    with pytest.raises(ModelFileError, match="leave upsample_to_conv out"):
        UpsampleToConv().apply(model, context_for(model, tmp_path, SPEC, output=NCHW))


def test_a_detector_is_refused(tmp_path: Path) -> None:
    write_detector(tmp_path / "m")
    model, context = model_and_context(tmp_path / "m", tmp_path / "scratch")
    with pytest.raises(ManifestError, match="decoder 'yolox' needs the scores themselves"):
        UpsampleToConv().apply(model, context)
