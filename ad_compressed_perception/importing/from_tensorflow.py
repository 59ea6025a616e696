# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Converts TensorFlow models to ONNX with tf2onnx in a child process; this one never imports TensorFlow."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.one_line import one_line

OPSET = 17
_TIMEOUT_S = 900.0
# safe_mode refuses layers that contain code (Lambda).
_EXPORT = (
    "import sys, keras; keras.saving.load_model(sys.argv[1], compile=False, safe_mode=True)"
    ".export(sys.argv[2], verbose=False)"
)


def saved_model_to_onnx(source: Path, target: Path) -> None:
    """Write the default signature of a SavedModel folder as ONNX.

    Raises:
        ModelFileError: TensorFlow or tf2onnx is missing, or the model cannot be converted.
    """
    _require(source, "tensorflow", "tf2onnx")
    _convert(source, target, "--saved-model")


def keras_to_onnx(source: Path, target: Path) -> None:
    """Write a .keras file as ONNX; raises as saved_model_to_onnx does, and for layers that contain code."""
    _require(source, "tensorflow", "keras", "tf2onnx")
    with tempfile.TemporaryDirectory(prefix="adcp-keras-") as folder:
        _run(source, [sys.executable, "-c", _EXPORT, str(source), str(Path(folder) / "saved")])
        _convert(source, target, "--saved-model", Path(folder) / "saved")


def tflite_to_onnx(source: Path, target: Path) -> None:
    """Write a .tflite file as ONNX; raises as saved_model_to_onnx does."""
    _require(source, "tensorflow", "tf2onnx")
    _convert(source, target, "--tflite")


def _convert(source: Path, target: Path, option: str, converted: Path | None = None) -> None:
    command = [sys.executable, "-m", "tf2onnx.convert", option, str(converted or source)]
    _run(source, [*command, "--output", str(target), "--opset", str(OPSET)])
    if not target.is_file():
        raise ModelFileError(f"tf2onnx wrote nothing for {source}")


def _require(source: Path, *modules: str) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelFileError(
            f"{source} is a TensorFlow model: converting it needs {' and '.join(missing)}; install "
            "tensorflow-cpu and tf2onnx here, or convert it to ONNX where they are"
        )


def _run(source: Path, command: list[str]) -> None:
    environ = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env=environ,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelFileError(f"converting {source} failed: {one_line(error)}") from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"status {done.returncode}"
        raise ModelFileError(f"TensorFlow cannot convert {source}: {reason[:300]}")
