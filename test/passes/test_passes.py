# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Each pass on graphs of a few operators: changes, invariants and refused graphs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.analysis.processor import multiplies_bfloat16, saturates_u8s8
from ad_compressed_perception.compression.passes.graph.optimize import InferShapes, Simplify, UpgradeOpset
from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8
from ad_compressed_perception.core.errors import AdcpError, ModelFileError, RecipeError
from ad_compressed_perception.core.host import HostInfo, read_host
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.io import is_quantized, opset_of
from support.compression import NO_VNNI, VNNI, model_and_context
from support.models import write_detector, write_planner, write_segmenter


def tensors(model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_upgrade_raises_opset_and_file_version_and_keeps_the_numbers(tmp_path: Path) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "m", opset=11), tmp_path / "s")
    model.ir_version = 6
    feed = next(context.feeds())
    before = run_model(model, feed)
    after = UpgradeOpset({"to": 13}).apply(model, context)
    assert opset_of(after) == 13
    assert after.ir_version >= 7  # the minimum for opset 13
    np.testing.assert_allclose(run_model(after, feed)["scores"], before["scores"], atol=1e-4)


def test_upgrade_leaves_a_later_opset_alone(tmp_path: Path) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "m", opset=17), tmp_path / "s")
    assert opset_of(UpgradeOpset().apply(model, context)) == 17


def test_upgrade_names_the_operator_that_cannot_be_converted(tmp_path: Path) -> None:
    _, context = model_and_context(write_planner(tmp_path / "m"), tmp_path / "s")
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "fine"),
        helper.make_node("Upsample", ["a", "scales"], ["y"], "old_upsample"),  # opset 8 had an attribute
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, [1, 1, 2, 2]), value("scales", TensorProto.FLOAT, [4])],
        [value("y", TensorProto.FLOAT, [1, 1, 4, 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)])
    with pytest.raises(ModelFileError, match=r"Upsample \(node 'old_upsample'\)") as caught:
        UpgradeOpset().apply(model, context)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize(("operator", "opset"), [("Upsample", 9), ("Resize", 10)])
def test_upgrade_keeps_the_sampling_of_old_resizes(
    tmp_path: Path, operator: str, opset: int, mode: str
) -> None:
    """Exactly: they sample at x / scale, a later Resize at (x + 0.5) / scale - 0.5."""
    _, context = model_and_context(write_planner(tmp_path / "m"), tmp_path / "s")
    value = helper.make_tensor_value_info
    scales = numpy_helper.from_array(
        np.array([1, 1, 2.5, 2], np.float32), "scales"
    )  # 2.5: not a whole number of pixels
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "scales"], ["y"], "enlarge", mode=mode)],
        "g",
        [value("x", TensorProto.FLOAT, [1, 1, 4, 4])],
        [value("y", TensorProto.FLOAT, [1, 1, 10, 8])],
        [scales],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=6)
    feed = {"x": np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)}
    before = run_model(model, feed)["y"]
    context.feeds = lambda: iter([feed])
    after = UpgradeOpset().apply(model, context)
    assert context.notes["kept_sampling"] == 1
    np.testing.assert_array_equal(run_model(after, feed)["y"], before)


def test_infer_shapes_pins_a_dynamic_batch_to_the_manifest(tmp_path: Path) -> None:
    model, context = model_and_context(write_planner(tmp_path / "m"), tmp_path / "s")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    after = InferShapes().apply(model, context)
    assert [d.dim_value for d in after.graph.input[0].type.tensor_type.shape.dim] == [1, 1, 32, 32]
    assert context.notes["pinned"] == ["batch=1"]
    assert context.notes["tensors_of_unknown_shape"] == 0


def test_infer_shapes_refuses_another_size_than_the_manifest_s(tmp_path: Path) -> None:
    model, context = model_and_context(write_planner(tmp_path / "m"), tmp_path / "s")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 48
    with pytest.raises(ModelFileError, match=r"\[1, 1, 48, 32\].*\[1, 1, 32, 32\]"):
        InferShapes().apply(model, context)


