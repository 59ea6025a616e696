# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp inspect`` of .tflite files: counted by hand on two convolutions."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from ad_compressed_perception.analysis.costs import file_costs
from ad_compressed_perception.cli import inspect
from ad_compressed_perception.core.errors import BackendError

INSTALLED = importlib.util.find_spec("ai_edge_litert") is not None
pytestmark = pytest.mark.skipif(not INSTALLED, reason="the extra [litert] is not installed")

# 8x8 pixels, 4 channels from 3 by 3x3 weights; then 3x3 weights for each of the 4 channels.
CONVOLUTION_MACS = 8 * 8 * 4 * 3 * 3 * 3
DEPTHWISE_MACS = 8 * 8 * 4 * 3 * 3
PARAMETERS = (4 * 3 * 3 * 3 + 4) + (3 * 3 * 4 + 4)

app = typer.Typer()
app.command("inspect")(inspect.inspect)


class Writer:
    """Gathers the tensors of a LiteRT graph."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.tensors: list[Any] = []
        self.buffers = [schema.BufferT()]

    def tensor(self, name: str, shape: list[int], values: np.ndarray | None = None) -> int:
        made = self.schema.TensorT()
        made.name, made.shape, made.type = name.encode(), shape, self.schema.TensorType.FLOAT32
        made.buffer = 0
        if values is not None:
            buffer = self.schema.BufferT()
            buffer.data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
            made.buffer = len(self.buffers)
            self.buffers.append(buffer)
        self.tensors.append(made)
        return len(self.tensors) - 1

    def operator(self, code: int, kind: int, options: Any, inputs: list[int], outputs: list[int]) -> Any:
        options.padding = self.schema.Padding.SAME
        options.strideH = options.strideW = 1
        made = self.schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = code, inputs, outputs
        made.builtinOptionsType, made.builtinOptions = kind, options
        return made


def write_convolutions(path: Path) -> Path:
    """Write a convolution and a depthwise one; one weight of the first is denormal."""
    import flatbuffers

    writer = Writer()
    schema = writer.schema
    weights = np.ones((4, 3, 3, 3))
    weights[0, 0, 0, 0] = 1e-40
    x = writer.tensor("image", [1, 8, 8, 3])
    w = writer.tensor("w", [4, 3, 3, 3], weights)
    b = writer.tensor("b", [4], np.zeros(4))
    y = writer.tensor("features", [1, 8, 8, 4])
    v = writer.tensor("v", [1, 3, 3, 4], np.ones((1, 3, 3, 4)))
    c = writer.tensor("c", [4], np.zeros(4))
    z = writer.tensor("scores", [1, 8, 8, 4])
    codes = []
    for builtin in (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.version = 1
        codes.append(code)
    depthwise = schema.DepthwiseConv2DOptionsT()
    depthwise.depthMultiplier = 1
    options = schema.BuiltinOptions
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.operators = [
        writer.operator(0, options.Conv2DOptions, schema.Conv2DOptionsT(), [x, w, b], [y]),
        writer.operator(1, options.DepthwiseConv2DOptions, depthwise, [y, v, c], [z]),
    ]
    graph.tensors, graph.inputs, graph.outputs = writer.tensors, [x], [z]
    model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], codes, writer.buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def test_macs_and_parameters_are_those_counted_by_hand(tmp_path: Path) -> None:
    costs = file_costs(write_convolutions(tmp_path / "net.tflite"))
    assert [layer.macs for layer in costs.layers] == [CONVOLUTION_MACS, DEPTHWISE_MACS]
    assert [layer.operator for layer in costs.layers] == ["CONV_2D", "DEPTHWISE_CONV_2D"]
    assert costs.macs == CONVOLUTION_MACS + DEPTHWISE_MACS
    assert costs.parameters == sum(layer.parameters for layer in costs.layers) == PARAMETERS
    assert (costs.opset, costs.denormal_weights) == (0, 1)
    assert costs.inputs[0].shape == (1, 8, 8, 3)


def test_inspecting_the_file_lists_its_layers_on_its_own_runtime(tmp_path: Path) -> None:
    path = write_convolutions(tmp_path / "net.tflite")
    result = CliRunner().invoke(app, [str(path), "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    summary = shown["variants"]["net.tflite"]
    assert (summary["backend"], summary["precision"]) == ("litert", "fp32")
    assert (summary["compute_layers"], summary["integer_layers"]) == (2, 0)
    assert [row["macs"] for row in shown["layers"]["rows"]] == [CONVOLUTION_MACS, DEPTHWISE_MACS]


def test_what_is_no_tflite_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"words, no network")
    with pytest.raises(BackendError, match="not a .tflite file"):
        file_costs(tmp_path / "net.tflite")
