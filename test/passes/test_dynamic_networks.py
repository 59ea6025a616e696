# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Dynamic 8-bit matrix products on networks exported by PyTorch: a transformer encoder, a GRU, an LSTM."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.compression.passes.graph.optimize import Simplify
from ad_compressed_perception.compression.passes.quantization.quantize_dynamic_matmul import (
    QuantizeDynamicMatmul,
)
from ad_compressed_perception.compression.verification.coverage import measure_coverage
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.pass_api.passes import PassContext
from support.compression import NO_VNNI, VNNI, model_and_context
from support.models import write_segmenter

SHAPES = {"encoder": (1, 32, 96), "gru": (1, 16, 48), "lstm": (1, 16, 48)}


def network(kind: str) -> Any:
    """Return two layers of a kind with a linear layer before or after, as in common networks."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    if kind == "encoder":
        layer = nn.TransformerEncoderLayer(96, 4, 192, batch_first=True, dropout=0.0)
        return nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(96, 10))

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(48, 64)
            self.cell = {"gru": nn.GRU, "lstm": nn.LSTM}[kind](64, 96, num_layers=2, batch_first=True)
            self.head = nn.Linear(96, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.cell(torch.relu(self.embed(x)))[0])

    return Recurrent()


@pytest.fixture
def exported(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[onnx.ModelProto, PassContext]:
    """Export by the tracing exporter, read and simplify; the frames are eight of noise."""
    torch = pytest.importorskip("torch", reason="torch is not installed: make setup-train")
    kind, host = request.param
    frames = [
        {"x": np.random.default_rng(i).standard_normal(SHAPES[kind]).astype(np.float32)} for i in range(8)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the deprecated exporter and constant shapes
        torch.onnx.export(
            network(kind).eval(), torch.from_numpy(frames[0]["x"]), str(tmp_path / "net.onnx"),
            dynamo=False, opset_version=17, input_names=["x"], output_names=["y"],
        )  # fmt: skip
    _, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s", host)

    def feeds() -> Iterator[dict[str, Any]]:
        yield from ({name: value.copy() for name, value in frame.items()} for frame in frames)

    context.feeds, context.frames = feeds, len(frames)
    return Simplify().apply(read_model(tmp_path / "net.onnx"), context), context


def assessed(before: onnx.ModelProto, after: onnx.ModelProto, context: PassContext, folder: Path) -> Any:
    """Return the SQNR of the outputs in decibels, the executed coverage and the ratio of file sizes."""
    paths = []
    for name, model in (("before", before), ("after", after)):
        paths.append(folder / f"{name}.onnx")
        onnx.save(model, paths[-1])
    float_, integer = (create_backend("onnxruntime").load(path, {"threads": 1}) for path in paths)
    signal = noise = 0.0
    for feeds in context.feeds():
        expected, found = float_.infer(feeds)["y"], integer.infer(feeds)["y"]
        signal += float((expected**2).sum())
        noise += float(((expected - found) ** 2).sum())
    coverage = measure_coverage(integer)
    return 10 * np.log10(signal / noise), coverage, paths[1].stat().st_size / paths[0].stat().st_size


@pytest.mark.parametrize("exported", [("encoder", VNNI), ("encoder", NO_VNNI)], indirect=True)
def test_matrix_products_with_stored_weights_of_a_transformer_run_on_integers(
    exported: tuple[onnx.ModelProto, PassContext], tmp_path: Path
) -> None:
    """Nine have stored weights: projections in and out, two of the feed-forward part, twice, and the head.

    Attention's own two a layer multiply what was just computed, and stay in float. Thirty decibels are an
    error of 3 % of the output; seven bits leave 6 dB less than eight.
    """
    before, context = exported
    original = onnx.ModelProto()
    original.CopyFrom(before)

    after = QuantizeDynamicMatmul().apply(before, context)

    decibels, coverage, size = assessed(original, after, context, tmp_path)
    assert context.notes["gemm"] == 9
    assert (coverage.integer, coverage.compute) == (9, 13)
    assert decibels > 30.0
    assert size < 0.4


@pytest.mark.parametrize("exported", [("lstm", VNNI)], indirect=True)
def test_an_lstm_computes_with_integers(
    exported: tuple[onnx.ModelProto, PassContext], tmp_path: Path
) -> None:
    before, context = exported
    original = onnx.ModelProto()
    original.CopyFrom(before)

    after = QuantizeDynamicMatmul().apply(before, context)

    decibels, coverage, size = assessed(original, after, context, tmp_path)
    kinds = Counter(node.op_type for node in after.graph.node)
    assert kinds["DynamicQuantizeLSTM"] == 2 and kinds["LSTM"] == 0
    assert coverage.share == 1.0
    assert decibels > 35.0
    assert size < 0.35


@pytest.mark.parametrize("exported", [("gru", VNNI)], indirect=True)
def test_gru_weights_are_stored_in_8_bits_and_dequantized_once(
    exported: tuple[onnx.ModelProto, PassContext], tmp_path: Path
) -> None:
    """ONNX Runtime has no integer GRU; dequantizing its weights in every run costs a third of its speed."""
    before, context = exported
    original = onnx.ModelProto()
    original.CopyFrom(before)

    after = QuantizeDynamicMatmul().apply(before, context)

    decibels, coverage, size = assessed(original, after, context, tmp_path)
    session = create_backend("onnxruntime").load(tmp_path / "after.onnx", {"threads": 1})
    executed = Counter(layer.operator for layer in session.layers())
    assert context.notes["gru"] == 2 and context.notes["gemm"] == 2
    assert executed["GRU"] == 2 and executed["DequantizeLinear"] == 0
    assert coverage.integer == 2
    assert decibels > 35.0
    assert size < 0.35
