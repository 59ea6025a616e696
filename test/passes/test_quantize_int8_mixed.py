# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mixed precision on tiny models with one planted layer that 8 bits destroy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ad_compressed_perception.compression.passes.quantization.quantize_int8_mixed import (
    METADATA_KEY,
    QuantizeInt8Mixed,
)
from ad_compressed_perception.core.errors import DataError, ModelFileError
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.pass_api.passes import PassContext
from support.compression import model_and_context
from support.models import write_detector, write_planner, write_segmenter


def plant_outlier(folder: Path) -> None:
    """Put two convolutions in the middle of the tiny segmenter, with numbers up to 255 000 between them.

    A fourth channel a thousand times larger than the colors determines the scale of the tensor between
    the two, in steps of a thousand, which rounds all colors to 0. The second convolution drops that
    channel again, so that the float graph's labels do not change.
    """
    path = folder / "fp32.onnx"
    model = onnx.load(path)
    widen = np.zeros((4, 3, 1, 1), np.float32)
    narrow = np.zeros((3, 4, 1, 1), np.float32)
    for channel in range(3):
        widen[channel, channel] = narrow[channel, channel] = 1.0
        widen[3, channel] = 1000.0 / 3.0
    model.graph.initializer.extend(
        [numpy_helper.from_array(widen, "widen_w"), numpy_helper.from_array(narrow, "narrow_w")]
    )
    head = next(node for node in model.graph.node if node.name == "head")
    head.input[0] = "narrowed"
    extra = [
        helper.make_node("Conv", ["features", "widen_w"], ["wide"], "widen"),
        helper.make_node("Conv", ["wide", "narrow_w"], ["narrowed"], "narrow"),
    ]
    nodes = [*(node for node in model.graph.node if node.name != "head"), *extra, head]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)


def with_images_in_feeds(context: PassContext) -> PassContext:
    """Return the context with its images as calibration frames, instead of noise."""

    def feeds() -> Iterator[dict[str, np.ndarray]]:
        for image in context.images():
            small = image.pixels[::2, ::2][:48, :64].astype(np.float32)
            yield {"image": small.transpose(2, 0, 1)[None].copy()}

    return replace(context, feeds=feeds)


def test_keeps_the_planted_layer_in_float_and_the_rest_in_integers(tmp_path: Path) -> None:
    folder = write_segmenter(tmp_path / "m")
    plant_outlier(folder)
    model, context = model_and_context(folder, tmp_path / "s")
    context = with_images_in_feeds(context)
    mixed = QuantizeInt8Mixed({"max_drop": 0.02}).apply(model, context)
    notes = context.notes
    # Plain int8 loses the labels, which is measured first.
    assert notes["drop_without_float"] > 0.2
    assert notes["drop"] <= 0.02
    # The tensor between the two convolutions, and so both of them; the other two stay integers.
    assert [entry["tensor"] for entry in notes["float_tensors"]] == ["wide"]
    assert notes["float_layers"] == ["widen", "narrow"]
    assert notes["compute_ops"] == 4
    integer_weights = {t.name for t in mixed.graph.initializer if t.data_type == onnx.TensorProto.INT8}
    assert {"smooth_w_quantized", "head_w_quantized"} <= integer_weights
    assert not {"widen_w_quantized", "narrow_w_quantized"} & integer_weights
    # In the file's metadata too.
    metadata = {entry.key: entry.value for entry in mixed.metadata_props}
    assert json.loads(metadata[METADATA_KEY]) == {"layers": ["widen", "narrow"], "tensors": ["wide"]}
    # For the plot: every tensor, the most sensitive first.
    listed = notes["sensitivity_db"]
    assert list(listed)[0] == "wide (Conv widen)"
    assert "widen_w (weights of Conv widen)" in listed and "image (input)" in listed
    assert list(listed.values()) == sorted(listed.values())
    assert notes["float_tensors"][0]["sqnr_db"] == listed["wide (Conv widen)"]
    assert notes["sqnr_db"] > listed["wide (Conv widen)"]


