# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Outputs that join pixels and scores, as Ultralytics exports them: every 8-bit pass keeps the scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8, QuantizeInt16
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.qdq import COMPUTE_OPS
from ad_compressed_perception.pass_api.passes import PassContext
from support.compression import model_and_context
from support.models import write_segmenter
from support.ultralytics import FORMS, SIDE, f1, found_objects, ultralytics

IMAGES = 4


def images() -> Iterator[dict[str, Any]]:
    """Yield images of colored squares of 16 pixels: noise of single pixels would average out."""
    rng = np.random.default_rng(1)
    for _ in range(IMAGES):
        squares = rng.random((1, 3, SIDE // 16, SIDE // 16)) * 255.0
        yield {"images": np.kron(squares, np.ones((1, 1, 16, 16))).astype(np.float32)}


def context(tmp_path: Path) -> PassContext:
    # The images are what calibrates, the folder's model is not used.
    _, given = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    return replace(given, feeds=images, frames=IMAGES)


def agreement(form: str, quantized: onnx.ModelProto) -> float:
    """Return the F1 of all images against the float graph."""
    model = ultralytics(form)
    expected, found = set(), set()
    for number, feeds in enumerate(images()):
        for objects, graph in ((expected, model), (found, quantized)):
            objects |= {(number, *one) for one in found_objects(run_model(graph, feeds)["output"], form)}
    assert len(expected) > 100
    return f1(expected, found)


@pytest.mark.parametrize("form", FORMS)
def test_one_scale_for_pixels_and_scores_loses_all_objects_and_the_pass_prevents_it(
    tmp_path: Path, form: str
) -> None:
    given = context(tmp_path)
    # A step of 512 / 255 = 2 pixels: no score up to 1 is anything but 0.
    assert agreement(form, QuantizeInt8({"protect_heads": False}).apply(ultralytics(form), given)) == 0.0

    quantized = QuantizeInt8({}).apply(ultralytics(form), given)

    assert agreement(form, quantized) > 0.95
    assert given.notes["concat_points"]
    # Nothing but the head is given up: every convolution reads integers.
    produced = {node.output[0]: node.op_type for node in quantized.graph.node}
    convolutions = [node for node in quantized.graph.node if node.op_type == "Conv"]
    assert all(produced.get(name) == "DequantizeLinear" for node in convolutions for name in node.input[:2])


@pytest.mark.parametrize(
    "options",
    [
        {"calibration": "percentile"},
        {"calibration": "mse"},
        {"calibration": "entropy"},
        {"per_channel": False},
    ],
)
def test_every_calibration_keeps_the_scores(tmp_path: Path, options: dict[str, Any]) -> None:
    quantized = QuantizeInt8(options).apply(ultralytics("v8"), context(tmp_path))
    assert agreement("v8", quantized) > 0.9


def test_a_joint_before_a_matrix_product_stays_in_float_for_openvino_too(tmp_path: Path) -> None:
    """Pairs only on what compute ops read spare the last Concat, but not one that is split for a product."""
    options = {"placement": "compute_ops", "protect_heads": False}
    assert agreement("v7", QuantizeInt8(options).apply(ultralytics("v7"), context(tmp_path / "a"))) == 0.0
    options["protect_heads"] = True
    quantized = QuantizeInt8(options).apply(ultralytics("v7"), context(tmp_path / "b"))
    assert agreement("v7", quantized) > 0.95
    assert sum(node.op_type in COMPUTE_OPS for node in quantized.graph.node) == 7


def test_sixteen_bits_join_pixels_and_scores_no_more_than_eight_do(tmp_path: Path) -> None:
    quantized = QuantizeInt16({}).apply(ultralytics("v8"), context(tmp_path))
    feeds = next(images())
    # 512 pixels in 65535 steps would round every score by up to 0.004.
    smallest = np.diff(np.unique(run_model(quantized, feeds)["output"][0, 4:])).min()
    assert smallest < 0.001
