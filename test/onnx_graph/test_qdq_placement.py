# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Q/DQ pairs only on inputs of compute ops, for runtimes that fuse activations into compute ops."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ad_compressed_perception.analysis.inspect import inspect_file
from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8
from ad_compressed_perception.compression.passes.quantization.quantize_int8_mixed import (
    METADATA_KEY,
    QuantizeInt8Mixed,
)
from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.qdq_placement import (
    merges_activations,
    read_by_compute_ops,
    relies_on_merging,
)
from ad_compressed_perception.pass_api.passes import PassContext
from support.graphs import context_for, make_graph, noise

SPEC = InputSpec(width=32, height=16, scale=1 / 255)
OPENVINO: tuple[str, Mapping[str, Any]] = ("openvino", {})


def network(activation: str = "SiLU", opset: int = 14) -> onnx.ModelProto:
    """Return stem -> activation -> (left | pooled right) -> Concat -> scores, and a Sigmoid at the end."""
    gate = (
        [helper.make_node("HardSwish", ["s"], ["a"], "act")]
        if activation == "HardSwish"
        else [
            helper.make_node("Sigmoid", ["s"], ["gate"], "gate"),
            helper.make_node("Mul", ["s", "gate"], ["a"], "act"),
        ]
    )
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["s"], "stem"),
        *gate,
        helper.make_node("Conv", ["a", "w1"], ["l"], "left"),
        helper.make_node("Relu", ["l"], ["lr"], "left_relu"),
        helper.make_node("MaxPool", ["a"], ["p"], "pool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Concat", ["lr", "p"], ["j"], "join", axis=1),
        helper.make_node("Conv", ["j", "w2"], ["scores"], "head"),
        helper.make_node("Sigmoid", ["scores"], ["y"], "probability"),
    ]
    weights = {
        "w0": noise((4, 3, 1, 1), scale=2.0),
        "w1": noise((4, 4, 1, 1), 1, scale=2.0),
        "w2": noise((4, 8, 1, 1), 2),
    }
    return make_graph(nodes, weights, {"x": [1, 3, 16, 32]}, {"y": [1, 4, 16, 32]}, opset)


def context(model: onnx.ModelProto, folder: Path) -> PassContext:
    folder.mkdir(exist_ok=True)
    return replace(context_for(model, folder, SPEC), runtime=OPENVINO)


def quantized_tensors(model: onnx.ModelProto) -> set[str]:
    return {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}


@pytest.mark.parametrize(
    ("runtime", "merges"),
    [
        (("openvino", {}), True),
        (("onnxruntime", {"provider": "tensorrt"}), True),
        (("onnxruntime", {"provider": "cuda"}), False),
        (("onnxruntime", {}), False),
    ],
)
def test_which_runtimes_merge_activations(runtime: tuple[str, Mapping[str, Any]], merges: bool) -> None:
    assert merges_activations(runtime) is merges


def test_inputs_of_compute_ops_are_traced_through_pass_through_operators() -> None:
    # The head reads the Concat, hence its inputs and the pool's; neither activation inputs nor the output.
    assert read_by_compute_ops(network()) == {"x", "w0", "a", "w1", "j", "w2", "lr", "p"}


@pytest.mark.parametrize("activation", ["SiLU", "HardSwish"])
def test_pairs_are_only_on_inputs_of_compute_ops(tmp_path: Path, activation: str) -> None:
    model = network(activation)
    after = QuantizeInt8().apply(model, context(model, tmp_path))

    assert quantized_tensors(after) == {"x", "a", "lr", "p", "j"}
    kinds = {node.op_type for node in after.graph.node}
    # One node, for the runtime to fuse: ONNX Runtime's pre-processing had split it into HardSigmoid and Mul.
    assert ("HardSwish" in kinds) == (activation == "HardSwish")
    assert "HardSigmoid" not in kinds


