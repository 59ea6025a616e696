# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mapping of pixels to the model's input and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.tasks.geometry import plan_geometry
from ad_compressed_perception.training.distillation.box_targets import boxes_to_model

sizes = st.integers(1, 4000)
small = st.integers(1, 300)


@given(sizes, sizes, st.integers(8, 1024), st.integers(8, 1024), st.booleans())
def test_a_letterbox_shows_the_whole_image_and_keeps_its_shape(
    source_width: int, source_height: int, width: int, height: int, center: bool
) -> None:
    align = "center" if center else "top_left"
    spec = InputSpec(width=width, height=height, resize="letterbox", letterbox_align=align)
    geometry = plan_geometry(spec, source_width, source_height)
    assert 0 <= geometry.offset_x <= width - geometry.resized_width
    assert 0 <= geometry.offset_y <= height - geometry.resized_height
    # One side fills the input, up to the pixel that rounding down may cost.
    assert geometry.resized_width >= width - 1 or geometry.resized_height >= height - 1
    # Rounding a side down to whole pixels changes the ratio by less than one pixel of that side.
    ratio = min(width / source_width, height / source_height)
    assert abs(geometry.resized_width - source_width * ratio) <= 1.0
    assert abs(geometry.resized_height - source_height * ratio) <= 1.0


@given(
    sizes,
    sizes,
    st.sampled_from(["stretch", "letterbox", "crop"]),
    st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=5),
)
def test_boxes_are_mapped_back(
    source_width: int, source_height: int, resize: str, corners: list[tuple[float, ...]]
) -> None:
    spec = InputSpec(width=200, height=200, resize=resize, resize_width=320, resize_height=240)
    geometry = plan_geometry(spec, source_width, source_height)
    size = np.array([source_width, source_height] * 2)
    boxes = (np.asarray(corners) * size).astype(np.float32)
    back = geometry.boxes_to_source(boxes_to_model(geometry, boxes))
    # float32 keeps about seven digits; 4000 px leaves 1e-3 px, a crop's offset a little more.
    np.testing.assert_allclose(back, boxes, atol=0.01)


def test_boxes_beyond_the_image_are_clipped_to_it() -> None:
    geometry = plan_geometry(InputSpec(width=100, height=100), 200, 50)
    boxes = geometry.boxes_to_source(np.array([[-10, -10, 110, 110]], np.float32))
    np.testing.assert_array_equal(boxes, [[0, 0, 200, 50]])


@given(small, small, st.sampled_from(["stretch", "letterbox", "crop"]))
def test_a_label_map_comes_back_in_the_sources_size(width: int, height: int, resize: str) -> None:
    spec = InputSpec(width=32, height=24, resize=resize, resize_width=48, resize_height=32)
    geometry = plan_geometry(spec, width, height)
    labels = np.full((24, 32), 3, np.uint8)
    back = geometry.labels_to_source(labels)
    assert back.shape == (height, width)
    assert back.dtype == np.uint8
    assert set(np.unique(back)) <= ({0, 3} if resize == "crop" else {3})


def test_a_cropped_label_map_leaves_what_was_cut_off_unlabeled() -> None:
    # Source 320x240 is resized to itself, the model sees the bottom center 200x200.
    spec = InputSpec(
        width=200, height=200, resize="crop", resize_width=320, resize_height=240,
        crop_anchor="bottom",
    )  # fmt: skip
    back = plan_geometry(spec, 320, 240).labels_to_source(np.ones((200, 200), np.uint8))
    expected = np.zeros((240, 320), np.uint8)
    expected[40:, 60:260] = 1
    np.testing.assert_array_equal(back, expected)


@pytest.mark.parametrize("factor", [1, 2])
def test_a_label_map_keeps_the_side_of_an_edge(factor: int) -> None:
    # Left half 1, right half 2, also at half the model's resolution: the edge stays in the middle.
    labels = np.ones((24 // factor, 32 // factor), np.uint8)
    labels[:, 16 // factor :] = 2
    back = plan_geometry(InputSpec(width=32, height=24), 640, 480).labels_to_source(labels)
    assert (back[:, :320] == 1).all()
    assert (back[:, 320:] == 2).all()