def test_infer_shapes_refuses_an_input_of_unknown_rank(tmp_path: Path) -> None:
    model, context = model_and_context(write_planner(tmp_path / "m"), tmp_path / "s")
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ModelFileError, match="unknown number of dimensions"):
        InferShapes().apply(model, context)


def test_simplify_folds_what_is_constant_and_zeroes_denormals(tmp_path: Path) -> None:
    model, context = model_and_context(write_planner(tmp_path / "m"), tmp_path / "s")
    # The first kernel becomes the sum of two constants, one of them with a number below 1.2e-38.
    kernel = next(t for t in model.graph.initializer if t.name == "first_w")
    values = numpy_helper.to_array(kernel).copy()
    kernel.CopyFrom(numpy_helper.from_array(values, "first_half"))
    other = np.zeros_like(values)
    other[0, 0, 0, 0] = np.float32(1e-40)
    model.graph.initializer.append(numpy_helper.from_array(other, "second_half"))
    model.graph.node.insert(0, helper.make_node("Add", ["first_half", "second_half"], ["first_w"], "sum"))
    feed = next(context.feeds())
    before = run_model(model, feed)
    nodes = len(model.graph.node)
    after = Simplify().apply(model, context)
    assert len(after.graph.node) < nodes
    assert context.notes["denormal_weights_zeroed"] == 1
    np.testing.assert_allclose(run_model(after, feed)["steering"], before["steering"], atol=1e-6)


def test_simplify_refuses_a_quantized_graph(tmp_path: Path) -> None:
    model, context = model_and_context(write_planner(tmp_path / "m"), tmp_path / "s")
    quantized = QuantizeInt8().apply(model, context)
    with pytest.raises(RecipeError, match="before quantization"):
        Simplify().apply(quantized, context)


@pytest.mark.parametrize("calibration", ["minmax", "percentile", "entropy"])
def test_quantized_weights_follow_the_formula(tmp_path: Path, calibration: str) -> None:
    """Per output channel: scale = max|w| / 127, q = round(w / scale), zero point 0."""
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")
    float_weights = tensors(model)["smooth_w"]
    quantized = QuantizeInt8({"calibration": calibration}).apply(model, context)
    assert is_quantized(quantized)
    found = tensors(quantized)
    scale = np.abs(float_weights).max(axis=(1, 2, 3)) / 127.0
    np.testing.assert_allclose(found["smooth_w_scale"], scale, rtol=1e-6)
    assert not found["smooth_w_zero_point"].any()
    expected = np.rint(float_weights / scale[:, None, None, None])
    np.testing.assert_array_equal(found["smooth_w_quantized"], expected)
    assert found["smooth_w_quantized"].dtype == np.int8
    zero_points = {name: value.dtype for name, value in found.items() if name == "images_zero_point"}
    assert zero_points == {"images_zero_point": np.dtype(np.uint8)}  # activations are unsigned


def test_an_activation_s_scale_spans_what_was_seen_and_zero(tmp_path: Path) -> None:
    """Scale = (max(x, 0) - min(x, 0)) / 255, zero point = round(-min / scale)."""
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")
    seen = np.stack([feed["images"] for feed in context.feeds()])
    found = tensors(QuantizeInt8().apply(model, context))
    np.testing.assert_allclose(found["images_scale"], seen.max() / 255.0, rtol=1e-6)
    assert found["images_zero_point"] == 0


@pytest.mark.parametrize(("host", "largest"), [(VNNI, 127), (NO_VNNI, 64)])
def test_weights_have_seven_bits_where_sums_would_saturate(
    tmp_path: Path, host: HostInfo, largest: int
) -> None:
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s", host)
    found = tensors(QuantizeInt8().apply(model, context))
    assert int(np.abs(found["smooth_w_quantized"].astype(int)).max()) == largest
    assert context.notes["reduce_range"] is (host is NO_VNNI)


