# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Per-layer SQNR, which layers are quantized, and why the others are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ad_compressed_perception.compression.quantization.layer_sqnr import layer_kinds, measure_layers
from ad_compressed_perception.onnx_graph.qdq import QdqGraph
from support.onnx_files import feed, write_int8, write_two_convolutions


def scaled(model: onnx.ModelProto, name: str, factor: float) -> onnx.ModelProto:
    """Return a copy of a model with one weight multiplied."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name == name:
            values = numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(numpy_helper.from_array(values, name))
    return copy


@pytest.fixture
def exact(tmp_path: Path) -> onnx.ModelProto:
    """Return a float network: convolution, ReLU, convolution."""
    return onnx.load(write_two_convolutions(tmp_path / "exact.onnx"))


@pytest.fixture
def quantized(tmp_path: Path) -> onnx.ModelProto:
    """Return the same in static int8."""
    write_two_convolutions(tmp_path / "float.onnx")
    return onnx.load(write_int8(tmp_path / "float.onnx", tmp_path / "int8.onnx"))


def test_a_known_change_has_the_ratio_of_the_formula(exact: onnx.ModelProto) -> None:
    """Weights a tenth too large make an output a tenth too large: 10 log10(1 / 0.01) is 20 dB."""
    layers = measure_layers(exact, scaled(exact, "w2", 1.1), [{"x": feed(0)}, {"x": feed(1)}])
    assert [layer.name for layer in layers] == ["first", "second"]
    assert layers[0].sqnr_db == 120.0  # unchanged: the upper limit
    assert layers[1].sqnr_db == pytest.approx(20.0, abs=1e-3)
    assert [layer.kind for layer in layers] == ["float", "weights only"]
    # No layer is quantized here, so none has a reason for float.
    assert [layer.why_float for layer in layers] == [None, None]


def test_static_int8_is_quantized_in_every_compute_op(
    exact: onnx.ModelProto, quantized: onnx.ModelProto
) -> None:
    layers = measure_layers(exact, quantized, [{"x": feed(3)}])
    assert [layer.kind for layer in layers] == ["quantized", "quantized"]
    # Eight bits of signals without outliers: some 30 to 50 dB, and noise accumulates over layers.
    assert all(25.0 < (layer.sqnr_db or 0.0) < 55.0 for layer in layers)
    assert (layers[0].sqnr_db or 0.0) > (layers[1].sqnr_db or 0.0)


def test_a_layer_in_float_has_a_reason(exact: onnx.ModelProto, quantized: onnx.ModelProto) -> None:
    mixed = QdqGraph(exact, quantized).with_float({"x"})
    assert layer_kinds(exact, mixed)[1] == "quantized"
    notes = [{"float_tensors": [{"tensor": "x", "why": "quantized alone it leaves 3.0 dB"}]}]
    first, second = measure_layers(exact, mixed, [{"x": feed(0)}], notes)
    assert (first.kind, first.why_float) == ("float", "its input: quantized alone it leaves 3.0 dB")
    assert (second.kind, second.why_float) == ("quantized", None)
    excluded, _ = measure_layers(exact, mixed, [{"x": feed(0)}], [{"excluded_nodes": ["first"]}])
    assert excluded.why_float == "excluded by the recipe"
    (unknown, _) = measure_layers(exact, mixed, [{"x": feed(0)}])
    assert unknown.why_float == "the pass left it in float"


def test_a_layer_without_a_reference_has_no_sqnr(exact: onnx.ModelProto) -> None:
    renamed = onnx.ModelProto()
    renamed.CopyFrom(exact)
    for node in renamed.graph.node:
        if node.name == "first":
            node.name, node.output[0] = "other", "elsewhere"
        elif node.name == "relu":
            node.input[0] = "elsewhere"
    first, second = measure_layers(exact, renamed, [{"x": feed(0)}])
    assert (first.name, first.sqnr_db) == ("other", None)
    assert second.sqnr_db == 120.0
