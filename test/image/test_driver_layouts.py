# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Raw images as real drivers lay them out, against arithmetic written down here from the definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_compressed_perception.core.errors import ImageError
from ad_compressed_perception.image.decode import decode_image, to_bgr8
from ad_compressed_perception.image.encodings import ENCODINGS
from support.images import padded, raw_message, smooth_image, yuv_rows


def bt601(y, u, v):
    """Return BGR of ITU-R BT.601 with luma 16..235, (..., 3) uint8."""
    y, u, v = (1.164383 * (np.asarray(y, float) - 16), np.asarray(u, float) - 128, np.asarray(v, float) - 128)
    bgr = [y + 2.017232 * u, y - 0.391762 * u - 0.812968 * v, y + 1.596027 * v]
    return np.clip(np.rint(np.stack(bgr, axis=-1)), 0, 255)


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
@pytest.mark.parametrize(
    ("step", "height"),
    [(96, 48), (64, 72), (0, 48), (0, 72)],
    ids=["step 1.5 W", "height 1.5 H", "step 0", "both"],
)
def test_nv12_of_drivers_that_count_the_chroma_is_the_image(encoding, step, height) -> None:
    """Some drivers put 3/2 of the width into step, or 3/2 of the height into height: 12 bits a pixel."""
    source_image = smooth_image()
    data = yuv_rows(source_image, encoding).tobytes()

    frame = decode_image(raw_message(encoding, 64, height, data, step=step))

    assert frame.pixels.shape == (48, 64, 3)
    assert np.abs(frame.pixels.astype(int) - source_image).max() <= 8


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 3), st.booleans(), st.integers(0, 2**32 - 1))
def test_nv24_has_a_chroma_pair_for_every_pixel(width, height, padding, is_last_row_short, seed) -> None:
    """Rows of chroma are twice as long as rows of luma, their padding, too."""
    noise = np.random.default_rng(seed)
    y, u, v = noise.integers(16, 236, (3, height, width), np.uint8)
    luma, step = padded(y, padding)
    chroma, _ = padded(np.stack([u, v], axis=2).reshape(height, 2 * width), 2 * padding)
    data = (luma + chroma)[: -2 * padding if is_last_row_short and padding else None]

    frame = decode_image(raw_message("nv24", width, height, data, step=step))

    assert frame.color == "BGR"
    assert np.abs(frame.pixels - bt601(y, u, v)).max() <= 2, "rounding in fixed point"


@pytest.mark.parametrize(
    ("encoding", "places"),
    [
        *((name, (0, 1, 2, 3)) for name in ("yuyv", "yuv422_yuy2", "yuy2")),
        *((name, (1, 0, 3, 2)) for name in ("uyvy", "yuv422")),
        ("yvyu", (0, 3, 2, 1)),
        ("YUYV", (0, 1, 2, 3)),
    ],
)
def test_the_four_bytes_of_two_pixels_are_where_the_name_says(encoding, places) -> None:
    """First luma, U, second luma, V of the definitions, at ``places`` of four bytes."""
    noise = np.random.default_rng(3)
    samples = noise.integers(16, 236, (6, 8, 4), np.uint8)  # Y0 U Y1 V
    data = np.empty_like(samples)
    for place, sample in zip(places, range(4), strict=True):
        data[..., place] = samples[..., sample]

    pixels = decode_image(raw_message(encoding, 16, 6, data.tobytes(), step=32)).pixels

    u, v = samples[..., 1], samples[..., 3]
    assert np.abs(pixels[:, 0::2] - bt601(samples[..., 0], u, v)).max() <= 2
    assert np.abs(pixels[:, 1::2] - bt601(samples[..., 2], u, v)).max() <= 2