def test_excluded_nodes_stay_float(tmp_path: Path) -> None:
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")
    quantized = QuantizeInt8({"exclude": ["head*"]}).apply(model, context)
    kinds = Counter(node.op_type for node in quantized.graph.node)
    assert kinds["Conv"] == 4
    weights = tensors(quantized)
    assert "smooth_w_quantized" in weights
    assert "head_w_8" in weights  # its float weights are still there
    assert sorted(context.notes["excluded_nodes"]) == ["head_16", "head_32", "head_8"]


@pytest.mark.parametrize(
    ("options", "words"),
    [({"exclude": ["haed*"]}, "no node is called 'haed"), ({"operators": ["Cnov"]}, "cannot quantize Cnov")],
)
def test_options_that_match_nothing_are_refused(tmp_path: Path, options: Any, words: str) -> None:
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")
    with pytest.raises(RecipeError, match=words):
        QuantizeInt8(options).apply(model, context)


def test_quantizing_twice_is_refused(tmp_path: Path) -> None:
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")
    quantized = QuantizeInt8().apply(model, context)
    with pytest.raises(ModelFileError, match="quantized already"):
        QuantizeInt8().apply(quantized, context)


def test_an_old_opset_names_the_missing_pass(tmp_path: Path) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "m", opset=11), tmp_path / "s")
    with pytest.raises(RecipeError, match="upgrade_opset"):
        QuantizeInt8().apply(model, context)


def test_infinite_activations_have_no_scale(tmp_path: Path) -> None:
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")
    context.feeds = lambda: iter([{"images": np.full((1, 3, 64, 64), 1e38, np.float32)}] * 4)
    kernel = next(t for t in model.graph.initializer if t.name == "smooth_w")
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel) * 1e3, "smooth_w"))
    with pytest.raises(AdcpError, match="not finite"):
        QuantizeInt8().apply(model, context)


def test_the_host_is_parsed_from_cpuinfo(tmp_path: Path) -> None:
    text = "model name\t: Some CPU\nflags\t\t: fpu avx2 avx512_vnni amx_int8\n"
    (tmp_path / "cpuinfo").write_text(text, encoding="utf-8")
    host = read_host(tmp_path / "cpuinfo")
    assert (host.cpu, host.isa) == ("Some CPU", ("amx_int8", "avx2", "avx512_vnni"))
    assert not saturates_u8s8(VNNI)
    assert saturates_u8s8(NO_VNNI)
    assert not saturates_u8s8(HostInfo("aarch64", "", ()))  # its dot products add in 32 bits
    assert saturates_u8s8(HostInfo("x86_64", "", ()))  # unknown features: assume saturation


def test_a_pass_may_calibrate_on_fewer_frames_evenly_spaced(tmp_path: Path) -> None:
    """Of ten frames three: the middles of thirds, floor((2 k + 1) 10 / 6)."""
    _, context = model_and_context(write_planner(tmp_path / "m"), tmp_path / "scratch")
    ten = replace(context, frames=10, feeds=lambda: iter({"x": np.array([n])} for n in range(10)))

    few = ten.with_frames(3)

    assert few.frames == 3
    assert [int(feeds["x"][0]) for feeds in few.feeds()] == [1, 5, 8]
    assert few.notes is ten.notes
    assert ten.with_frames(20) is ten


def test_bfloat16_needs_processor_support() -> None:
    assert multiplies_bfloat16(HostInfo("x86_64", "", ("avx512_bf16", "avx512f")))
    assert multiplies_bfloat16(HostInfo("aarch64", "", ("asimd", "bf16")))
    assert not multiplies_bfloat16(HostInfo("x86_64", "", ("avx2", "avx512f", "avx512_vnni")))