def test_the_inputs_of_a_concat_have_its_scale(tmp_path: Path) -> None:
    model = network()
    after = QuantizeInt8().apply(model, context(model, tmp_path))

    pairs = {n.input[0]: list(n.input[1:]) for n in after.graph.node if n.op_type == "QuantizeLinear"}
    assert pairs["lr"] == pairs["p"] == pairs["j"] != pairs["a"]
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in after.graph.initializer}
    # Both nodes of every pair, or the bytes would be decoded with another scale.
    for node in after.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in {
            f"{n}_QuantizeLinear_Output" for n in "jp"
        }:
            assert list(node.input[1:]) == pairs["j"]
    assert pairs["j"][0] in stored


def test_the_error_is_lower_than_with_pairs_everywhere(tmp_path: Path) -> None:
    """No rounding between a compute op and its activation; ReLUs clip, whatever the Concat's range."""
    model = network()
    feeds = next(context(model, tmp_path / "c").feeds())
    exact = run_model(model, feeds)["y"]
    noise_power = {}
    for placement in ("everywhere", "compute_ops"):
        copy = onnx.ModelProto.FromString(model.SerializeToString())
        after = QuantizeInt8({"placement": placement}).apply(copy, context(model, tmp_path / placement))
        noise_power[placement] = np.mean((run_model(after, feeds)["y"] - exact) ** 2)
    assert noise_power["compute_ops"] < noise_power["everywhere"]
    # 8 bits over three layers; without the ReLU's clipping the error is a hundred times larger.
    assert noise_power["compute_ops"] < 1e-5


def test_the_notes_record_the_placement(tmp_path: Path) -> None:
    for name, runtime, placed in (("o", OPENVINO, "compute_ops"), ("r", ("onnxruntime", {}), "everywhere")):
        model = network()
        here = replace(context(model, tmp_path / name), runtime=runtime)
        QuantizeInt8().apply(model, here)
        assert here.notes["placement"] == placed


@pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="the extra [openvino] is not installed"
)
@pytest.mark.parametrize("activation", ["SiLU", "HardSwish"])
def test_openvino_runs_every_compute_op_on_integers_and_fuses_the_activations(
    tmp_path: Path, activation: str
) -> None:
    model = network(activation)
    after = QuantizeInt8().apply(model, context(model, tmp_path))
    onnx.save(after, tmp_path / "m.onnx")
    session = create_backend("openvino").load(tmp_path / "m.onnx", {})

    assert session.info.integer_coverage == 1.0
    # No separate layer computes the activation.
    operators = {layer.operator for layer in session.layers()}
    assert not operators & {"Math", "Eltwise", "Swish", "HSwish"}


def test_mixed_precision_counts_compute_ops_by_their_inputs(tmp_path: Path) -> None:
    """A compute op with a float activation after it does not count as left in float."""
    model = network()
    here = context(model, tmp_path)
    after = QuantizeInt8Mixed({"max_drop": 1.0, "calibration": "minmax"}).apply(model, here)

    assert here.notes["placement"] == "compute_ops"
    assert here.notes["float_layers"] == []
    metadata = {entry.key: entry.value for entry in after.metadata_props}
    assert '"layers": []' in metadata[METADATA_KEY]
    assert np.isfinite(here.notes["sqnr_db"])


def test_inspect_reports_why_another_runtime_computes_such_a_file_in_float(tmp_path: Path) -> None:
    model = network()
    after = QuantizeInt8().apply(model, context(model, tmp_path))
    assert relies_on_merging(after)
    path = tmp_path / "m.onnx"
    onnx.save(after, path)
    inspection = inspect_file(path)
    assert inspection.integer_layers < inspection.compute_layers
    assert {layer.why.split(";")[0] for layer in inspection.float_layers} == {
        "the QDQ pairs are placed for runtimes that merge activations"
    }


def test_a_graph_with_pairs_everywhere_does_not_rely_on_fusion(tmp_path: Path) -> None:
    model = network()
    after = QuantizeInt8({"placement": "everywhere"}).apply(model, context(model, tmp_path))
    assert not relies_on_merging(after)
    assert not relies_on_merging(network())
