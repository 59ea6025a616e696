# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Broken model files: every backend refuses them in one line, in bounded time, and the process lives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.analysis.inspect import inspect_file
from ad_compressed_perception.backends import checked_load, create_backend
from ad_compressed_perception.core.errors import AdcpError, BackendError
from support.onnx_files import feed, write_two_convolutions

Change = Callable[[onnx.ModelProto], None]
BACKENDS = ("onnxruntime", "openvino")


def no_weights(model: onnx.ModelProto) -> None:
    del model.graph.node[0].input[1:]


def far_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 2**40


def cycle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "r1"


def lacking_weight(model: onnx.ModelProto) -> None:
    del model.graph.initializer[0]


def short_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-3]


def huge_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 2**62


def negative_size(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -8


def huge_input(model: onnx.ModelProto) -> None:
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 2**40


def wrong_attribute(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute[0].type = onnx.AttributeProto.STRING


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[1].op_type = "NoSuchOperator"


def no_nodes(model: onnx.ModelProto) -> None:
    del model.graph.node[:]


def other_shape(model: onnx.ModelProto) -> None:
    model.graph.value_info.append(helper.make_tensor_value_info("c1", TensorProto.FLOAT, [1, 8, 15, 16]))


CHANGES = (
    *(no_weights, far_opset, cycle, lacking_weight, short_weight, huge_weight, negative_size, huge_input),
    *(wrong_attribute, unknown_operator, no_nodes),
)


def broken(path: Path, change: Change) -> Path:
    model = onnx.load(write_two_convolutions(path))
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_broken_graph_is_refused_in_one_line(
    tmp_path: Path, change: Change, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed before, in this process: SIGSEGV (no_weights), no end (far_opset), ValueError, MemoryError."""
    if not create_backend(backend).status().available:
        pytest.skip(f"{backend} is not installed")
    path = broken(tmp_path / "model.onnx", change)
    if change is cycle:  # a trial of it never ends
        monkeypatch.setattr(checked_load, "TRIAL_LIMIT_S", 5.0)
    with pytest.raises(AdcpError) as caught:
        create_backend(backend).load(path, {})
    assert str(path) in str(caught.value) or "input 'x'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_runtime_that_does_not_return_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not create_backend("openvino").status().available:
        pytest.skip("openvino is not installed")
    monkeypatch.setattr(checked_load, "TRIAL_LIMIT_S", 0.01)
    path = broken(tmp_path / "model.onnx", other_shape)
    with pytest.raises(BackendError, match=r"not valid ONNX \(.*\), and .* did not end within 0 s"):
        create_backend("openvino").load(path, {})


def out_of_order(model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes[::-1])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("change", [other_shape, out_of_order], ids=lambda change: change.__name__)
def test_what_only_the_checker_refuses_is_loaded_after_a_trial(
    tmp_path: Path, change: Change, backend: str
) -> None:
    """What exporters write against the rules is no reason to refuse a model that runs."""
    if not create_backend(backend).status().available:
        pytest.skip(f"{backend} is not installed")
    path = broken(tmp_path / "model.onnx", change)
    with pytest.raises((onnx.shape_inference.InferenceError, onnx.checker.ValidationError)):
        onnx.checker.check_model(str(path), full_check=True)
    session = create_backend(backend).load(path, {})
    assert session.infer({"x": feed()})["y"].shape == (1, 4, 16, 16)
    session.close()


def test_a_circle_without_an_end_is_no_endless_loop(tmp_path: Path) -> None:
    """Failed before: following a weight's producers, and an output's consumers, never ended."""

    def circle(model: onnx.ModelProto) -> None:
        model.graph.node[0].input[1] = "w"
        model.graph.node.append(helper.make_node("Identity", ["w"], ["v"]))
        model.graph.node.append(helper.make_node("Identity", ["v"], ["w"]))
        model.graph.node[1].input[0] = "a"
        model.graph.node.append(helper.make_node("Relu", ["r1"], ["a"]))

    with pytest.raises(AdcpError):
        inspect_file(broken(tmp_path / "model.onnx", circle))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_of_dynamic_channels_is_not_warmed_up(tmp_path: Path, backend: str) -> None:
    """OpenVINO read beyond the one channel of the warm-up: sometimes the process ended."""
    if not create_backend(backend).status().available:
        pytest.skip(f"{backend} is not installed")

    def dynamic(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "C"

    session = create_backend(backend).load(broken(tmp_path / "model.onnx", dynamic), {})
    assert session.info.warmup_ms == 0.0
    assert session.infer({"x": feed()})["y"].shape == (1, 4, 16, 16)


def test_the_tools_survive_a_file_that_ends_the_process(tmp_path: Path) -> None:
    path = broken(tmp_path / "model.onnx", no_weights)
    command = [sys.executable, "-m", "ad_compressed_perception.cli.main", "inspect", str(path)]
    for backend in BACKENDS:
        if not create_backend(backend).status().available:
            continue
        done = subprocess.run(
            [*command, "--backend", backend], capture_output=True, text=True, timeout=200, check=False
        )
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert done.stderr.startswith(f"error: {backend} cannot load {path}: ")


def test_a_weight_of_numbers_that_do_not_exist_loads_as_before(tmp_path: Path) -> None:
    """NaN is a matter of compress and of the results, not of the graph's check."""

    def nan_weight(model: onnx.ModelProto) -> None:
        spoiled = np.full((8,), np.nan, np.float32)
        model.graph.initializer[1].CopyFrom(numpy_helper.from_array(spoiled, "b1"))

    session = create_backend("onnxruntime").load(broken(tmp_path / "model.onnx", nan_weight), {})
    assert np.isnan(session.infer({"x": feed()})["y"]).any()
