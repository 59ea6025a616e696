# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""JPEG and PNG messages: colors, depths, and truncated files."""

from __future__ import annotations

import array
import struct
import zlib

import cv2
import numpy as np
import pytest

from ad_compressed_perception.core.errors import ImageError
from ad_compressed_perception.image.decode import decode_image
from ad_compressed_perception.image.encode import encode_jpeg
from support.images import (
    STAMP_NS,
    compressed_message,
    jpeg_of,
    plain_image,
    png_of,
    smooth_image,
)


def with_segment(jpeg: bytes, marker: int, payload: bytes) -> bytes:
    """Return a JPEG with one more segment right after its start."""
    head = struct.pack(">BBH", 0xFF, marker, len(payload) + 2)
    return jpeg[:2] + head + payload + jpeg[2:]


def png_chunk(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))


@pytest.mark.parametrize(
    "format_text",
    ["jpeg", "JPEG", "jpg", "bgr8; jpeg compressed bgr8", "rgb8; jpeg compressed bgr8"],
)
@pytest.mark.parametrize("container", [bytes, lambda data: array.array("B", data)])
def test_a_jpeg_is_bgr_whatever_the_camera_sent_before_compression(format_text, container):
    red = plain_image((0, 0, 255))

    frame = decode_image(compressed_message(format_text, container(jpeg_of(red))))

    assert (frame.color, frame.stamp_ns) == ("BGR", STAMP_NS)
    assert np.abs(frame.pixels.astype(int) - red).max() <= 3


def test_a_jpeg_of_gray_is_gray():
    gray = smooth_image()[:, :, 0]

    frame = decode_image(compressed_message("mono8; jpeg compressed ", jpeg_of(gray)))

    assert (frame.color, frame.pixels.shape) == ("GRAY", (48, 64))
    assert np.abs(frame.pixels.astype(int) - gray).max() <= 3


@pytest.mark.parametrize(
    ("image", "expected", "color"),
    [
        (smooth_image(), smooth_image(), "BGR"),
        (smooth_image()[:, :, [0, 1, 2, 2]], smooth_image(), "BGR"),
        (smooth_image().astype(np.uint16) << 8, smooth_image(), "BGR"),
        (smooth_image()[:, :, 0], smooth_image()[:, :, 0], "GRAY"),
        (
            np.arange(3072, dtype=np.uint16).reshape(48, 64) * 21,
            np.arange(3072, dtype=np.uint16).reshape(48, 64) * 21,
            "GRAY",
        ),
    ],
    ids=["8-bit color", "alpha", "16-bit color", "8-bit gray", "16-bit gray"],
)
def test_a_png_loses_nothing_but_alpha_and_the_low_byte_of_colors(image, expected, color):
    frame = decode_image(compressed_message("mono16; png compressed", png_of(image)))

    assert frame.color == color and frame.pixels.dtype == expected.dtype
    np.testing.assert_array_equal(frame.pixels, expected)


def test_gray_with_alpha_and_palettes_are_images_too():
    header = struct.pack(">IIBBBBB", 2, 1, 8, 4, 0, 0, 0)
    rows = zlib.compress(bytes([0, 10, 255, 200, 255]))
    start, end = b"\x89PNG\r\n\x1a\n", png_chunk(b"IEND", b"")
    gray_alpha = start + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + end
    header = struct.pack(">IIBBBBB", 2, 1, 8, 3, 0, 0, 0)
    palette = png_chunk(b"PLTE", bytes([255, 0, 0, 0, 0, 255]))
    rows = zlib.compress(bytes([0, 0, 1]))
    indexed = start + png_chunk(b"IHDR", header) + palette + png_chunk(b"IDAT", rows) + end

    gray = decode_image(compressed_message("png", gray_alpha)).pixels
    colored = decode_image(compressed_message("png", indexed)).pixels

    assert gray.reshape(1, 2, -1)[0, :, 0].tolist() == [10, 200]
    assert colored.tolist() == [[[0, 0, 255], [255, 0, 0]]]


def test_an_exif_orientation_does_not_rotate_the_camera_image():
    # Orientation 6: "turn by 90 degrees". Results are in the pixels that the camera sent.
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    jpeg = with_segment(jpeg_of(smooth_image()), 0xE1, exif)
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (64, 48, 3)

    frame = decode_image(compressed_message("jpeg", jpeg))

    assert frame.pixels.shape == (48, 64, 3)


@pytest.mark.parametrize("padding", [b"\0" * 5000, b"\xff" * 16, b"\r\n"])
def test_padding_behind_the_end_is_ignored(padding):
    # Cameras with a fixed buffer size send what is behind the image too.
    for content in (jpeg_of(smooth_image()), png_of(smooth_image())):
        frame = decode_image(compressed_message("jpeg", content + padding))

        assert np.abs(frame.pixels.astype(int) - smooth_image()).max() <= 6


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("padding", [b"", b"\0" * 300])
def test_a_cut_off_file_is_an_error_and_no_half_gray_image(part, padding, capfd):
    noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    for kind, content in (("JPEG", jpeg_of(noise)), ("PNG", png_of(noise))):
        cut = content[: int(len(content) * part)] + padding

        with pytest.raises(ImageError) as caught:
            decode_image(compressed_message("jpeg", cut), "/cam/compressed")

        line = str(caught.value)
        assert line.startswith(f"/cam/compressed: format 'jpeg', {len(cut)} bytes: the {kind}")
        assert "\n" not in line
    assert capfd.readouterr() == ("", ""), "OpenCV must not write to the terminal"


