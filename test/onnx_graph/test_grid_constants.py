# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Constants of decoding heads at another image size: what an exporter would have written for that size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.compression.passes.graph.exact_edits import FlattenPerLevel, FocusToConv
from ad_compressed_perception.compression.passes.graph.input_size import InputSize
from ad_compressed_perception.compression.passes.graph.replace_activation import ReplaceActivation
from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.graph import Graph
from ad_compressed_perception.onnx_graph.grid_constants import continue_grid, stated_size
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.onnx_graph.resize import resize_graph
from support.compression import model_and_context
from support.models import write_detector, write_segmenter
from support.relaid import relay


def centers(height: int, width: int, strides: tuple[int, ...], offset: float, pixels: bool) -> np.ndarray:
    """Return (cells, 2) x and y of the cells of all levels, row by row, in strides or in pixels."""
    levels = []
    for stride in strides:
        x, y = np.meshgrid(np.arange(width // stride), np.arange(height // stride))
        levels.append((np.stack([x.ravel(), y.ravel()], 1) + offset) * (stride if pixels else 1))
    return np.concatenate(levels).astype(np.float32)


@given(
    st.sampled_from([(8, 16, 32), (16, 32), (8, 16, 32, 64)]),
    st.floats(0.0, 0.5),
    st.booleans(),
    st.sampled_from(["rows", "columns", "anchors"]),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_a_grid_is_continued_to_what_is_exported_for_another_size(
    strides: tuple[int, ...], offset: float, pixels: bool, form: str, rows: int, columns: int
) -> None:
    def constant(height: int, width: int) -> np.ndarray:
        values = centers(height, width, strides, offset, pixels)
        if form == "anchors":  # three sizes beside the center, a cell's anchors one after another
            sizes = np.tile(np.array([[8.0, 16.0], [16.0, 8.0], [5.0, 5.0]], np.float32), (len(values), 1))
            return np.concatenate([np.repeat(values, 3, axis=0), sizes], axis=1)[None]
        return values[None] if form == "rows" else values.T[None]

    found = continue_grid(constant(128, 192), (128, 192), (64 * rows, 64 * columns))

    assert found is not None
    np.testing.assert_allclose(found, constant(64 * rows, 64 * columns), rtol=1e-5, atol=1e-3)


def test_a_map_of_one_level_is_continued_and_weights_are_not() -> None:
    x, y = np.meshgrid(np.arange(10.0), np.arange(6.0))
    grid = np.stack([x, y], axis=-1)[None, None]  # (1, 1, 6, 10, 2), as YOLOv5 adds it to a level
    found = continue_grid(grid, (48, 80), (32, 96))
    assert found is not None
    assert found.shape == (1, 1, 4, 12, 2)
    assert found[0, 0, 3, 11].tolist() == [11.0, 3.0]
    trained = np.random.default_rng(0).normal(size=grid.shape)
    assert continue_grid(trained, (48, 80), (32, 96)) is None


@pytest.mark.parametrize("layout", ["columns", "objectness", "suppressed"])
def test_a_decoding_head_at_another_size_decodes_as_one_exported_for_it(tmp_path: Path, layout: str) -> None:
    manifest = load_manifest(write_detector(tmp_path / "raw"))
    raw = read_model(manifest.variant_path("fp32"))
    other = manifest.input.model_copy(update={"width": 128, "height": 64})
    resized = onnx.ModelProto()
    resized.CopyFrom(raw)
    resize_graph(resized, manifest.input, other)
    expected = relay(resized, manifest.model_copy(update={"input": other}), layout)

    model = relay(raw, manifest, layout)
    assert resize_graph(model, manifest.input, other)

    image = {"images": np.random.default_rng(0).uniform(0, 255, (1, 3, 64, 128)).astype(np.float32)}
    outputs = [list(run_model(one, image).values()) for one in (model, expected)]
    np.testing.assert_allclose(outputs[0][0], outputs[1][0], rtol=1e-5, atol=1e-4)


def test_boxes_as_shares_of_the_present_size_keep_it(tmp_path: Path) -> None:
    """Divided by 64 they would be shares of another input's sides by name only."""
    model, context = model_and_context(write_detector(tmp_path / "raw"), tmp_path / "scratch")
    relaid = relay(model, context.manifest, "normalized")
    node = stated_size(Graph(relaid), (64, 64))
    assert node is not None and node.op_type == "Div"
    assert stated_size(Graph(model), (64, 64)) is None
    with pytest.raises(ModelFileError, match="sides of the present input, 64x64"):
        InputSize({"width": 96, "height": 64}).apply(relaid, context)
    # Trimming the padding is an offer: the model stays as it is, and the notes say why.
    kept = InputSize({"fit": "frames", "multiple_of": 16}).apply(relaid, context)
    assert kept.graph.input[0].type.tensor_type.shape.dim[2].dim_value == 64
    assert context.input.height == 64
    assert "sides of the present input" in context.notes["size"]


@pytest.mark.parametrize("step", [FocusToConv, FlattenPerLevel, ReplaceActivation])
def test_a_pass_with_nothing_to_change_is_an_error_unless_it_is_optional(tmp_path: Path, step: type) -> None:
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "scratch")
    with pytest.raises(ModelFileError, match="leave this pass out, or make it optional"):
        step({}).apply(model, context)
    before = model.SerializeToString()
    assert step({"optional": True}).apply(model, context).SerializeToString() == before
    assert context.notes["nothing_to_change"]


def test_a_factor_of_one_side_is_seen_as_an_initializer_and_as_a_node() -> None:
    for index, value in enumerate((640.0, 1.0 / 384.0)):
        tensor = numpy_helper.from_array(np.array(value, np.float32), "side")
        nodes = [helper.make_node("Mul", ["image", "side"], ["scaled"])]
        if index:
            nodes.insert(0, helper.make_node("Constant", [], ["side"], value=tensor))
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 384, 640])],
            [helper.make_tensor_value_info("scaled", TensorProto.FLOAT, [1, 3, 384, 640])],
            [] if index else [tensor],
        )
        assert stated_size(Graph(helper.make_model(graph)), (384, 640)) is not None


@pytest.mark.parametrize("pixels", [True, False])
def test_a_grid_in_shares_of_the_image_is_not_continued(pixels: bool) -> None:
    """At twice the width the line of centers up to 1 would lead to 2: boxes far outside, and no error."""
    strides = (8, 16)
    shares = centers(128, 192, strides, 0.5, True) / np.array([192.0, 128.0], np.float32)
    sizes = np.concatenate([np.full(24 * 16, 8 / 192), np.full(12 * 8, 16 / 192)]).astype(np.float32)
    for values in (shares[None], shares.T[None], shares[None] * 2.0 - 1.0, sizes[None]):
        assert continue_grid(values, (128, 192), (128, 384)) is None
    same = centers(128, 192, strides, 0.5, pixels)[None]
    assert continue_grid(same, (128, 192), (128, 384)) is not None
