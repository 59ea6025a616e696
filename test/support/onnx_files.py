# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Small ONNX files of known cost and known output: convolution, ReLU, convolution, in float and in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIZE = 16
CHANNELS = 8
INPUT_SHAPE = (1, 3, SIZE, SIZE)
# Every output pixel of a 3x3 convolution multiplies 9 pixels of every input channel.
FIRST_MACS = SIZE * SIZE * CHANNELS * 3 * 9
SECOND_MACS = SIZE * SIZE * 4 * CHANNELS * 9
PARAMETERS = CHANNELS * 3 * 9 + CHANNELS + 4 * CHANNELS * 9 + 4
DENORMAL = np.float32(1e-40)


def save_model(
    path: Path,
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto],
    inputs: dict[str, list[int | str]],
    outputs: dict[str, list[int | str]],
    *,
    opset: int = 13,
    dtype: int = TensorProto.FLOAT,
) -> Path:
    """Write a graph of given parts; the file is not checked, so that invalid ones can be written too."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in outputs.items()],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path


def write_two_convolutions(path: Path, *, batch: int | str = 1, denormals: int = 0) -> Path:
    """Write float convolution, ReLU, convolution; ``denormals`` of the first weights are set to 1e-40."""
    rng = np.random.default_rng(1)
    first = rng.normal(0, 0.2, (CHANNELS, 3, 3, 3)).astype(np.float32)
    first.reshape(-1)[:denormals] = DENORMAL
    second = rng.normal(0, 0.2, (4, CHANNELS, 3, 3)).astype(np.float32)
    weights = [
        numpy_helper.from_array(first, "w1"),
        numpy_helper.from_array(np.full(CHANNELS, 0.1, np.float32), "b1"),
        numpy_helper.from_array(second, "w2"),
        numpy_helper.from_array(np.zeros(4, np.float32), "b2"),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["y"], "second", pads=[1, 1, 1, 1]),
    ]
    shape = [batch, *INPUT_SHAPE[1:]]
    return save_model(path, nodes, weights, {"x": shape}, {"y": [batch, 4, SIZE, SIZE]})


def write_int8(source: Path, path: Path) -> Path:
    """Quantize a file to static int8: unsigned activations, signed weights per channel, QDQ."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Noise(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = [{"x": feed(seed)} for seed in range(4)]

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return self._left.pop() if self._left else None

    quantize_static(
        str(source),
        str(path),
        Noise(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return path


def feed(seed: int = 0) -> NDArray[np.float32]:
    """Return (1, 3, 16, 16) float32 in 0..1."""
    return np.random.default_rng(seed).random(INPUT_SHAPE, dtype=np.float32)
