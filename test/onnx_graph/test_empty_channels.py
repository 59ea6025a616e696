# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A channel without weights keeps its bias in 8 bits: 0.5 behind pixels became 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8
from ad_compressed_perception.onnx_graph.equivalence import run_model
from support.compression import model_and_context
from support.models import write_segmenter


@pytest.mark.parametrize("placement", ["everywhere", "compute_ops"])
def test_biases_of_channels_without_weights_are_kept(tmp_path: Path, placement: str) -> None:
    """The tiny segmenter's background has no weights at all, and pixels of 0..255 before it."""
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    biases = np.array([0.5, 0.25, -0.4, 3.0], np.float32)
    for tensor in model.graph.initializer:
        if tensor.name == "head_b":
            tensor.CopyFrom(numpy_helper.from_array(biases, "head_b"))
        if tensor.name == "head_w":
            weights = numpy_helper.to_array(tensor).copy() / 255
            weights[2] = 0.0
            tensor.CopyFrom(numpy_helper.from_array(weights, "head_w"))

    quantized = QuantizeInt8({"placement": placement}).apply(model, context)

    onnx.checker.check_model(quantized)
    feeds = next(iter(context.feeds()))
    found = run_model(quantized, feeds)["scores"]
    # One step of the output, whose largest number is 4, in 255.
    np.testing.assert_allclose(found[0, 0], 0.5, atol=0.02)
    np.testing.assert_allclose(found[0, 2], -0.4, atol=0.02)
    np.testing.assert_allclose(found, run_model(model, feeds)["scores"], atol=0.05)
