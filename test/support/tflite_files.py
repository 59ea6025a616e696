# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Small .tflite files, for tests where LiteRT is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write_relu(path: Path, kind: str = "float", scale: float = 0.5, zero_point: int = -28) -> Path:
    """Write a LiteRT model of one operator: relu of a 1x8x8x3 tensor, in float or in int8."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name: str) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.buffer = name.encode(), [1, 8, 8, 3], 0
        made.type = schema.TensorType.FLOAT32 if kind == "float" else schema.TensorType.INT8
        if kind != "float":
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale], [zero_point]
        return made

    code, operator = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RELU
    code.version = 1 if kind == "float" else 2
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1]
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors, graph.operators = [tensor("image"), tensor("scores")], [operator]
    graph.inputs, graph.outputs = [0], [1]
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], [code]
    model.buffers = [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path
