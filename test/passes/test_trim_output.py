# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A trimmed output: every pixel keeps its label, and the decoder's options are updated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ad_compressed_perception.compression.passes.graph.trim_output import TrimOutput
from ad_compressed_perception.core.errors import ManifestError, ModelFileError
from ad_compressed_perception.core.manifest import InputSpec, OutputSpec
from ad_compressed_perception.tasks.decoders.argmax import ArgmaxDecoder
from support.compression import model_and_context
from support.graphs import context_for, make_graph, noise, run_frame
from support.models import write_detector

SPEC = InputSpec(width=32, height=16, color="BGR", scale=1 / 255)
NHWC = OutputSpec(decoder="argmax", options={"layout": "NHWC", "output": "y"})


def segmenter(opset: int = 13) -> onnx.ModelProto:
    """Return scores at half size, upsampled, channels last, softmax: the usual head of a segmenter."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "scores", strides=[2, 2], pads=[1] * 4),
        helper.make_node("Resize", ["c", "roi", "scales"], ["u"], "up", mode="linear"),
        helper.make_node("Transpose", ["u"], ["t"], "last", perm=[0, 2, 3, 1]),
        helper.make_node("Softmax", ["t"], ["y"], "softmax", axis=3),
    ]
    weights = {"w": noise((4, 3, 3, 3), scale=3.0), "roi": [], "scales": [1.0, 1.0, 2.0, 2.0]}
    return make_graph(nodes, weights, {"x": [1, 3, 16, 32]}, {"y": [1, 16, 32, 4]}, opset)


def label_ids(model: onnx.ModelProto, context: Any) -> np.ndarray[Any, Any]:
    decoder = ArgmaxDecoder(context.manifest.model_copy(update={"output": context.output}))
    return decoder.label_ids(run_frame(model, SPEC))


def transposed_segmenter(perm: list[int]) -> onnx.ModelProto:
    """Return scores, transposed for Softmax over the last axis and back, as exporters write it."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "scores", pads=[1] * 4),
        helper.make_node("Transpose", ["c"], ["t"], "there", perm=perm),
        helper.make_node("Softmax", ["t"], ["s"], "softmax", axis=3),
        helper.make_node("Transpose", ["s"], ["y"], "back", perm=perm),
    ]
    weights = {"w": noise((4, 3, 3, 3), scale=3.0)}
    return make_graph(nodes, weights, {"x": [1, 3, 16, 32]}, {"y": [1, 4, 16, 32]}, 11)


NCHW = OutputSpec(decoder="argmax", options={"layout": "NCHW", "output": "y"})


def test_a_softmax_between_two_transpositions_is_removed_with_them(tmp_path: Path) -> None:
    """Below opset 13 exporters put the classes last for Softmax, which flattens what follows its axis."""
    model = transposed_segmenter([0, 3, 2, 1])
    context = context_for(model, tmp_path, SPEC, output=NCHW)
    before = label_ids(model, context)

    after = TrimOutput({"argmax": "drop_softmax"}).apply(model, context)

    assert [node.op_type for node in after.graph.node] == ["Conv"]
    assert context.output.options["layout"] == "NCHW"
    np.testing.assert_array_equal(label_ids(after, context), before)


def test_a_softmax_over_another_axis_between_transpositions_stays(tmp_path: Path) -> None:
    model = transposed_segmenter([0, 1, 3, 2])
    with pytest.raises(ModelFileError, match="nothing to drop"):
        TrimOutput({"argmax": "drop_softmax"}).apply(model, context_for(model, tmp_path, SPEC, output=NCHW))


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize(
    ("argmax", "operators", "layout"),
    [
        ("drop_softmax", ["Conv", "Resize"], "NCHW"),
        ("in_graph", ["Conv", "Resize", "ArgMax", "Cast"], "LABELS"),
    ],
)
def test_labels_stay_without_softmax_and_layout_change(
    tmp_path: Path, opset: int, argmax: str, operators: list[str], layout: str
) -> None:
    model = segmenter(opset)
    context = context_for(model, tmp_path, SPEC, output=NHWC)
    before = label_ids(model, context)

    after = TrimOutput({"argmax": argmax}).apply(model, context)

    assert [node.op_type for node in after.graph.node] == operators
    assert context.output.options == {"layout": layout, "output": "y"}
    np.testing.assert_array_equal(label_ids(after, context), before)
    assert len(np.unique(before)) > 1  # more than one label, so that the comparison is meaningful


