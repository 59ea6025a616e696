# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A .tflite file runs as it is; quantized inputs and outputs are exposed as real numbers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from ad_compressed_perception.backends import backend_names, create_backend
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.importing.import_model import ImportRequest, import_model
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.models import write_segmenter
from support.tflite_files import write_relu

INSTALLED = importlib.util.find_spec("ai_edge_litert") is not None
NEEDS_LITERT = pytest.mark.skipif(not INSTALLED, reason="the extra [litert] is not installed")
LABELS = ["blue", "green", "red"]


def test_the_backend_is_known_whether_installed_or_not() -> None:
    assert "litert" in backend_names()
    status = create_backend("litert").status()
    assert status.available == INSTALLED
    assert status.version if INSTALLED else "[litert]" in status.detail


@NEEDS_LITERT
def test_a_float_model_computes_its_operator(tmp_path: Path) -> None:
    session = create_backend("litert").load(write_relu(tmp_path / "relu.tflite"), {})
    x = np.linspace(-5, 5, 192, dtype=np.float32).reshape(1, 8, 8, 3)
    np.testing.assert_array_equal(session.infer({"image": x})["scores"], np.maximum(x, 0))
    assert session.info.backend == "litert"
    assert session.info.precision == "fp32"
    assert [layer.operator for layer in session.layers()] == ["RELU"]


@NEEDS_LITERT
def test_a_quantized_model_takes_and_gives_real_numbers(tmp_path: Path) -> None:
    """int8 with scale 0.5 and zero point -28 holds -50 to 77.5 in steps of a half."""
    session = create_backend("litert").load(write_relu(tmp_path / "relu.tflite", "int8"), {})
    assert session.info.inputs[0].dtype == session.info.outputs[0].dtype == "float32"
    x = np.full((1, 8, 8, 3), 3.2, np.float32)
    x[0, 0, 0] = [-200.0, 200.0, 10.0]
    y = session.infer({"image": x})["scores"]
    assert y[0, 0, 0].tolist() == [0.0, 77.5, 10.0], "clipped to what the type holds"
    assert y[0, 1, 1, 0] == 3.0, "rounded to the nearest step"


@NEEDS_LITERT
def test_a_tflite_file_is_imported_and_run(tmp_path: Path) -> None:
    source = write_relu(tmp_path / "relu.tflite")
    made = import_model(source, tmp_path / "made", ImportRequest("segmentation", labels=LABELS))
    assert made.manifest.variant("fp32").backend == "litert"
    assert made.manifest.input.layout == "NHWC"
    open_pipeline(made.manifest).close()


@NEEDS_LITERT
def test_a_file_that_is_no_tflite_raises_an_error(tmp_path: Path) -> None:
    onnx_file = write_segmenter(tmp_path / "m") / "fp32.onnx"
    with pytest.raises(BackendError, match="not a .tflite file"):
        create_backend("litert").load(onnx_file, {})
    with pytest.raises(BackendError, match="no model file"):
        create_backend("litert").load(tmp_path / "none.tflite", {})
    whole = write_relu(tmp_path / "relu.tflite").read_bytes()
    (tmp_path / "cut.tflite").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BackendError, match="litert cannot load"):
        create_backend("litert").load(tmp_path / "cut.tflite", {})
    with pytest.raises(BackendError, match="thread"):
        create_backend("litert").load(tmp_path / "relu.tflite", {"thread": 2})
