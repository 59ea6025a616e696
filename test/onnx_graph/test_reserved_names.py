# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Graphs whose names the tools would use a second time are quantized and cast to valid graphs."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.compression.passes.quantization.cast_float16 import CastFloat16
from ad_compressed_perception.compression.passes.quantization.quantize_dynamic_matmul import (
    QuantizeDynamicMatmul,
)
from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.reserved_names import ReservedNames
from ad_compressed_perception.onnx_graph.subgraphs import rename_tensors
from support.compression import model_and_context
from support.models import write_segmenter

INNER = ["b20", "b2_quantized", "c1_scale", "c1_QuantizeLinear_Output", "scores_zero_point", "image_scale"]


def clashing(inner: str, *, shared_bias: bool) -> onnx.ModelProto:
    """Return three convolutions whose first activation has a given name; two may share a bias ``b2``."""
    rng = np.random.default_rng(4)
    shapes = {"w1": (4, 3, 3, 3), "w2": (4, 4, 3, 3), "w3": (4, 4, 1, 1), "b1": (4,), "b2": (4,), "b3": (4,)}
    weights = [
        numpy_helper.from_array(rng.normal(0.0, 0.3, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    conv = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b2" if shared_bias else "b1"], ["c1"], "c1", **conv),
        helper.make_node("Relu", ["c1"], [inner], "r1"),
        helper.make_node("Conv", [inner, "w2", "b2"], ["c2"], "c2", **conv),
        helper.make_node("Relu", ["c2"], ["r2"], "r2"),
        helper.make_node("Conv", ["r2", "w3", "b3"], ["scores"], "head"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("image", TensorProto.FLOAT, [1, 3, 48, 64])],
        [value("scores", TensorProto.FLOAT, [1, 4, 48, 64])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize("shared_bias", [True, False])
@pytest.mark.parametrize("inner", INNER)
def test_no_name_is_given_twice(tmp_path: Path, inner: str, shared_bias: bool) -> None:
    _, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    feeds = next(context.feeds())
    expected = run_model(clashing(inner, shared_bias=shared_bias), feeds)["scores"]

    quantized = QuantizeInt8({}).apply(clashing(inner, shared_bias=shared_bias), context)

    onnx.checker.check_model(quantized, full_check=True)
    assert [output.name for output in quantized.graph.output] == ["scores"]
    found = run_model(quantized, feeds)["scores"]
    # Eight bits: an error of a percent of the range.
    assert np.abs(found - expected).max() < 0.05 * np.ptp(expected)


@pytest.mark.parametrize(
    "inner", ["x_quantized", "x_scale", "w_scale", "y_output_quantized", "y_MatMul", "w_Transposed"]
)
def test_dynamic_quantization_gives_no_name_twice_either(tmp_path: Path, inner: str) -> None:
    rng = np.random.default_rng(4)
    weights = {
        "w": rng.normal(0.0, 0.3, (8, 8)),
        "b": rng.normal(0.0, 0.3, 8),
        "w2": rng.normal(0.0, 0.3, (8, 4)),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["y"], "first", transB=1),
        helper.make_node("Relu", ["y"], [inner], "relu"),
        helper.make_node("MatMul", [inner, "w2"], ["z"], "second"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, [2, 8])],
        [value("z", TensorProto.FLOAT, [2, 4])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    feeds = {"x": rng.normal(0.0, 1.0, (2, 8)).astype(np.float32)}
    expected = run_model(model, feeds)["z"]
    _, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")

    quantized = QuantizeDynamicMatmul({}).apply(model, context)

    assert np.abs(run_model(quantized, feeds)["z"] - expected).max() < 0.05 * np.ptp(expected)


# What names are made of: those of the graph, the endings that the tools append, and other alphabets.
PARTS = st.sampled_from(
    [
        *("image", "scores", "c1", "w1", "b2", "_t0.", "_t1.", "0", "1", "/", ":", " ", "%", "ß", "画", "."),
        *("_scale", "_zero_point", "_quantized", "_QuantizeLinear", "_QuantizeLinear_Output", "_bias"),
        *("_QuantizeLinear_Input", "_DequantizeLinear", "_DequantizeLinear_Output", "_ReduceMax", "_cast"),
    ]
)
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("".join)


def with_names(tensors: list[str], nodes: list[str]) -> onnx.ModelProto:
    """Return ``clashing`` with other names: of weights, inner tensors and the output, and of the nodes."""
    model = clashing("r1", shared_bias=True)
    own = sorted(ReservedNames(clashing("r1", shared_bias=True)).new)
    table = dict(zip(own, tensors, strict=True))
    rename_tensors(model.graph, table)
    for node, name in zip(model.graph.node, nodes, strict=True):
        node.name = name
    return model


@settings(max_examples=25, deadline=None)
@given(
    tensors=st.lists(NAMES, min_size=12, max_size=12, unique=True),
    nodes=st.lists(NAMES, min_size=5, max_size=5, unique=True),
    operator=st.sampled_from(["int8", "float16"]),
)
def test_any_names_are_kept_and_none_is_given_twice(
    tensors: list[str], nodes: list[str], operator: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, context = model_and_context(write_segmenter(folder / "m"), folder / "s")
        model = with_names(tensors, nodes)
        image, scores = model.graph.input[0].name, model.graph.output[0].name
        frames = [{image: next(iter(feeds.values()))} for feeds in context.feeds()]
        context = replace(context, feeds=lambda: iter(frames))
        expected = run_model(model, frames[0])[scores]

        made = (CastFloat16 if operator == "float16" else QuantizeInt8)({}).apply(model, context)

        onnx.checker.check_model(made, full_check=True)
        assert [v.name for v in (*made.graph.input, *made.graph.output)] == [image, scores]
        produced = [name for node in made.graph.node for name in node.output]
        produced += [tensor.name for tensor in made.graph.initializer]
        assert len(produced) == len(set(produced))
        found = run_model(made, frames[0])[scores]
        assert np.abs(found - expected).max() < 0.05 * np.ptp(expected)


def test_what_a_tool_made_is_called_after_its_tensor_or_by_a_number_more() -> None:
    model = clashing("c1_scale", shared_bias=False)
    names = ReservedNames(model)
    for end in ("_scale", "_zero_point"):
        model.graph.initializer.append(
            numpy_helper.from_array(np.zeros(1, np.float32), f"{names.new['c1']}{end}")
        )
    names.restore(model)
    assert [tensor.name for tensor in model.graph.initializer][-2:] == ["c1_scale_2", "c1_zero_point"]
    assert model.graph.node[1].output[0] == "c1_scale"
    assert names.readable("no scale for '_t0.' and '_t99'").startswith("no scale for 'b1'")
