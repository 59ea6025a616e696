# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mixed-precision graphs: single tensors of a quantized graph back in float, checked by their outputs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.io import is_quantized
from ad_compressed_perception.onnx_graph.qdq import QdqGraph
from support.models import write_detector, write_segmenter
from support.qdq import quantize


def scale_of(graph: QdqGraph, tensor: str) -> float:
    """Return the scale of an activation, as the quantized graph stores it."""
    stored = {weight.name: numpy_helper.to_array(weight) for weight in graph.quantized.graph.initializer}
    return float(stored[f"{tensor}_scale"])


def test_lists_quantized_tensors_without_biases(tmp_path: Path) -> None:
    graph, _ = quantize(write_segmenter(tmp_path / "m"), tmp_path / "s")
    listed = [(tensor.name, tensor.kind, tensor.operator) for tensor in graph.tensors()]
    # The range of the first convolution's output begins at 0, which replaces its ReLU.
    assert listed == [
        ("image", "activation", "input"),
        ("smooth_w", "weights", "Conv"),
        ("features", "activation", "Relu"),
        ("scores", "activation", "Conv"),
        ("head_w", "weights", "Conv"),
    ]


def test_everything_back_in_float_computes_what_the_float_graph_does(tmp_path: Path) -> None:
    graph, feeds = quantize(write_segmenter(tmp_path / "m"), tmp_path / "s")
    restored = graph.with_float([tensor.name for tensor in graph.tensors()])
    assert not is_quantized(restored)
    # The ReLU that the quantizer had removed is back.
    assert Counter(node.op_type for node in restored.graph.node) == {"Conv": 2, "Relu": 1}
    np.testing.assert_array_equal(
        run_model(restored, feeds)["scores"], run_model(graph.floating, feeds)["scores"]
    )


def test_nothing_in_float_computes_what_the_quantized_graph_does(tmp_path: Path) -> None:
    graph, feeds = quantize(write_detector(tmp_path / "m"), tmp_path / "s")
    np.testing.assert_array_equal(
        run_model(graph.with_float([]), feeds)["output"], run_model(graph.quantized, feeds)["output"]
    )


def test_one_tensor_alone_is_rounded_to_its_own_step(tmp_path: Path) -> None:
    graph, feeds = quantize(write_segmenter(tmp_path / "m"), tmp_path / "s")
    exact = run_model(graph.floating, feeds)["scores"]
    # The output alone: each number moves to the nearest multiple of the step, at most half a step.
    rounded = run_model(graph.only("scores"), feeds)["scores"]
    step = scale_of(graph, "scores")
    assert 0.0 < np.abs(rounded - exact).max() <= step / 2 * 1.001
    np.testing.assert_allclose(rounded / step, np.rint(rounded / step), atol=1e-3)
    # The head passes each color through with weight 1, so rounding of the input appears in the output.
    moved = np.abs(run_model(graph.only("features"), feeds)["scores"] - exact).max()
    assert 0.0 < moved <= scale_of(graph, "features") / 2 * 1.001


def test_a_compute_op_with_a_float_operand_gets_its_float_weights_back(tmp_path: Path) -> None:
    graph, feeds = quantize(write_segmenter(tmp_path / "m"), tmp_path / "s")
    assert graph.float_compute_ops([]) == []
    # Between the two convolutions: neither can run on integers then, so nothing else is quantized either.
    assert graph.float_compute_ops(["features"]) == ["smooth", "head"]
    assert not is_quantized(graph.with_float(["features"]))
    # After the second one: the first convolution stays on integers.
    assert graph.float_compute_ops(["scores"]) == ["head"]
    mixed = graph.with_float(["scores"])
    weights = {tensor.name for tensor in mixed.graph.initializer}
    assert "head_w" in weights and "smooth_w" not in weights
    error = np.abs(run_model(mixed, feeds)["scores"] - run_model(graph.floating, feeds)["scores"]).max()
    assert error <= scale_of(graph, "features") + scale_of(graph, "image")


def test_names_the_tensor_after_a_pair(tmp_path: Path) -> None:
    graph, _ = quantize(write_detector(tmp_path / "m"), tmp_path / "s")
    name = graph.after(graph.quantized, "head_8")
    producer = next(node for node in graph.quantized.graph.node if name in node.output)
    assert producer.op_type == "DequantizeLinear"
    assert graph.after(graph.floating, "head_8") == "head_8"


def test_refuses_a_graph_that_lost_an_operator(tmp_path: Path) -> None:
    graph, _ = quantize(write_segmenter(tmp_path / "m"), tmp_path / "s")
    other = onnx.ModelProto()
    other.CopyFrom(graph.quantized)
    for node in other.graph.node:
        if node.name == "head":
            node.name = "renamed"
    with pytest.raises(ModelFileError, match=r"lost operator Conv \(head\)"):
        QdqGraph(graph.floating, other)