def test_quantizes_everything_where_the_drop_stays_within_the_limit(tmp_path: Path) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    QuantizeInt8Mixed({"max_drop": 0.05}).apply(model, with_images_in_feeds(context))
    assert context.notes["float_layers"] == []
    assert context.notes["trials"] == 1  # no search needed


def test_leaves_what_shares_values_of_two_meanings_in_float(tmp_path: Path) -> None:
    folder = write_planner(tmp_path / "m")
    path = folder / "fp32.onnx"
    model = onnx.load(path)
    # Collision logits twenty times larger than the steering output of the same convolution.
    for tensor in model.graph.initializer:
        if tensor.name == "balance_w":
            weights = numpy_helper.to_array(tensor).copy()
            weights[1] *= 40.0
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    onnx.save(model, path)
    model, context = model_and_context(folder, tmp_path / "s")
    feeds = next(context.feeds())
    exact = run_model(read_model(path), feeds)["steering"]
    protected = QuantizeInt8Mixed({"max_drop": 1.0}).apply(model, context)
    assert context.notes["float_layers"] == ["balance"]
    assert context.notes["float_tensors"][0]["why"] == "values of different meaning share it"
    error = float(np.abs(run_model(protected, feeds)["steering"] - exact).max())
    bare_model, context = model_and_context(folder, tmp_path / "s2")
    bare = QuantizeInt8Mixed({"max_drop": 1.0, "protect_heads": False}).apply(bare_model, context)
    assert context.notes["float_layers"] == []
    # Steering in steps of the collision's scale, about 20/255 rad, against none at all.
    assert error < 0.01
    assert float(np.abs(run_model(bare, feeds)["steering"] - exact).max()) > 2 * error


def test_protects_the_detectors_heads_by_default(tmp_path: Path) -> None:
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")
    QuantizeInt8Mixed({"max_drop": 0.9}).apply(model, context)
    # Offsets of half a cell and logits of up to 25, from one convolution per level.
    assert set(context.notes["float_layers"]) == {"head_8", "head_16", "head_32"}
    assert len(context.notes["float_head"]) == 8


def test_needs_frames_for_calibration_and_evaluation(tmp_path: Path) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")
    with pytest.raises(DataError, match="at least 2 calibration frames, there is 1"):
        QuantizeInt8Mixed().apply(model, replace(context, frames=1))


def test_frames_without_results_raise(tmp_path: Path) -> None:
    model, context = model_and_context(write_detector(tmp_path / "m"), tmp_path / "s")

    def black() -> Iterator[Frame]:
        for stamp in range(4):
            yield Frame(np.zeros((96, 128, 3), np.uint8), "BGR", stamp)

    with pytest.raises(DataError, match="none of 2 calibration frames has a result"):
        QuantizeInt8Mixed().apply(model, replace(context, images=black))


def test_no_quantizable_layer_raises(tmp_path: Path) -> None:
    folder = write_segmenter(tmp_path / "m")
    path = folder / "fp32.onnx"
    model = onnx.load(path)
    # The first of the two convolutions computes a fourth channel in thousands, which the second one drops.
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if tensor.name == "smooth_w":
            large = np.zeros((1, 3, 3, 3), np.float32)
            large[0, :, 1, 1] = 300.0
            tensor.CopyFrom(numpy_helper.from_array(np.concatenate([values, large]), tensor.name))
        elif tensor.name == "head_w":
            zero = np.zeros((4, 1, 1, 1), np.float32)
            tensor.CopyFrom(numpy_helper.from_array(np.concatenate([values, zero], axis=1), tensor.name))
    onnx.save(model, path)
    model, context = model_and_context(folder, tmp_path / "s")
    with pytest.raises(ModelFileError, match="no layer can be quantized within a drop of 0.01"):
        QuantizeInt8Mixed({"max_drop": 0.01}).apply(model, with_images_in_feeds(context))
