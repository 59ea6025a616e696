# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever bytes arrive: the right pixels or an ImageError of one line, nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_compressed_perception.core.errors import ImageError
from ad_compressed_perception.image.decode import Frame, decode_image, to_bgr8, to_gray8
from ad_compressed_perception.image.encodings import ENCODINGS
from support.images import compressed_message, jpeg_of, png_of, raw_message, smooth_image

JPEG = jpeg_of(smooth_image(24, 18))
PNG = png_of(smooth_image(24, 18))
ANY_SIZE = st.one_of(st.integers(-2, 20), st.integers(0, 2**32), st.none(), st.text(max_size=2))
FORMATS = st.one_of(st.sampled_from(["jpeg", "png", "bgr8; jpeg compressed bgr8"]), st.text())


def check_outcome(message: object) -> Frame | None:
    """Decode; a frame must be well formed and convertible, an error must be one line."""
    try:
        frame = decode_image(message, "/topic")
    except ImageError as error:
        assert str(error).startswith("/topic: ") and "\n" not in str(error)
        return None
    height, width = frame.pixels.shape[:2]
    assert frame.pixels.ndim == (2 if frame.color == "GRAY" else 3)
    assert frame.pixels.dtype in ((np.uint8, np.uint16) if frame.color == "GRAY" else (np.uint8,))
    assert to_bgr8(frame).shape == (height, width, 3)
    assert to_gray8(frame).shape == (height, width)
    return frame


@settings(max_examples=300, deadline=None)
@given(
    encoding=st.one_of(st.sampled_from(sorted(ENCODINGS)), st.text(), st.none()),
    width=ANY_SIZE,
    height=ANY_SIZE,
    step=ANY_SIZE,
    is_bigendian=st.one_of(st.booleans(), st.none()),
    data=st.one_of(st.binary(max_size=400), st.none()),
)
def test_arbitrary_fields_end_in_a_frame_or_in_one_line(encoding, width, height, step, is_bigendian, data):
    message = raw_message(encoding, width, height, data, step=step, is_bigendian=is_bigendian)

    frame = check_outcome(message)

    if frame is not None:
        assert frame.pixels.shape[:2] == (height, width)


@settings(max_examples=300, deadline=None)
@given(
    encoding=st.sampled_from(sorted(ENCODINGS)),
    width=st.integers(1, 9),
    height=st.integers(1, 9),
    padding=st.integers(0, 5),
    is_bigendian=st.booleans(),
    data=st.data(),
)
def test_every_small_image_with_consistent_sizes_is_decoded_or_refused_by_rule(
    encoding, width, height, padding, is_bigendian, data
):
    layout = ENCODINGS[encoding]
    step = width * layout.channels * layout.sample_bytes + padding
    size = step * layout.rows(height)
    content = data.draw(st.binary(min_size=size, max_size=size))
    message = raw_message(encoding, width, height, content, step=step, is_bigendian=is_bigendian)

    frame = check_outcome(message)

    # OpenCV needs whole chroma blocks and, for a mosaic, a neighbor on each side.
    is_allowed = (
        width % layout.multiple[0] == 0
        and height % layout.multiple[1] == 0
        and min(width, height) >= (3 if encoding.startswith("bayer") else 1)
    )
    assert (frame is not None) == is_allowed
    if frame is None or encoding.startswith(("bayer", "yu", "yv", "uyvy", "nv")):
        return
    is_scaled = encoding.endswith("16") and encoding != "mono16"  # to its high byte
    # Sample by sample, from the definition of `step`: row * step + column * pixel size.
    order = "big" if is_bigendian else "little"
    pixels = frame.pixels.reshape(height, width, -1)
    for row in range(height):
        for column in range(width):
            for channel in range(pixels.shape[2]):
                place = column * layout.channels + channel
                start = row * step + place * layout.sample_bytes
                sample = content[start : start + layout.sample_bytes]
                value = int.from_bytes(sample, order)
                assert pixels[row, column, channel] == (value >> 8 if is_scaled else value)


@settings(max_examples=150, deadline=None)
@given(
    content=st.sampled_from([JPEG, PNG]),
    place=st.floats(0, 1, exclude_max=True),
    padding=st.integers(0, 40),
)
def test_a_file_cut_at_any_byte_is_an_error(content, place, padding):
    cut = content[: min(int(len(content) * place), len(content) - 3)]  # a JPEG needs no end marker

    with pytest.raises(ImageError):
        decode_image(compressed_message("jpeg", cut + bytes(padding)))


@settings(max_examples=200, deadline=None)
@given(
    content=st.sampled_from([JPEG, PNG]),
    format_text=FORMATS,
    damage=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=6),
)
def test_a_damaged_file_ends_in_a_frame_or_in_one_line(content, format_text, damage):
    damaged = bytearray(content)
    for place, value in damage:
        damaged[place % len(damaged)] = value

    check_outcome(compressed_message(format_text, bytes(damaged)))


@settings(max_examples=150, deadline=None)
@given(
    start=st.sampled_from([b"", JPEG[:2], JPEG[:180], PNG[:8], PNG[:33]]),
    rest=st.binary(max_size=200),
    format_text=FORMATS,
)
def test_random_bytes_end_in_a_frame_or_in_one_line(start, rest, format_text):
    check_outcome(compressed_message(format_text, start + rest))


@settings(max_examples=100, deadline=None)
@given(sec=st.integers(-(2**31), 2**31 - 1), nanosec=st.integers(0, 2**32 - 1))
def test_the_stamp_is_exact_in_nanoseconds(sec, nanosec):
    message = raw_message("mono8", 1, 1, b"\x05", step=1)
    message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec

    assert decode_image(message).stamp_ns == sec * 10**9 + nanosec