def test_the_end_of_an_embedded_thumbnail_is_not_the_end_of_the_image():
    thumbnail = jpeg_of(plain_image((9, 9, 9)))
    whole = with_segment(jpeg_of(smooth_image()), 0xE1, b"Exif\0\0" + thumbnail)

    assert decode_image(compressed_message("jpeg", whole)).pixels.shape == (48, 64, 3)
    with pytest.raises(ImageError, match="the JPEG of 64x48 is cut off"):
        decode_image(compressed_message("jpeg", whole[:-20]))


def test_a_progressive_jpeg_without_its_last_scans_is_cut_off():
    parameters = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    content = bytes(cv2.imencode(".jpg", smooth_image(), parameters)[1])

    assert decode_image(compressed_message("jpeg", content)).pixels.shape == (48, 64, 3)
    with pytest.raises(ImageError, match="cut off"):
        decode_image(compressed_message("jpeg", content[: content.rfind(b"\xff\xda")]))


def test_a_damaged_png_is_found_by_its_checksum(capfd):
    content = bytearray(png_of(smooth_image()))
    content[len(content) // 2] ^= 0x10

    with pytest.raises(ImageError, match="damaged"):
        decode_image(compressed_message("png", bytes(content)))

    assert capfd.readouterr() == ("", "")


def test_a_header_that_claims_gigabytes_is_refused_before_memory_is_taken():
    jpeg = jpeg_of(plain_image((1, 2, 3)))
    start = jpeg.index(b"\xff\xc0")
    huge_jpeg = jpeg[: start + 5] + struct.pack(">HH", 65500, 65500) + jpeg[start + 9 :]
    png = png_of(plain_image((1, 2, 3)))
    header = struct.pack(">II", 2**31 - 1, 2**31 - 1) + png[24:29]
    huge_png = png[:8] + png_chunk(b"IHDR", header) + png[33:]

    with pytest.raises(ImageError, match="JPEG says it is 65500x65500, above the limit"):
        decode_image(compressed_message("jpeg", huge_jpeg))
    with pytest.raises(ImageError, match="PNG says it is 2147483647x2147483647, above"):
        decode_image(compressed_message("png", huge_png))


@pytest.mark.parametrize(
    ("format_text", "data", "expected"),
    [
        ("jpeg", b"", "format 'jpeg', 0 bytes: the message holds no data"),
        ("jpeg", b"BM" + bytes(60), "neither a JPEG nor a PNG"),
        ("", b"\xff\xd8\xff", "format '', 3 bytes: unknown format"),
        ("h264", bytes(9), "unknown format; known: jpeg, png"),
        ("16UC1; compressedDepth png", bytes(9), "compressedDepth is a depth map"),
        (7, bytes(9), "unknown format"),
        ("jpeg", b"\xff\xd8", "in its header"),
        ("jpeg", b"\xff\xd8\xff\xd9", "ends before its image"),
        ("png", b"\x89PNG\r\n\x1a\n", "the PNG is cut off: 8 bytes"),
        ("png", b"\x89PNG\r\n\x1a\n" + png_chunk(b"IEND", b""), "valid header"),
    ],
)
def test_data_that_is_no_camera_image_is_named(format_text, data, expected, capfd):
    with pytest.raises(ImageError) as caught:
        decode_image(compressed_message(format_text, data), "/cam")

    assert str(caught.value).startswith("/cam: format ")
    assert expected in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_an_encoded_jpeg_is_read_back():
    image = smooth_image()

    color = decode_image(compressed_message("jpeg", encode_jpeg(image, 95)))
    gray = decode_image(compressed_message("jpeg", encode_jpeg(image[:, :, 0])))

    assert np.abs(color.pixels.astype(int) - image).max() <= 6
    assert gray.color == "GRAY"
    assert len(encode_jpeg(image, 20)) < len(encode_jpeg(image, 95))


def test_frames_of_a_real_drive_are_read(shared_dir):
    any_reader = pytest.importorskip("rosbags.highlevel").AnyReader
    store = pytest.importorskip("rosbags.typesys")
    typestore = store.get_typestore(store.Stores.ROS2_JAZZY)
    with any_reader([shared_dir / "bags" / "udacity_ch2_20s"], default_typestore=typestore) as reader:
        camera = [c for c in reader.connections if c.topic == "/camera/image_raw/compressed"]
        messages = (
            reader.deserialize(raw, connection.msgtype)
            for connection, _, raw in reader.messages(connections=camera)
        )
        frames = [decode_image(message) for _, message in zip(range(5), messages, strict=False)]

    assert [frame.pixels.shape for frame in frames] == [(480, 640, 3)] * 5
    # A 20 Hz camera, whole images: the stamps rise, and no rest of a frame is one flat gray.
    assert all(a.stamp_ns < b.stamp_ns for a, b in zip(frames, frames[1:], strict=False))
    assert all(frame.pixels[-40:].std() > 3 for frame in frames)
