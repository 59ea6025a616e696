# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Channel equalization: the same outputs in float, lower error in 8 bits."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from ad_compressed_perception.compression.passes.quantization.equalize_channels import EqualizeChannels
from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8
from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.onnx_graph.equalization import find_equalizable
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.graph import Graph
from ad_compressed_perception.pass_api.passes import PassContext
from support.graphs import context_for, make_graph, noise

SPEC = InputSpec(width=32, height=16, scale=1 / 255)
# The last channel is a hundred times the others, which are left two of 256 steps.
SIZES = np.array([1.0, 1.5, 2.0, 150.0])


def network(activation: str, depthwise: bool = False, sizes: Any = SIZES) -> onnx.ModelProto:
    """Return conv (channels of these sizes) -> activation -> convolution with equal weights -> y."""
    if activation == "SiLU":
        middle = [
            helper.make_node("Sigmoid", ["s"], ["g"]),
            helper.make_node("Mul", ["s", "g"], ["a"], "act"),
        ]
    else:
        middle = [helper.make_node(activation, ["s"], ["a"], "act")] if activation else []
    last = "a" if middle else "s"
    group = 4 if depthwise else 1
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["s"], "first"),
        *middle,
        helper.make_node("Conv", [last, "w1"], ["y"], "second", group=group),
    ]
    sizes = np.asarray(sizes, np.float64)
    first = np.abs(noise((4, 3, 1, 1), scale=1.0)) * sizes.reshape(4, 1, 1, 1)
    second = noise((4, 4 // group, 1, 1), 1, scale=1.0)
    second = second / np.where(sizes > 0, sizes, 1.0).reshape((4, 1, 1, 1) if depthwise else (1, 4, 1, 1))
    weights = {"w0": first, "b0": 0.1 * sizes, "w1": second}
    return make_graph(nodes, weights, {"x": [1, 3, 16, 32]}, {"y": [1, 4, 16, 32]})


def context(model: onnx.ModelProto, folder: Path, backend: str = "openvino") -> PassContext:
    folder.mkdir(exist_ok=True)
    return replace(context_for(model, folder, SPEC), runtime=(backend, {}))


def spread(model: onnx.ModelProto, tensor: str, feeds: dict[str, Any]) -> float:
    """Return the largest channel of a tensor over the median one."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    copy.graph.output.append(helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    size = np.abs(run_model(copy, feeds)[tensor]).max(axis=(0, 2, 3))
    return float(size.max() / np.median(size))


def sqnr_db(exact: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    return float(10 * np.log10(np.sum(exact**2) / np.sum((exact - other) ** 2)))


def test_the_convolution_before_a_relu_is_divided(tmp_path: Path) -> None:
    model = network("Relu")
    feeds = next(context(model, tmp_path).feeds())
    before, wide = run_model(model, feeds)["y"], spread(model, "a", feeds)
    here = context(model, tmp_path, "onnxruntime")
    after = EqualizeChannels({"alpha": 1.0}).apply(model, here)

    assert Counter(node.op_type for node in after.graph.node) == {"Conv": 2, "Relu": 1}
    np.testing.assert_allclose(run_model(after, feeds)["y"], before, rtol=1e-4, atol=1e-4)
    # alpha 1: every channel has the same maximum on the calibration frames.
    assert wide > 50.0
    assert spread(after, "a", feeds) < 1.2
    assert list(here.notes["equalized"]) == ["a"]


@pytest.mark.parametrize("depthwise", [False, True])
def test_a_mul_divides_after_another_activation(tmp_path: Path, depthwise: bool) -> None:
    model = network("SiLU", depthwise)
    feeds = next(context(model, tmp_path).feeds())
    before = run_model(model, feeds)["y"]
    after = EqualizeChannels().apply(model, context(model, tmp_path))

    assert Counter(node.op_type for node in after.graph.node) == {"Conv": 2, "Sigmoid": 1, "Mul": 2}
    np.testing.assert_allclose(run_model(after, feeds)["y"], before, rtol=1e-4, atol=1e-4)


def test_no_mul_is_added_for_a_runtime_that_does_not_fuse_it(tmp_path: Path) -> None:
    """The Mul's input would need a scale there, with the original range differences."""
    model = network("SiLU")
    nodes = len(model.graph.node)
    here = context(model, tmp_path, "onnxruntime")
    after = EqualizeChannels().apply(model, here)
    assert len(after.graph.node) == nodes
    assert here.notes["left_as_runtime_merges_nothing"] == ["a"]
    assert here.notes["equalized"] == {}


@pytest.mark.parametrize("activation", ["SiLU", "Relu"])
def test_equalization_raises_the_sqnr_of_8_bits(tmp_path: Path, activation: str) -> None:
    model = network(activation)
    feeds = next(context(model, tmp_path).feeds())
    exact = run_model(model, feeds)["y"]
    plain = onnx.ModelProto.FromString(model.SerializeToString())
    plain = QuantizeInt8().apply(plain, context(plain, tmp_path / "plain"))
    equal = EqualizeChannels().apply(model, context(model, tmp_path / "e"))
    equal = QuantizeInt8().apply(equal, context(equal, tmp_path / "equal"))

    lost, kept = (sqnr_db(exact, run_model(m, feeds)["y"]) for m in (plain, equal))
    # A spread of 100 costs the small channels six to seven bits; half of its logarithm is moved.
    assert lost < 20.0
    assert kept > lost + 10.0


def test_a_small_spread_is_left_alone(tmp_path: Path) -> None:
    model = network("Relu", sizes=[1.0, 1.2, 1.5, 2.0])
    before = model.SerializeToString()
    here = context(model, tmp_path)
    assert EqualizeChannels().apply(model, here).SerializeToString() == before
    assert here.notes["equalized"] == {}


def test_a_tensor_with_other_consumers_is_not_equalized() -> None:
    """An Add, a pooling or a graph output would get the divided channels."""
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "w1"], ["b"], "second"),
        helper.make_node("Add", ["r", "b"], ["y"]),
    ]
    weights = {"w0": noise((4, 3, 1, 1)), "w1": noise((4, 4, 1, 1))}
    model = make_graph(nodes, weights, {"x": [1, 3, 16, 32]}, {"y": [1, 4, 16, 32]})
    assert find_equalizable(Graph(model)) == []


