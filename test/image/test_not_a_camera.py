# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is not a camera's image is refused by name, unless the user says what it is."""

from __future__ import annotations

import numpy as np
import pytest

from ad_compressed_perception.core.errors import ImageError
from ad_compressed_perception.image.decode import decode_image, to_bgr8
from ad_compressed_perception.image.format_text import format_note, parse_format
from support.images import compressed_message, jpeg_of, mosaic, plain_image, png_of, raw_message, smooth_image

DEPTH_16 = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)
DEPTH_FILE = png_of(DEPTH_16)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (raw_message("16UC1", 64, 48, DEPTH_16.tobytes(), step=128), "a depth map"),
        (raw_message("32FC1", 64, 48, bytes(48 * 256), step=256), "a depth map"),
        (compressed_message("16UC1; png compressed ", DEPTH_FILE), r"a depth map \(16UC1\)"),
        (compressed_message("16UC1; jpeg compressed ", jpeg_of(smooth_image()[..., 0])), "a depth map"),
        (compressed_message("16UC1; compressedDepth png", bytes(12) + DEPTH_FILE), "a depth map"),
        (compressed_message("32FC1; compressedDepth png", bytes(12) + DEPTH_FILE), "a depth map"),
        (compressed_message("png", DEPTH_FILE), "a gray 16-bit file, as of depth or labels"),
        (compressed_message("mono8; png compressed ", DEPTH_FILE), "a gray 16-bit file"),
    ],
)
def test_depth_is_no_image(message, expected) -> None:
    """Each was a gray image of the scene, and models gave results for it."""
    with pytest.raises(ImageError, match=expected):
        decode_image(message, "/depth")


def test_what_is_set_to_be_a_camera_of_so_many_bits_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 12-bit thermal camera that publishes 16UC1; without the setting 15 would be its brightest gray."""
    raw = raw_message("16UC1", 64, 48, DEPTH_16.tobytes(), step=128)
    file = compressed_message("png", DEPTH_FILE)
    for message in (raw, file):
        frame = decode_image(message, sample_bits=12)
        np.testing.assert_array_equal(frame.pixels, DEPTH_16 << 4)
        np.testing.assert_array_equal(to_bgr8(frame)[..., 0], DEPTH_16 >> 4)
    monkeypatch.setenv("ADCP_SAMPLE_BITS", "12")
    np.testing.assert_array_equal(decode_image(raw).pixels, DEPTH_16 << 4)
    monkeypatch.setenv("ADCP_SAMPLE_BITS", "8 bits")
    with pytest.raises(ImageError, match="ADCP_SAMPLE_BITS is 9 to 16"):
        decode_image(raw)


def test_named_16_bit_gray_is_a_camera() -> None:
    frame = decode_image(compressed_message("mono16; png compressed ", DEPTH_FILE))
    np.testing.assert_array_equal(frame.pixels, DEPTH_16)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_mosaic_in_a_png_has_the_colors_of_the_raw_one(pattern, bits) -> None:
    """By the format text; lossless, so both are equal."""
    samples = mosaic(smooth_image(), pattern).astype(f"u{bits // 8}") << (bits - 8)
    name = f"bayer_{pattern}{bits}"
    raw = decode_image(raw_message(name, 64, 48, samples.tobytes(), step=8 * bits))
    for text in (f"{name}; png compressed ", f"{name}; png compressed {name}"):
        frame = decode_image(compressed_message(text, png_of(samples)))
        assert frame.color == "BGR"
        np.testing.assert_array_equal(frame.pixels, raw.pixels)
    # image_transport converted it to gray before compression: it is no mosaic any more.
    gray = decode_image(compressed_message(f"{name}; jpeg compressed mono8", jpeg_of(smooth_image()[..., 0])))
    assert gray.color == "GRAY"


@pytest.mark.parametrize(
    ("text", "color", "expected"),
    [
        (
            "yuv422; jpeg compressed mono8",
            "GRAY",
            "images were yuv422, which has colors, but their files are",
        ),
        ("yuv422_yuy2; mono8; jpeg compressed", "GRAY", "dropped the colors"),
        ("rgb8; jpeg compressed ", "GRAY", "dropped the colors"),
        ("bgr8; jpeg compressed rgb8", "BGR", "red and blue exchanged"),
        ("bayer_rggb8; jpeg compressed ", "BGR", "Bayer mosaics"),
        ("yuv422; jpeg compressed bgr8", "BGR", ""),
        ("rgb8; jpeg compressed bgr8", "BGR", ""),
        ("mono8; jpeg compressed ", "GRAY", ""),
        ("jpeg", "GRAY", ""),
        ("h264", "BGR", ""),
        (None, "BGR", ""),
    ],
)
def test_a_format_text_that_contradicts_the_file_is_named(text, color, expected) -> None:
    assert expected in format_note(text, color)
    assert bool(expected) == bool(format_note(text, color))


@pytest.mark.parametrize(
    ("text", "kind", "codec"),
    [
        *((text, "video", "h264") for text in ("h264", "H.264", "h264;yuv420p;bgr8", "libx264", "h264_nvenc",
        "avc1")), *((text, "video", "hevc") for text in ("hevc", "h265", "H265", "hevc_nvenc",
        "libx265;bgr8")), ("vp9", "video", ""),
        ("jpeg", "image", ""),
        ("rgb8; jpeg compressed bgr8", "image", ""),
        ("16UC1; compressedDepth", "depth", ""),
        ("", "unknown", ""),
        (7, "unknown", ""),
    ],
)  # fmt: skip
def test_kinds_of_formats(text, kind, codec) -> None:
    parsed = parse_format(text)
    assert (parsed.kind, parsed.codec) == (kind, codec)


@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("padding", [b"", bytes(64)])
def test_a_jpeg_without_its_end_marker_is_completed(missing, padding) -> None:
    """Cameras that count bytes too few; every pixel is as in the whole file."""
    for content in (
        jpeg_of(smooth_image()),
        jpeg_of(smooth_image()[..., 0]),
        jpeg_of(plain_image((1, 2, 3))),
    ):
        whole = decode_image(compressed_message("jpeg", content)).pixels
        if missing == 1 and padding:
            continue  # FF 00 00 is a byte of the image, and then nothing says where it ends
        cut = decode_image(compressed_message("jpeg", content[:-missing] + padding)).pixels
        np.testing.assert_array_equal(cut, whole)


@pytest.mark.parametrize("interval", [0, 1, 3])
def test_a_jpeg_that_lacks_a_byte_more_is_cut_off(interval) -> None:
    """With restart markers a decoder fills a missing interval with gray and says nothing."""
    import cv2

    noise = np.random.default_rng(2).integers(0, 255, (48, 64, 3), np.uint8)
    for image in (smooth_image(), noise, smooth_image()[..., 0]):
        parameters = [cv2.IMWRITE_JPEG_RST_INTERVAL, interval] if interval else []
        content = bytes(cv2.imencode(".jpg", image, parameters)[1])
        assert decode_image(compressed_message("jpeg", content[:-2])).pixels.shape == image.shape
        for missing in (3, 4, 7, 20, 150):
            with pytest.raises(ImageError, match="cut off"):
                decode_image(compressed_message("jpeg", content[:-missing]))
