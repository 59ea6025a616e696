# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""16-bit activations, 8-bit weights, dynamic matrix products and half precision, against their formulas."""

from __future__ import annotations

import importlib.util
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.compression.passes.graph.optimize import UpgradeOpset
from ad_compressed_perception.compression.passes.quantization.cast_float16 import CastFloat16
from ad_compressed_perception.compression.passes.quantization.quantize_dynamic_matmul import (
    QuantizeDynamicMatmul,
)
from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8, QuantizeInt16
from ad_compressed_perception.compression.passes.quantization.quantize_weights import QuantizeWeights
from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.io import finish_model, is_quantized
from ad_compressed_perception.onnx_graph.stored_weights import quantize_channels
from ad_compressed_perception.pass_api.passes import Pass, PassContext
from support.compression import NO_VNNI, VNNI, model_and_context
from support.models import write_segmenter

NEEDS_OPENVINO = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="the extra [openvino] is not installed"
)
Array = NDArray[Any]
RNG = np.random.default_rng(7)


def weights_of(model: onnx.ModelProto) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def by_definition(model: onnx.ModelProto, feeds: dict[str, Array]) -> Array:
    """Run a graph as ONNX defines it, operator by operator: a runtime may fuse and round otherwise."""
    later = onnx.ModelProto()
    later.CopyFrom(model)
    # The evaluator knows DequantizeLinear from opset 19 on; for int8 it is what it was in 13.
    later.opset_import[0].version = 19
    return np.asarray(ReferenceEvaluator(later).run(None, feeds)[0])


def context_of(tmp_path: Path, feeds: Array | None = None) -> PassContext:
    """Return a context; with ``feeds``, its one calibration frame is input "x"."""
    _, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    if feeds is None:
        return context
    return replace(context, feeds=lambda: iter([{"x": feeds}]), frames=1)


def graph_of(
    nodes: list[onnx.NodeProto], weights: dict[str, Array], inputs: list[int], outputs: list[int]
) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, inputs)],
        [value("y", TensorProto.FLOAT, outputs)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def dense(rows: int = 24, columns: int = 16, *, transposed: bool = False) -> onnx.ModelProto:
    """Return ``y = x w + b`` as a Gemm, with columns of very different size."""
    weights = RNG.normal(0.0, 1.0, (rows, columns)) * np.geomspace(0.01, 10.0, columns)
    stored = (weights.T if transposed else weights).astype(np.float32)
    bias = RNG.normal(0.0, 1.0, columns).astype(np.float32)
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], "dense", transB=int(transposed))
    return graph_of([node], {"w": stored, "b": bias}, [1, rows], [1, columns])


def dense_like(weights: dict[str, Array], transposed: bool) -> onnx.ModelProto:
    """Return that graph with given weights."""
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], "dense", transB=int(transposed))
    return graph_of([node], weights, [1, 24], [1, 16])


# 16-bit activations


def test_int16_steps_are_257_times_finer(tmp_path: Path) -> None:
    scales, errors = {}, {}
    for name, step in (("int8", QuantizeInt8({"exclude": []})), ("int16", QuantizeInt16())):
        model, context = model_and_context(write_segmenter(tmp_path / name), tmp_path / f"{name}_scratch")
        feeds = next(context.feeds())
        exact = run_model(model, feeds)["scores"]
        quantized = step.apply(model, context)
        scales[name] = float(weights_of(quantized)["scores_scale"])
        errors[name] = float(np.abs(run_model(quantized, feeds)["scores"] - exact).max())
    # (2^16 - 1) / (2^8 - 1) = 257: two more digits, until the weights' own rounding shows.
    assert scales["int8"] / scales["int16"] == pytest.approx(257.0, rel=1e-5)
    assert errors["int16"] < errors["int8"] / 50


