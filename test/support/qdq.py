# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny model in float and with Q/DQ pairs."""

from __future__ import annotations

from pathlib import Path

from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8
from ad_compressed_perception.compression.quantization.activation_ranges import collect_ranges
from ad_compressed_perception.compression.quantization.float_graph import save_float
from ad_compressed_perception.onnx_graph.qdq import QdqGraph
from ad_compressed_perception.pass_api.passes import Feeds
from support.compression import model_and_context


def quantize(folder: Path, scratch: Path) -> tuple[QdqGraph, Feeds]:
    """Return a tiny model in both forms, and a frame."""
    model, context = model_and_context(folder, scratch)
    step = QuantizeInt8()
    floating, _ = step.prepare(model, context)
    ranges = collect_ranges(save_float(floating, context), step.options.operators, "minmax", 100.0, context)
    return QdqGraph(floating, step.quantize(floating, ranges, context, [])), next(context.feeds())
