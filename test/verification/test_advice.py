# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A rejection names the joint or the layer that the graph shows to be the cause, and recipes that help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.quantization.layer_sqnr import FLOAT, QUANTIZED
from ad_compressed_perception.compression.recipe import shipped_recipes
from ad_compressed_perception.compression.verification.advice import layer_text
from ad_compressed_perception.compression.verification.outcome import CompressionResult
from ad_compressed_perception.core.manifest import file_sha256, load_manifest
from ad_compressed_perception.report.schemas.compression import Layer
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.compression import small_recipe, write_images
from support.models import write_detector


def write_detector_with_pixels(folder: Path) -> Path:
    """Write the tiny detector with the number 3000 among its box values, in a cell that has no object.

    The last Concat then joins 0..3000 and scores of 0..1: a step of 12.
    """
    write_detector(folder)
    model = onnx.load(folder / "fp32.onnx")
    for weight in model.graph.initializer:
        if weight.name.startswith("head_w"):
            # A channel of zeros has no scale, and the quantizer's 1 would round its bias to integers.
            values = numpy_helper.to_array(weight).copy()
            values[:4] = 1e-6
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    far = np.zeros((1, 4, 84), np.float32)
    far[0, 0, 63] = 3000.0
    model.graph.initializer.append(numpy_helper.from_array(far, "far"))
    join = next(node for node in model.graph.node if node.output[0] == "channels")
    join.input[0] = "placed"  # the node has no name: the quantizer's is used
    place = list(model.graph.node).index(join)
    model.graph.node.insert(place, helper.make_node("Add", ["boxes", "far"], ["placed"], "place"))
    onnx.save(model, folder / "fp32.onnx")
    manifest = load_manifest(folder)
    manifest.variants["fp32"].sha256 = file_sha256(folder / "fp32.onnx")
    save_manifest(manifest, folder)
    return folder


def compress(folder: Path, **quantize: Any) -> CompressionResult:
    manifest = load_manifest(write_detector_with_pixels(folder / "model"))
    images = write_images(folder / "images", 60)
    passes = ["upgrade_opset", "simplify", "infer_shapes", {"quantize_int8": quantize}]
    recipe = small_recipe(folder, passes=passes, accept={"max_drop": 0.2})
    return compress_model(manifest, recipe, str(images), work=folder / "work")


def test_a_rejection_names_the_concat_and_the_recipes_that_keep_it_in_float(tmp_path: Path) -> None:
    result = compress(tmp_path, protect_heads=False)

    assert result.verdict.status == "rejected"
    advice = result.verdict.reasons[-1]
    assert "'channels' at Concat 'Concat_" in advice
    assert "'scores'" in advice
    named = [name for name in ("mixed_int8", "weights_int8", "cast_bf16_openvino") if name in advice]
    assert named == ["mixed_int8", "weights_int8", "cast_bf16_openvino"]
    assert set(named) <= set(shipped_recipes())
    # In the terminal, in Markdown and in JSON.
    assert advice in result.report.gate.verdict_text
    assert advice in (result.report_folder / "report.md").read_text()
    assert advice in result.document.to_json()


def test_the_same_model_keeps_its_objects_where_the_head_is_protected(tmp_path: Path) -> None:
    result = compress(tmp_path)

    assert result.verification.agreement.score > 0.8
    assert not any("one scale" in reason for reason in result.verdict.reasons)


def layer(name: str, sqnr_db: float, kind: str = QUANTIZED) -> Layer:
    return Layer(name=name, operator="Conv", kind=kind, sqnr_db=sqnr_db)


@pytest.mark.parametrize(
    ("passes", "names_mixed"), [({"quantize_int8"}, True), ({"quantize_int8_mixed"}, False)]
)
def test_the_layer_where_the_noise_arises_is_named_with_recipes_other_than_the_one_tried(
    passes: set[str], names_mixed: bool
) -> None:
    # The last layer is worse, but only inherits the noise.
    text = layer_text([layer("a", 30.0), layer("bad", 3.0), layer("c", 8.0), layer("d", -1.0)], passes)
    assert "first at Conv 'bad' (3.0 dB, before it at least 30.0 dB)" in text
    assert "weights_int8" in text
    assert ("mixed_int8" in text) == names_mixed


def test_no_cause_is_claimed_where_no_layer_stands_out() -> None:
    assert layer_text([layer("a", 20.0), layer("b", 18.0)], {"quantize_int8"}).startswith(
        "no layer stands out"
    )
    assert layer_text([layer("a", 5.0, FLOAT)], {"quantize_int8"}) == ""
