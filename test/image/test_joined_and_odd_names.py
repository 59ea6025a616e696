# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""JPEG files that run into each other, and names of encodings that drivers write in their own way."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ad_compressed_perception.core.errors import ImageError
from ad_compressed_perception.image.decode import decode_image
from support.images import compressed_message, jpeg_of, mosaic, raw_message, smooth_image


@pytest.mark.parametrize("is_progressive", [0, 1])
def test_a_cut_jpeg_with_the_next_one_behind_it_is_no_image(is_progressive, capfd) -> None:
    """A USB camera that loses the end of a frame joins two: the first one's rows ended in gray."""
    noise = np.random.default_rng(3).integers(0, 255, (48, 64, 3), np.uint8)
    content = bytes(cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_PROGRESSIVE, is_progressive])[1])
    for share in (0.3, 0.6, 0.95):
        with pytest.raises(ImageError, match="another one begins before its end"):
            decode_image(compressed_message("jpeg", content[: int(len(content) * share)] + content))
    assert capfd.readouterr() == ("", "")
    # Behind a whole image another one is a preview, and ignored.
    pixels = decode_image(compressed_message("jpeg", content)).pixels
    behind = decode_image(compressed_message("jpeg", content + jpeg_of(smooth_image()))).pixels
    np.testing.assert_array_equal(behind, pixels)


def test_upper_and_lower_case_of_encodings_are_alike_in_format_texts_too() -> None:
    """BAYER_GRBG8 was gray: the mosaic itself, without a word."""
    samples = jpeg_of(mosaic(smooth_image(), "grbg"))
    frames = [
        decode_image(compressed_message(text, samples))
        for text in ("bayer_grbg8; jpeg compressed bgr8", "BAYER_GRBG8; JPEG compressed BGR8")
    ]
    np.testing.assert_array_equal(frames[0].pixels, frames[1].pixels)
    gray = decode_image(compressed_message("BAYER_GRBG8; JPEG COMPRESSED MONO8", samples))
    assert gray.color == "GRAY"
    rows = smooth_image().tobytes()
    assert decode_image(raw_message("8uc3", 64, 48, rows, step=192)).color == "BGR"
    for message in (
        compressed_message("16uc1; jpeg compressed mono8", samples),
        raw_message("32fc1", 64, 48, bytes(48 * 256), step=256),
    ):
        with pytest.raises(ImageError, match="a depth map"):
            decode_image(message)


@pytest.mark.parametrize("name", ["bayer_rggb12", "BayerRG8", "bayer_gb8"])
def test_a_mosaic_of_an_unknown_name_is_not_taken_for_gray(name) -> None:
    samples = jpeg_of(mosaic(smooth_image(), "rggb"))
    with pytest.raises(ImageError, match="unknown format"):
        decode_image(compressed_message(f"{name}; jpeg compressed bgr8", samples))
