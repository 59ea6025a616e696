# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The model's input tensor holds the pixels the manifest asks for, in its order and scale."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.prepare import Preparer

BLUE, GREEN, RED = 10, 90, 200


def flat(color: str, size: tuple[int, int] = (30, 40)) -> Frame:
    """Return a frame of one color, whatever its channel order."""
    if color == "GRAY":
        return Frame(np.full(size, 77, np.uint8), "GRAY")
    values = (BLUE, GREEN, RED) if color == "BGR" else (RED, GREEN, BLUE)
    return Frame(np.full((*size, 3), values, np.uint8), color)  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("expected_order", ["BGR", "RGB"])
@pytest.mark.parametrize("given", ["BGR", "RGB"])
def test_channels_are_in_the_order_of_the_model(layout: str, expected_order: str, given: str) -> None:
    prepare = Preparer(InputSpec(width=8, height=6, layout=layout, color=expected_order))
    tensor, _ = prepare(flat(given))
    assert tensor.shape == ((1, 3, 6, 8) if layout == "NCHW" else (1, 6, 8, 3))
    first = tensor[0, :, 0, 0] if layout == "NCHW" else tensor[0, 0, 0]
    expected = [BLUE, GREEN, RED] if expected_order == "BGR" else [RED, GREEN, BLUE]
    np.testing.assert_array_equal(first, expected)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_gray_and_color_are_converted_to_each_other(layout: str) -> None:
    gray, _ = Preparer(InputSpec(width=8, height=6, layout=layout, color="GRAY"))(flat("BGR"))
    # ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B = 113.8
    assert np.unique(gray).tolist() == [114.0]
    color, _ = Preparer(InputSpec(width=8, height=6, layout=layout, color="RGB"))(flat("GRAY"))
    assert color.size == 3 * 48
    assert np.unique(color).tolist() == [77.0]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_normalization_is_scale_then_mean_then_std(layout: str) -> None:
    spec = InputSpec(
        width=4, height=4, layout=layout, color="RGB", scale=1 / 255,
        mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225],
    )  # fmt: skip
    tensor, _ = Preparer(spec)(flat("BGR"))
    pixel = tensor[0, :, 1, 1] if layout == "NCHW" else tensor[0, 1, 1]
    expected = (np.array([RED, GREEN, BLUE]) / 255 - spec.mean) / spec.std
    np.testing.assert_allclose(pixel, expected, rtol=1e-5)


def test_a_letterbox_is_padded_anew_when_the_cameras_size_changes() -> None:
    prepare = Preparer(InputSpec(width=8, height=8, resize="letterbox", pad_value=114))
    wide, _ = prepare(flat("RGB", (4, 8)))
    assert (wide[0, :, 4:] == 114).all()
    assert (wide[0, 0, :4] == RED).all()
    tall, _ = prepare(flat("RGB", (8, 4)))
    assert (tall[0, :, :, 4:] == 114).all()
    assert (tall[0, 0, :, :4] == RED).all()


def test_the_crop_is_cut_where_the_anchor_says() -> None:
    image = np.zeros((240, 320), np.uint8)
    image[40:, 60:260] = 255
    spec = InputSpec(
        width=200, height=200, color="GRAY", resize="crop", resize_width=320, resize_height=240,
        crop_anchor="bottom",
    )  # fmt: skip
    tensor, geometry = Preparer(spec)(Frame(image, "GRAY"))
    assert (tensor == 255).all()
    assert (geometry.offset_x, geometry.offset_y) == (-60, -40)


def test_sixteen_bits_become_eight_by_their_high_byte() -> None:
    frame = Frame(np.full((4, 4), 0xAB12, np.uint16), "GRAY")
    tensor, _ = Preparer(InputSpec(width=4, height=4, color="GRAY"))(frame)
    assert np.unique(tensor).tolist() == [0xAB]


def test_read_only_views_with_row_padding_are_read_without_complaint() -> None:
    padded = np.zeros((30, 50, 3), np.uint8)
    padded[:, :40] = (BLUE, GREEN, RED)
    view = padded[:, :40]
    view.flags.writeable = False
    tensor, _ = Preparer(InputSpec(width=40, height=30, color="BGR"))(Frame(view, "BGR"))
    assert (tensor[0, 2] == RED).all()


def test_a_uint8_input_is_the_resized_image_itself() -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (30, 40, 3), np.uint8)
    spec = InputSpec(width=16, height=12, layout="NHWC", dtype="uint8", color="BGR")
    tensor, _ = Preparer(spec)(Frame(image, "BGR"))
    np.testing.assert_array_equal(tensor[0], cv2.resize(image, (16, 12)))
