# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Biases that a quantizer would clip: one weight of the channel carries a scale large enough for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from ad_compressed_perception.onnx_graph.int32_biases import keep_biases
from ad_compressed_perception.onnx_graph.session import open_session
from support.onnx_files import save_model

RANGES = {"x": (-1.0, 1.0)}


def layer(path: Path, operator: str, weights: Any, **attributes: Any) -> ModelProto:
    """Two output channels: one of ones, one of zeros, biases 3 and -60."""
    node = helper.make_node(operator, ["x", "w", "b"], ["y"], "layer", **attributes)
    tensors = [
        numpy_helper.from_array(weights.astype(np.float32), "w"),
        numpy_helper.from_array(np.array([3.0, -60.0], np.float32), "b"),
    ]
    sizes = ([1, 4], [1, 2]) if operator == "Gemm" else ([1, 4, 5, 5], [1, 2, 5, 5])
    return onnx.load(save_model(path, [node], tensors, {"x": sizes[0]}, {"y": sizes[1]}))


def weights_of(operator: str, transposed: bool) -> Any:
    first = np.concatenate([np.ones((1, 4)), np.zeros((1, 4))])
    if operator == "Gemm":
        return first if transposed else first.T
    return (first.T if operator == "ConvTranspose" else first)[:, :, None, None]


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [("Conv", {}), ("ConvTranspose", {}), ("Gemm", {"transB": 1}), ("Gemm", {})],
)
def test_the_scale_of_a_channel_of_zeros_holds_its_bias(
    tmp_path: Path, operator: str, attributes: dict[str, int]
) -> None:
    model = layer(tmp_path / "m.onnx", operator, weights_of(operator, "transB" in attributes), **attributes)
    feeds = {"x": np.random.default_rng(0).uniform(-1, 1, [d.dim_value for d in _sizes(model)]).astype("f4")}
    before = open_session(model).run(None, feeds)[0]

    assert keep_biases(model, RANGES) == ["layer"]

    name = model.graph.node[0].input[1]
    (stored,) = (t for t in model.graph.initializer if t.name == name)
    (largest,) = np.unique(numpy_helper.to_array(stored)[numpy_helper.to_array(stored) % 1 != 0])
    # Scales: 2 / 255 of the input, largest / 127 of the weights.
    assert 60.0 / (2 / 255 * largest / 127) <= 2.0**30 * 1.001
    assert np.abs(open_session(model).run(None, feeds)[0] - before).max() < 1e-4 * 60.0
    assert keep_biases(model, RANGES) == [], "once is enough"


def _sizes(model: ModelProto) -> Any:
    return model.graph.input[0].type.tensor_type.shape.dim


def test_what_fits_or_is_not_known_stays_as_it_is(tmp_path: Path) -> None:
    ordinary = layer(tmp_path / "m.onnx", "Conv", np.full((2, 4, 1, 1), 0.01))
    assert keep_biases(ordinary, RANGES) == []
    zeros = layer(tmp_path / "z.onnx", "Conv", np.zeros((2, 4, 1, 1)))
    assert keep_biases(zeros, {}) == [], "without the input's range no scale is known"
    assert keep_biases(zeros, {"x": (0.0, 0.0)}) == []