def test_a_weight_shared_with_another_convolution_stays_unchanged_there(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["s"], "first"),
        helper.make_node("Relu", ["s"], ["a"]),
        helper.make_node("Conv", ["a", "shared"], ["b"], "second"),
        helper.make_node("Sigmoid", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "shared"], ["y"], "third"),
    ]
    first = noise((4, 3, 1, 1), scale=1.0) * SIZES.reshape(4, 1, 1, 1)
    model = make_graph(
        nodes, {"w0": first, "shared": noise((4, 4, 1, 1))}, {"x": [1, 3, 16, 32]}, {"y": [1, 4, 16, 32]}
    )
    after = EqualizeChannels().apply(model, context(model, tmp_path))  # it compares the results itself
    assert "shared" in {tensor.name for tensor in after.graph.initializer}
    assert next(n for n in after.graph.node if n.name == "third").input[1] == "shared"


def test_dead_channels_and_dead_weights_divide_by_no_zero(tmp_path: Path) -> None:
    model = network("Relu", sizes=[0.0, 1.0, 1.0, 100.0])
    weight = next(t for t in model.graph.initializer if t.name == "w1")
    values = numpy_helper.to_array(weight).copy()
    values[:, 1] = 0.0
    weight.CopyFrom(numpy_helper.from_array(values, "w1"))
    after = EqualizeChannels().apply(model, context(model, tmp_path))
    for tensor in after.graph.initializer:
        assert np.isfinite(numpy_helper.to_array(tensor)).all()


def test_a_quantized_model_is_refused(tmp_path: Path) -> None:
    model = network("Relu")
    model = QuantizeInt8().apply(model, context(model, tmp_path))
    with pytest.raises(RecipeError, match="before quantization"):
        EqualizeChannels().apply(model, context(model, tmp_path))


def test_an_activation_that_is_not_finite_is_named(tmp_path: Path) -> None:
    model = network("Relu")
    bias = next(t for t in model.graph.initializer if t.name == "b0")
    bias.CopyFrom(numpy_helper.from_array(np.array([np.inf, 0, 0, 0], np.float32), "b0"))
    with pytest.raises(ModelFileError, match="'a' is not finite"):
        EqualizeChannels().apply(model, context(model, tmp_path))


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.floats(1e-3, 1e3), min_size=4, max_size=4),
    alpha=st.floats(0.0, 1.0),
    activation=st.sampled_from(["Relu", "LeakyRelu", "SiLU", ""]),
    depthwise=st.booleans(),
)
def test_outputs_stay_the_same_for_any_spread(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[float],
    alpha: float,
    activation: str,
    depthwise: bool,
) -> None:
    model = network(activation, depthwise, sizes)
    folder = tmp_path_factory.mktemp("any")
    feeds = next(context(model, folder).feeds())
    before = run_model(model, feeds)["y"]
    after = EqualizeChannels({"alpha": alpha, "min_spread": 1.0}).apply(model, context(model, folder))
    span = np.abs(before).max()
    np.testing.assert_allclose(run_model(after, feeds)["y"] / span, before / span, atol=1e-5)
