# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Small networks written for other runtimes, and the same inputs for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from ad_compressed_perception.backends import create_backend
from support.onnx_files import INPUT_SHAPE, save_model, write_two_convolutions


def noise_frames(count: int, shape: tuple[int, ...] = INPUT_SHAPE) -> list[dict[str, NDArray[Any]]]:
    """Return inputs called ``x`` of normal noise."""
    rng = np.random.default_rng(3)
    return [{"x": rng.normal(0, 1, shape).astype(np.float32)} for _ in range(count)]


def reference(model: Path, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return what ONNX Runtime computes."""
    session = create_backend("onnxruntime").load(model, {"warmup_runs": 0})
    return session.infer(feeds)


def two_convolutions(folder: Path) -> Path:
    """Write convolution, ReLU, convolution as ONNX: input x (1, 3, 16, 16)."""
    return write_two_convolutions(folder / "two.onnx")


def write_through(path: Path) -> Path:
    """Write a network of two outputs: its input as it is, and its ReLU."""
    nodes = [helper.make_node("Identity", ["x"], ["same"]), helper.make_node("Relu", ["x"], ["positive"])]
    return save_model(path, nodes, [], {"x": [1, 4]}, {"same": [1, 4], "positive": [1, 4]})