def test_int16_writes_standard_operators_from_opset_21_on(tmp_path: Path) -> None:
    for opset, domain in ((13, "com.microsoft"), (21, "")):
        model, context = model_and_context(write_segmenter(tmp_path / f"m{opset}"), tmp_path / f"s{opset}")
        model = UpgradeOpset({"to": opset}).apply(model, context)
        quantized = QuantizeInt16().apply(model, context)
        pairs = [node for node in quantized.graph.node if node.op_type == "QuantizeLinear"]
        assert {node.domain for node in pairs} == {domain}
        zero_points = weights_of(quantized)
        assert zero_points["scores_zero_point"].dtype == np.uint16
        assert zero_points["head_w_quantized"].dtype == np.int8


# 8-bit weights


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 1), st.integers(0, 1000), st.floats(-30.0, 30.0))
def test_weights_err_by_half_a_step_of_their_channel(
    rows: int, columns: int, axis: int, seed: int, exponent: float
) -> None:
    values = (np.random.default_rng(seed).normal(0.0, 1.0, (rows, columns)) * 10.0**exponent).astype(
        np.float32
    )
    numbers, scales = quantize_channels(values, axis)
    wide = scales.astype(np.float64).reshape((-1, 1) if axis == 0 else (1, -1))
    assert np.all(np.abs(numbers * wide - values) <= wide * (0.5 + 1e-4))
    # Symmetric: -128 is not used, and each channel's peak is 127.
    assert np.all(np.abs(numbers.astype(int)).max(axis=1 - axis) == 127)


def test_a_channel_of_zeros_stays_zeros() -> None:
    numbers, scales = quantize_channels(np.zeros((2, 3), np.float32), 0)
    assert not numbers.any() and np.all(scales == 1.0)


@pytest.mark.parametrize("transposed", [False, True])
def test_stored_weights_are_the_rounded_ones_column_by_column(tmp_path: Path, transposed: bool) -> None:
    model = dense(transposed=transposed)
    before = weights_of(model)
    context = context_of(tmp_path)
    after = QuantizeWeights().apply(model, context)
    axis = 0 if transposed else 1
    scales = np.abs(before["w"]).max(axis=1 - axis, keepdims=True) / np.float32(127.0)
    expected = np.rint(before["w"] / scales) * scales
    x = RNG.normal(0.0, 1.0, (1, 24)).astype(np.float32)
    matrix = expected.T if transposed else expected
    np.testing.assert_allclose(by_definition(after, {"x": x}), x @ matrix + before["b"], rtol=1e-4, atol=1e-4)
    # ONNX Runtime may round the left side to 8 bits too.
    exact = run_model(dense_like(before, transposed), {"x": x})["y"]
    assert np.abs(run_model(after, {"x": x})["y"] - exact).max() < 0.03 * np.abs(exact).max()
    assert weights_of(after)["w_int8"].dtype == np.int8
    # Uniform noise of a step s is s^2/12; weights are normal with peaks of about two deviations in 24.
    assert 35.0 < context.notes["weight_sqnr_db"] < 50.0


def test_convolutions_and_recurrent_weights_are_stored_and_small_ones_left(tmp_path: Path) -> None:
    hidden, wide = 16, 32
    nodes = [helper.make_node("GRU", ["x", "w", "r"], ["", "h"], "gru", hidden_size=hidden)]
    nodes.append(helper.make_node("Squeeze", ["h", "axis"], ["flat"], "squeeze"))
    nodes.append(helper.make_node("MatMul", ["flat", "small"], ["y"], "matmul"))
    weights = {
        "w": RNG.normal(0, 0.3, (1, 3 * hidden, wide)).astype(np.float32),
        "r": RNG.normal(0, 0.3, (1, 3 * hidden, hidden)).astype(np.float32),
        "small": RNG.normal(0, 1, (hidden, 2)).astype(np.float32),
        "axis": np.array([0], np.int64),
    }
    model = graph_of(nodes, weights, [5, 1, wide], [1, 2])
    x = RNG.normal(0, 1, (5, 1, wide)).astype(np.float32)
    exact = run_model(model, {"x": x})["y"]
    context = context_of(tmp_path)
    after = QuantizeWeights({"min_elements": 256}).apply(model, context)
    assert context.notes["stored_tensors"] == 2
    assert {"w_int8", "r_int8", "small"} <= set(weights_of(after))
    assert after.ByteSize() < 0.4 * (3 * hidden * (wide + hidden) + 2 * hidden) * 4
    np.testing.assert_allclose(run_model(after, {"x": x})["y"], exact, atol=0.02)