@settings(max_examples=150, deadline=None)
@given(
    encoding=st.sampled_from(["bgr8", "rgb8", "mono8", "mono16", "rgb16", "bgr16", "bgra16", "8UC4", "8UC1"]),
    sizes=st.tuples(st.integers(1, 9), st.integers(2, 9), st.integers(0, 6)),
    is_last_row_short=st.booleans(),
    trailer=st.integers(0, 4096),
    is_bigendian=st.booleans(),
    sample_bits=st.sampled_from([0, 12, 14, 16]),
    seed=st.integers(0, 2**32 - 1),
)
def test_padding_trailers_and_bits_do_not_change_the_pixels(
    encoding, sizes, is_last_row_short, trailer, is_bigendian, sample_bits, seed
) -> None:
    width, height, padding = sizes
    layout = ENCODINGS[encoding]
    bits = 8 if layout.sample_bytes == 1 else sample_bits or 16
    order = (">" if is_bigendian else "<") + f"u{layout.sample_bytes}"
    shape = (height, width, layout.channels)
    samples = np.random.default_rng(seed).integers(0, 1 << bits, shape, dtype=f"u{layout.sample_bytes}")
    data, step = padded(samples.astype(order), padding)
    if is_last_row_short and padding:
        data = data[:-padding]
    else:
        data += bytes(trailer)
    given_step = 0 if padding == 0 and seed % 2 else step

    message = raw_message(encoding, width, height, data, step=given_step, is_bigendian=is_bigendian)
    frame = decode_image(message, sample_bits=sample_bits)

    expected = samples
    if layout.sample_bytes == 2:
        expected = samples << (16 - bits) if layout.color == "GRAY" else samples >> (bits - 8)
    expected = expected[..., : 3 if layout.channels > 1 else 1].reshape(frame.pixels.shape)
    np.testing.assert_array_equal(frame.pixels, expected)
    if layout.sample_bytes == 2:
        high = (samples >> (bits - 8)).astype(np.uint8)[..., :3]
        order_of_bgr = [2, 1, 0] if layout.color == "RGB" else [0, 1, 2]
        bgr = high[..., order_of_bgr] if layout.channels > 1 else high.repeat(3, axis=2)
        np.testing.assert_array_equal(to_bgr8(frame), bgr)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_mosaic_of_12_bits_in_16_is_as_bright_as_one_of_8(pattern) -> None:
    samples = np.random.default_rng(1).integers(0, 256, (12, 16), np.uint8)
    narrow = decode_image(raw_message(f"bayer_{pattern}8", 16, 12, samples.tobytes(), step=16))
    data = (samples.astype("<u2") << 4 | 7).tobytes()

    wide = decode_image(raw_message(f"bayer_{pattern}16", 16, 12, data, step=32), sample_bits=12)

    np.testing.assert_array_equal(wide.pixels, narrow.pixels)


def test_a_sample_of_more_bits_than_were_set_is_an_error() -> None:
    """Moved up by 4 bits it would be another, dark value."""
    data = np.full((4, 4), 4096, "<u2").tobytes()
    with pytest.raises(ImageError, match="a sample of 4096 has more than the 12 bits that were set"):
        decode_image(raw_message("mono16", 4, 4, data, step=8), sample_bits=12)


@pytest.mark.parametrize(
    ("encoding", "width", "height", "step", "size"),
    [
        ("mono8", 640, 480, 640, 640 * 480 * 2),  # another height
        ("mono8", 640, 480, 640, 640 * 480 * 3 // 2),  # nv12 called mono8
        ("bgr8", 640, 480, 1920, 640 * 480 * 4),  # bgra8 called bgr8
        ("bgr8", 640, 480, 640, 640 * 480 * 3),  # pixels in step
    ],
)
def test_sizes_of_another_image_are_refused(encoding, width, height, step, size) -> None:
    """What lies behind an image is a page or a few lines, not half an image."""
    with pytest.raises(ImageError, match=r"wrong size|step is too small|expected"):
        decode_image(raw_message(encoding, width, height, bytes(size), step=step))


@pytest.mark.parametrize("step", [2**31, 2**63 - 1])
def test_the_step_of_a_single_row_does_not_matter(step) -> None:
    """There is no second row; as a stride it would be larger than an array may be."""
    assert decode_image(raw_message("mono8", 3, 1, b"abc", step=step)).pixels.tolist() == [[97, 98, 99]]
