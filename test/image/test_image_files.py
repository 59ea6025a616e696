# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""JPEG and PNG messages: colors, depths, and truncated files."""

from __future__ import annotations

import array
import struct
import time
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
    raw_message,
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

    with pytest.raises(ImageError, match="JPEG says it is 65500x65500, .* are allowed"):
        decode_image(compressed_message("jpeg", huge_jpeg))
    with pytest.raises(ImageError, match="PNG says it is 2147483647x2147483647, "):
        decode_image(compressed_message("png", huge_png))


def costly_images() -> dict[str, tuple[bytes, str]]:
    """Return small files that cost seconds of CPU or hundreds of MB before, and the reason of the refusal."""
    parameters = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    progressive = bytes(cv2.imencode(".jpg", plain_image((1, 2, 3), 2000, 2000), parameters)[1])
    scan = progressive[progressive.rfind(b"\xff\xda") : -2]
    chunk = png_chunk(b"tEXt", b"")
    png = png_of(plain_image((1, 2, 3)))
    one_color = jpeg_of(plain_image((1, 2, 3))).replace(b"\xff\xda\x00\x0c\x03", b"\xff\xda\x00\x0c\x01")
    return {
        "scans of one color": (one_color[:-2] + 500 * b"\xff\xda\x00" + b"\xff\xd9", "501 scans where 32"),
        "hundreds of scans": (progressive[:-2] + 500 * scan + b"\xff\xd9", "510 scans where 32"),
        "fill bytes": (b"\xff\xd8" + b"\xff" * 20_000_000, "in its header"),
        "empty markers": (b"\xff\xd8" + b"\xff\x01" * 10_000_000, "in its header"),
        "16 bits": (png_of(np.zeros((6000, 6000, 3), np.uint16)), "72000000 pixels where 67108864"),
        "chunks": (png[:33] + 1_000_000 * chunk + png[33:], "more chunks than are read"),
    }


@pytest.mark.parametrize(
    "name", ["hundreds of scans", "scans of one color", "fill bytes", "empty markers", "16 bits", "chunks"]
)
def test_a_file_that_costs_far_more_than_its_image_is_refused_at_once(name):
    content, expected = costly_images()[name]
    start = time.process_time()
    with pytest.raises(ImageError, match=expected):
        decode_image(compressed_message("jpeg", content))
    assert time.process_time() - start < 1.0  # 3 s to 50 s before, of this process alone


def test_the_largest_image_is_the_callers_choice():
    small = plain_image((1, 2, 3), 20, 10)
    raw = raw_message("bgr8", 20, 10, small.tobytes(), step=60)
    for message in (
        raw,
        compressed_message("jpeg", jpeg_of(small)),
        compressed_message("png", png_of(small)),
    ):
        assert decode_image(message, max_pixels=200).pixels.shape == (10, 20, 3)
        with pytest.raises(ImageError, match=r"20x10, 200 pixels where 199 .*max_image_pixels"):
            decode_image(message, max_pixels=199)


def test_a_file_larger_than_the_largest_image_is_refused():
    """A megapixel takes at most 8 MB; 16 MiB more are for metadata."""
    content = jpeg_of(plain_image((1, 2, 3))) + bytes(17 << 20)
    assert decode_image(compressed_message("jpeg", content)).pixels.shape == (12, 16, 3)
    with pytest.raises(ImageError, match="larger than the largest image allowed"):
        decode_image(compressed_message("jpeg", content), max_pixels=1000)


def test_fill_bytes_before_a_marker_are_allowed():
    content = jpeg_of(plain_image((1, 2, 3)))
    padded = content[:2] + b"\xff" * 1000 + content[2:]
    assert decode_image(compressed_message("jpeg", padded)).pixels.shape == (12, 16, 3)


@pytest.mark.parametrize(
    "format_text", ["bayer_rggb8; jpeg compressed ", "bayer_grbg8; png compressed bayer_grbg8"]
)
def test_a_compressed_mosaic_is_no_gray_image(format_text):
    """It was taken as a gray image of the scene, with a word to nobody; a file with color is no mosaic."""
    gray, color = plain_image((9, 9, 9))[..., 0], plain_image((9, 9, 9))
    assert decode_image(compressed_message(format_text, jpeg_of(gray))).color == "BGR"
    assert decode_image(compressed_message(format_text, jpeg_of(color))).color == "BGR"


@pytest.mark.parametrize(
    ("format_text", "data", "expected"),
    [
        ("jpeg", b"", "format 'jpeg', 0 bytes: the message holds no data"),
        ("jpeg", b"BM" + bytes(60), "neither a JPEG nor a PNG"),
        ("", b"\xff\xd8\xff", "format '', 3 bytes: unknown format"),
        ("h264", bytes(9), "a packet of h264 video, which is not an image of its own"),
        ("16UC1; compressedDepth png", bytes(9), "a depth map (16UC1)"),
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