def test_a_weight_used_in_two_ways_stays_in_float(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "as_columns"),
        helper.make_node("Gemm", ["a", "w"], ["y"], "as_rows", transB=1),
    ]
    model = graph_of(nodes, {"w": np.eye(16, dtype=np.float32)}, [1, 16], [1, 16])
    with pytest.raises(ModelFileError, match="nothing to quantize"):
        QuantizeWeights().apply(model, context_of(tmp_path))


# Dynamic matrix products


def dynamic_reference(x: Array, weights: Array, bias: Array) -> Array:
    """Return the product as ONNX defines DynamicQuantizeLinear and MatMulInteger, in exact integers."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    scale = np.float32((high - low) / 255.0)
    zero = np.clip(np.rint(-low / scale), 0, 255)
    left = np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.int64) - int(zero)
    steps = np.abs(weights).max(axis=0) / np.float32(127.0)
    right = np.clip(np.rint(weights / steps), -127, 127).astype(np.int64)
    return (left @ right) * (scale * steps) + bias


@pytest.mark.parametrize("kind", ["Gemm", "MatMul"])
def test_dynamic_product_is_the_formulas(tmp_path: Path, kind: str) -> None:
    model = dense()
    before = weights_of(model)
    bias = before["b"]
    if kind == "MatMul":
        del model.graph.node[:]
        model.graph.node.append(helper.make_node("MatMul", ["x", "w"], ["y"], "dense"))
        del model.graph.initializer[1:]
        bias = np.zeros_like(bias)
    context = context_of(tmp_path)
    after = QuantizeDynamicMatmul({"reduce_range": False}).apply(model, context)
    assert is_quantized(after)
    assert context.notes[kind.lower()] == 1
    x = RNG.normal(0.3, 2.0, (1, 24)).astype(np.float32)
    # Where a value lies on the edge between two numbers, single precision may round it the other way:
    # a number of the left operand times the largest weight.
    found = run_model(after, {"x": x})["y"]
    slack = np.abs(before["w"]).max(axis=0) * (x.max() - x.min()) / 255
    assert np.all(np.abs(found - dynamic_reference(x, before["w"], bias)) <= slack * 0.6 + 1e-4)


def test_dynamic_leaves_convolutions_alone(tmp_path: Path) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    with pytest.raises(ModelFileError, match="convolutions are for quantize_int8"):
        QuantizeDynamicMatmul().apply(model, context)


def test_dynamic_uses_7_bits_where_sums_saturate(tmp_path: Path) -> None:
    for host, largest in ((VNNI, 127), (NO_VNNI, 64)):
        context = replace(context_of(tmp_path / host.cpu), host=host)
        after = QuantizeDynamicMatmul().apply(dense(), context)
        numbers = next(
            values for values in weights_of(after).values() if values.dtype == np.int8 and values.ndim
        )
        assert context.notes["reduce_range"] == (host is NO_VNNI)
        assert np.abs(numbers.astype(int)).max() <= largest


def test_dynamic_stores_the_weights_of_a_gru(tmp_path: Path) -> None:
    hidden = 16
    weights = {
        "w": RNG.normal(0, 0.3, (1, 3 * hidden, 24)).astype(np.float32),
        "r": RNG.normal(0, 0.3, (1, 3 * hidden, hidden)).astype(np.float32),
    }
    node = helper.make_node("GRU", ["x", "w", "r"], ["", "y"], "gru", hidden_size=hidden)
    model = graph_of([node], weights, [5, 1, 24], [1, 1, hidden])
    x = RNG.normal(0, 1, (5, 1, 24)).astype(np.float32)
    exact = run_model(model, {"x": x})["y"]
    after = QuantizeDynamicMatmul().apply(model, context_of(tmp_path))
    assert Counter(node.op_type for node in after.graph.node) == {"DequantizeLinear": 2, "GRU": 1}
    np.testing.assert_allclose(run_model(after, {"x": x})["y"], exact, atol=0.02)


# Half precision


def test_half_precision_rounds_to_eleven_bits(tmp_path: Path) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    before = weights_of(model)
    feeds = next(context.feeds())
    exact = run_model(model, feeds)["scores"]
    after = CastFloat16().apply(model, context)
    assert weights_of(after)["smooth_w"].dtype == np.float16
    np.testing.assert_array_equal(weights_of(after)["smooth_w"], before["smooth_w"].astype(np.float16))
    # Inputs and outputs stay in single precision, so that the manifest holds.
    kinds = {value.type.tensor_type.elem_type for value in (*after.graph.input, *after.graph.output)}
    assert kinds == {TensorProto.FLOAT}
    found = by_definition(after, feeds)
    # Relative error 2^-11 at the input and after each of the two products, numbers up to 255.
    assert 0.0 < np.abs(found - exact).max() <= 3 * 255 * 2.0**-11
    assert context.notes["single_precision_nodes"] == []


def test_half_precision_keeps_large_activations_in_single(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "up"], ["large"], "enlarge"),
        helper.make_node("Mul", ["large", "down"], ["small"], "shrink"),
        helper.make_node("Relu", ["small"], ["y"], "relu"),
    ]
    weights = {"up": np.array([1000.0], np.float32), "down": np.array([0.001], np.float32)}
    x = np.linspace(0.0, 255.0, 16, dtype=np.float32).reshape(1, 16)
    context = context_of(tmp_path, x)
    after = CastFloat16().apply(graph_of(nodes, weights, [1, 16], [1, 16]), context)
    # 255 000 lies beyond 65504: the two operators that use it stay.
    assert context.notes["single_precision_nodes"] == ["enlarge", "shrink"]
    np.testing.assert_allclose(by_definition(after, {"x": x}), x, rtol=2.0**-10)
    np.testing.assert_allclose(run_model(after, {"x": x})["y"], x, rtol=2.0**-10)


def test_half_precision_leaves_the_sizes_of_a_resize_alone(tmp_path: Path) -> None:
    """Exporters pass an empty list, the same one, for both unused inputs of Resize."""
    node = helper.make_node("Resize", ["x", "none", "none", "sizes"], ["y"], "enlarge", mode="nearest")
    weights = {"none": np.zeros(0, np.float32), "sizes": np.array([1, 1, 4, 4], np.int64)}
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    after = CastFloat16().apply(
        graph_of([node], weights, [1, 1, 2, 2], [1, 1, 4, 4]), context_of(tmp_path, x)
    )
    np.testing.assert_array_equal(run_model(after, {"x": x})["y"], x.repeat(2, axis=2).repeat(2, axis=3))


def test_half_precision_refuses_weights_beyond_its_end(tmp_path: Path) -> None:
    model = graph_of(
        [helper.make_node("Mul", ["x", "w"], ["y"], "times")],
        {"w": np.array([7e4], np.float32)},
        [1, 4],
        [1, 4],
    )
    with pytest.raises(ModelFileError, match="'w' reaches 7e\\+04, half precision ends at 65504"):
        CastFloat16().apply(model, context_of(tmp_path))


# In the runtimes


def saved(model: onnx.ModelProto, path: Path) -> Path:
    finish_model(model, {})
    onnx.save(model, path)
    return path


def test_stored_weights_are_dequantized_once_at_loading(tmp_path: Path) -> None:
    model = dense()
    weights = weights_of(model)
    context = context_of(tmp_path)
    path = saved(QuantizeWeights().apply(model, context), tmp_path / "w8.onnx")
    session = create_backend("onnxruntime").load(path, {})
    # No operator dequantizes in a run, and the matrix product is in float: neither slower nor with rounded
    # activations.
    assert [layer.operator for layer in session.layers()] == ["Gemm"]
    assert session.info.integer_coverage == 0.0
    x = RNG.normal(0.0, 1.0, (1, 24)).astype(np.float32)
    steps = np.abs(weights["w"]).max(axis=0, keepdims=True) / np.float32(127.0)
    expected = x @ (np.rint(weights["w"] / steps) * steps) + weights["b"]
    np.testing.assert_allclose(session.infer({"x": x})["y"], expected, rtol=1e-4, atol=1e-4)


@NEEDS_OPENVINO
def test_openvino_computes_the_same_from_16_bits_as_from_floats(tmp_path: Path) -> None:
    """It removes 16-bit pairs: clipping done by them alone would be lost and negative colors return."""
    folder = write_segmenter(tmp_path / "m")
    model = onnx.load(folder / "fp32.onnx")
    for tensor in model.graph.initializer:
        if tensor.name == "smooth_w":  # a ReLU with negative inputs
            flipped = numpy_helper.to_array(tensor).copy()
            flipped[0] *= -1.0
            tensor.CopyFrom(numpy_helper.from_array(flipped, tensor.name))
    onnx.save(model, folder / "fp32.onnx")
    model, context = model_and_context(folder, tmp_path / "s")
    feeds = next(context.feeds())
    exact = run_model(model, feeds)["scores"]
    model = UpgradeOpset({"to": 21}).apply(model, context)
    path = saved(QuantizeInt16().apply(model, context), tmp_path / "int16.onnx")
    found = create_backend("openvino").load(path, {"precision": "fp32"}).infer(feeds)["scores"]
    np.testing.assert_allclose(found, exact, atol=0.5)


@NEEDS_OPENVINO
def test_openvino_loads_the_half_precision_file_with_the_same_names(tmp_path: Path) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    path = saved(CastFloat16().apply(model, context), tmp_path / "fp16.onnx")
    info = create_backend("openvino").load(path, {}).info
    assert [tensor.name for tensor in info.inputs] == ["image"]
    assert [tensor.name for tensor in info.outputs] == ["scores"]


# Errors that all of them raise


@pytest.mark.parametrize(
    "step", [QuantizeInt16(), QuantizeWeights(), QuantizeDynamicMatmul(), CastFloat16()], ids=lambda s: s.name
)
def test_none_quantizes_twice(tmp_path: Path, step: Pass) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    with pytest.raises(ModelFileError, match="quantized already"):
        step.apply(QuantizeInt8().apply(model, context), context)


@pytest.mark.parametrize(
    "step", [QuantizeInt16(), QuantizeWeights(), QuantizeDynamicMatmul()], ids=lambda s: s.name
)
def test_an_old_opset_names_the_upgrade_pass(tmp_path: Path, step: Pass) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "m", opset=11), tmp_path / "s")
    with pytest.raises(RecipeError, match=f"{step.name} needs opset 13, the model has 11: put upgrade_opset"):
        step.apply(model, context)


@pytest.mark.parametrize("step", [QuantizeWeights(), QuantizeDynamicMatmul()], ids=lambda s: s.name)
def test_names_the_weight_that_is_not_finite(tmp_path: Path, step: Pass) -> None:
    model = dense()
    values = weights_of(model)["w"].copy()
    values[0, 0] = np.inf
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "w"))
    with pytest.raises(ModelFileError, match="'w' is not finite"):
        step.apply(model, context_of(tmp_path))
