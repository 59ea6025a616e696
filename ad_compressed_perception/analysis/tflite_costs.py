# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Multiply-accumulates and parameters of a .tflite file, layer by layer.

Multiply-accumulates, with numel the number of elements and weights laid out as the format has them
(TensorFlow Lite, reference kernels): CONV_2D (out, height, width, in / groups), DEPTHWISE_CONV_2D
(1, height, width, out), CONV_3D (depth, height, width, in, out), FULLY_CONNECTED (out, in),
TRANSPOSE_CONV (out, height, width, in):
    CONV_2D, CONV_3D, DEPTHWISE_CONV_2D, FULLY_CONNECTED: numel(output) * numel(weight) / outputs
    TRANSPOSE_CONV:                                       numel(input) * numel(weight) / inputs
    BATCH_MATMUL:                                         numel(output) * shared dimension
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ad_compressed_perception.backends.litert_backend import (
    COMPUTE_OPERATORS,
    open_interpreter,
)
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.onnx_graph.costs import LayerCost, ModelCosts

FORMAT_VERSION = 3
"""Of every .tflite file: their identifier is TFL3."""

# Operator: axis of its weight (input 1) that counts the outputs.
_OUTPUTS_AXIS = {"CONV_2D": 0, "FULLY_CONNECTED": 0, "DEPTHWISE_CONV_2D": 3, "CONV_3D": 4}
_SMALLEST_NORMAL = np.finfo(np.float32).tiny

_Details = Mapping[str, Any]


def tflite_costs(path: Path) -> ModelCosts:
    """Count a .tflite file; its ``opset`` is 0, as the format has none.

    Raises:
        BackendError: LiteRT is missing, or the file is missing, damaged or not a .tflite file.
    """
    # Without XNNPACK, whose delegate would replace the operators to count.
    interpreter = open_interpreter(path, threads=1, xnnpack=False)
    tensors: dict[int, _Details] = {int(t["index"]): t for t in interpreter.get_tensor_details()}
    operators: list[_Details] = interpreter._get_ops_details()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    made = {int(index) for operator in operators for index in operator["outputs"]}
    made |= {int(details["index"]) for details in inputs}
    stored = _constants(operators, tensors, made)
    layers = tuple(
        _layer_cost(operator, tensors, stored)
        for operator in operators
        if operator["op_name"] in COMPUTE_OPERATORS
    )
    return ModelCosts(
        file=path,
        size_bytes=path.stat().st_size,
        opset=0,
        ir_version=FORMAT_VERSION,
        nodes=len(operators),
        operators=dict(Counter(str(operator["op_name"]) for operator in operators)),
        macs=sum(layer.macs or 0 for layer in layers),
        layers_without_macs=sum(layer.macs is None for layer in layers),
        parameters=sum(_elements(details) for details in stored.values()),
        denormal_weights=sum(_denormals(interpreter, details) for details in stored.values()),
        layers=layers,
        inputs=tuple(_spec(details) for details in inputs),
        outputs=tuple(_spec(details) for details in outputs),
    )


def _constants(
    operators: list[_Details], tensors: Mapping[int, _Details], made: set[int]
) -> dict[int, _Details]:
    """Return the stored weights and biases; stored shapes, axes and the like are plain integers."""
    read = {int(index) for operator in operators for index in operator["inputs"]}
    return {
        index: tensors[index]
        for index in sorted(read - made)
        if index in tensors and _is_real(tensors[index])
    }


def _is_real(details: _Details) -> bool:
    """Whether a tensor holds real numbers, in floating point or quantized."""
    return np.dtype(details["dtype"]).kind == "f" or bool(len(details["quantization_parameters"]["scales"]))


def _layer_cost(
    operator: _Details, tensors: Mapping[int, _Details], stored: Mapping[int, _Details]
) -> LayerCost:
    kind = str(operator["op_name"])
    inputs = [int(index) for index in operator["inputs"]]
    output = tensors[int(operator["outputs"][0])]
    weight = tensors[inputs[1]]
    shape = [int(size) for size in weight["shape"]]
    macs: int | None
    if kind in _OUTPUTS_AXIS:
        macs = _elements(output) * prod(shape) // shape[_OUTPUTS_AXIS[kind]]
    elif kind == "TRANSPOSE_CONV":
        macs = _elements(tensors[inputs[2]]) * prod(shape[:3])
    else:
        # Of (..., rows, shared) times (..., shared, columns), one of the two possibly transposed.
        rows, columns = (int(size) for size in output["shape"][-2:])
        left = [int(size) for size in tensors[inputs[0]]["shape"][-2:]]
        macs = _elements(output) * (prod(left) // rows) if rows and columns else None
    return LayerCost(
        name=str(output["name"]),
        operator=kind,
        output=str(output["name"]),
        output_shape=tuple(int(size) for size in output["shape"]),
        macs=macs,
        parameters=sum(_elements(stored[index]) for index in inputs if index in stored),
    )


def _elements(details: _Details) -> int:
    return prod(int(size) for size in details["shape"])


def _denormals(interpreter: Any, details: _Details) -> int:
    if np.dtype(details["dtype"]) != np.float32:
        return 0
    values = np.abs(interpreter.get_tensor(int(details["index"])))
    return int(((values > 0) & (values < _SMALLEST_NORMAL)).sum())


def _spec(details: _Details) -> TensorSpec:
    shape = tuple(int(size) for size in details["shape"])
    return TensorSpec(str(details["name"]), shape, np.dtype(details["dtype"]).name)