def test_label_ids_are_bytes(tmp_path: Path) -> None:
    model = segmenter()
    after = TrimOutput({"argmax": "in_graph"}).apply(model, context_for(model, tmp_path, SPEC, output=NHWC))
    assert after.graph.output[0].type.tensor_type.elem_type == TensorProto.UINT8


def test_coarse_scores_end_before_the_upsampling(tmp_path: Path) -> None:
    model = segmenter()
    context = context_for(model, tmp_path, SPEC, output=NHWC)

    after = TrimOutput({"argmax": "coarse"}).apply(model, context)

    assert [node.op_type for node in after.graph.node] == ["Conv"]
    assert label_ids(after, context).shape == (8, 16)
    assert 0.0 < context.notes["labels_differing_share"] < 0.5


def test_a_sigmoid_for_each_class_keeps_the_order_too(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "scores"),
        helper.make_node("Sigmoid", ["c"], ["y"], "sigmoid"),
    ]
    model = make_graph(nodes, {"w": noise((4, 3, 1, 1))}, {"x": [1, 3, 16, 32]}, {"y": [1, 4, 16, 32]})
    context = context_for(model, tmp_path, SPEC)

    after = TrimOutput().apply(model, context)

    assert [node.op_type for node in after.graph.node] == ["Conv"]
    assert context.notes["dropped"] == ["Sigmoid 'sigmoid'"]


def test_a_softmax_over_another_axis_stays(tmp_path: Path) -> None:
    # Over the width it changes the argmax of a pixel.
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "scores"),
        helper.make_node("Softmax", ["c"], ["y"], "along_width", axis=3),
    ]
    model = make_graph(nodes, {"w": noise((4, 3, 1, 1))}, {"x": [1, 3, 16, 32]}, {"y": [1, 4, 16, 32]})
    with pytest.raises(
        ModelFileError, match="nothing to drop: the output 'y' comes from Softmax 'along_width'"
    ):
        TrimOutput().apply(model, context_for(model, tmp_path, SPEC))


def test_scores_that_are_used_elsewhere_stay_where_they_are(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "scores"),
        helper.make_node("Softmax", ["c"], ["y"], "softmax", axis=1),
        helper.make_node("ReduceMax", ["y"], ["confidence"], axes=[1], keepdims=1),
    ]
    model = make_graph(
        nodes,
        {"w": noise((4, 3, 1, 1))},
        {"x": [1, 3, 16, 32]},
        {"y": [1, 4, 16, 32], "confidence": [1, 1, 16, 32]},
    )
    named = OutputSpec(decoder="argmax", options={"output": "y"})
    with pytest.raises(ModelFileError, match="nothing to drop"):
        TrimOutput().apply(model, context_for(model, tmp_path, SPEC, output=named))


def test_without_an_upsampling_coarse_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "scores"),
        helper.make_node("Softmax", ["c"], ["y"], "softmax", axis=1),
    ]
    model = make_graph(nodes, {"w": noise((4, 3, 1, 1))}, {"x": [1, 3, 16, 32]}, {"y": [1, 4, 16, 32]})
    with pytest.raises(ModelFileError, match="no final upsampling"):
        TrimOutput({"argmax": "coarse"}).apply(model, context_for(model, tmp_path, SPEC))


def test_a_detector_is_refused(tmp_path: Path) -> None:
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")
    with pytest.raises(ManifestError, match="'yolox' needs the scores themselves"):
        TrimOutput().apply(model, context)
