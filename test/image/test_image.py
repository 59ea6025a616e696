# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Image messages are decoded to the right pixels; others raise an error of one line."""

from __future__ import annotations

import array
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ad_compressed_perception.core.errors import ImageError
from ad_compressed_perception.image import decode as image
from ad_compressed_perception.image.decode import (
    Frame,
    decode_image,
    to_bgr8,
    to_gray8,
)
from ad_compressed_perception.image.encode import encode_jpeg
from ad_compressed_perception.image.encodings import ENCODINGS
from support.images import (
    STAMP_NS,
    mosaic,
    padded,
    plain_image,
    raw_message,
    smooth_image,
    yuv_rows,
)

COLORS = {"red": (0, 0, 255), "green": (0, 255, 0), "blue": (255, 0, 0)}
YUV = ("yuv422", "uyvy", "yuv422_yuy2", "yuyv", "yvyu", "nv12", "nv21", "nv24")


def yuv_message(source_image, encoding, padding_bytes=0):
    data, step = padded(yuv_rows(source_image, encoding), padding_bytes)
    height, width = source_image.shape[:2]
    return raw_message(encoding, width, height, data, step=step)


@pytest.mark.parametrize("padding_bytes", [0, 7])
@pytest.mark.parametrize(
    ("encoding", "order", "color"),
    [
        ("bgr8", [0, 1, 2], "BGR"),
        ("8UC3", [0, 1, 2], "BGR"),
        ("rgb8", [2, 1, 0], "RGB"),
        ("bgra8", [0, 1, 2, 2], "BGR"),
        ("8UC4", [0, 1, 2, 2], "BGR"),
        ("rgba8", [2, 1, 0, 0], "RGB"),
    ],
)
def test_color_encodings_keep_every_byte(encoding, order, color, padding_bytes):
    source_image = smooth_image()
    data, step = padded(source_image[:, :, order], padding_bytes)

    frame = decode_image(raw_message(encoding, 64, 48, data, step=step))

    assert (frame.color, frame.stamp_ns) == (color, STAMP_NS)
    assert frame.pixels.shape == (48, 64, 3)
    np.testing.assert_array_equal(to_bgr8(frame), source_image)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_gray_rows_are_cut_at_the_width_when_the_step_is_longer(encoding):
    gray = np.arange(35, dtype=np.uint8).reshape(5, 7)
    data, step = padded(gray, 9)

    frame = decode_image(raw_message(encoding, 7, 5, data, step=step))

    assert frame.color == "GRAY"
    np.testing.assert_array_equal(frame.pixels, gray)


@pytest.mark.parametrize("padding_bytes", [0, 2, 3])
@pytest.mark.parametrize(("is_bigendian", "order"), [(0, "<u2"), (1, ">u2")])
@pytest.mark.parametrize("encoding", ["mono16"])
def test_sixteen_bit_gray_follows_the_byte_order(encoding, is_bigendian, order, padding_bytes):
    # 3 bytes of padding put every second row on an odd address.
    gray = (np.arange(35, dtype=np.uint16) * 1871).reshape(5, 7)
    data, step = padded(gray.astype(order), padding_bytes)

    frame = decode_image(raw_message(encoding, 7, 5, data, step=step, is_bigendian=is_bigendian))

    assert frame.pixels.dtype == np.uint16 and frame.pixels.dtype.isnative
    np.testing.assert_array_equal(frame.pixels, gray)
    np.testing.assert_array_equal(to_gray8(frame), gray >> 8)
    np.testing.assert_array_equal(to_bgr8(frame)[:, :, 1], gray >> 8)


@pytest.mark.parametrize("container", [bytes, bytearray, memoryview, "array", "numpy"])
@pytest.mark.parametrize("encoding", ["bgr8", "rgb8", "8UC3", "mono8", "8UC1", "mono16"])
def test_pixels_share_the_memory_of_the_message(encoding, container):
    layout = ENCODINGS[encoding]
    step = 8 * layout.channels * layout.sample_bytes
    content = bytes(range(step)) * 6
    data = {"array": array.array("B", content), "numpy": np.frombuffer(content, np.uint8)}.get(container)
    if data is None:
        data = container(content)
    native = int(sys.byteorder == "big")

    frame = decode_image(raw_message(encoding, 8, 6, data, step=step, is_bigendian=native))

    assert np.shares_memory(frame.pixels, np.frombuffer(data, np.uint8))


def test_an_unaligned_sixteen_bit_buffer_is_copied_to_an_aligned_one():
    # The serialized message of a bag may begin its pixels at any byte.
    buffer = np.frombuffer(b"\0" + np.arange(48, dtype="<u2").tobytes(), np.uint8)[1:]

    frame = decode_image(raw_message("mono16", 8, 6, buffer, step=16))

    assert frame.pixels.flags.aligned
    np.testing.assert_array_equal(frame.pixels.ravel(), np.arange(48))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("name", COLORS)
def test_a_mosaic_of_one_pure_color_is_that_color(name, pattern, bits):
    """OpenCV names a mosaic by other pixels than ROS does: confusing them swaps red and blue."""
    source_image = plain_image(COLORS[name])
    samples_8bit = mosaic(source_image, pattern)
    samples = samples_8bit if bits == 8 else (samples_8bit.astype("<u2") << 8) | 0x55
    data, step = padded(samples, 4)

    frame = decode_image(raw_message(f"bayer_{pattern}{bits}", 16, 12, data, step=step))

    assert frame.color == "BGR" and frame.pixels.dtype == np.uint8
    np.testing.assert_array_equal(frame.pixels, source_image)


@pytest.mark.parametrize("is_bigendian", [0, 1])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_mosaic_is_converted_back_to_the_image(pattern, is_bigendian):
    source_image = smooth_image()
    samples_8bit = (mosaic(source_image, pattern).astype(np.uint16) << 8).astype(
        ">u2" if is_bigendian else "<u2"
    )
    message = raw_message(
        f"bayer_{pattern}16", 64, 48, samples_8bit.tobytes(), step=128, is_bigendian=is_bigendian
    )

    pixels = decode_image(message).pixels

    # The image changes by at most 4 from pixel to pixel: interpolation inside is within that.
    # OpenCV repeats the outermost interpolated pixels, so that the border may be one step more off.
    difference = np.abs(pixels.astype(int) - source_image)
    assert difference[1:-1, 1:-1].max() <= 4
    assert difference.max() <= 8


@pytest.mark.parametrize("padding_bytes", [0, 10])
@pytest.mark.parametrize("encoding", YUV)
def test_yuv_is_converted_back_to_the_image(encoding, padding_bytes):
    if encoding == "nv24" and padding_bytes:
        pytest.skip("its chroma rows are padded to twice the step: test_driver_layouts.py")
    source_image = smooth_image()

    frame = decode_image(yuv_message(source_image, encoding, padding_bytes))

    # Luma in 219 steps and chroma shared by up to four pixels cost a few gray values.
    assert (frame.color, frame.pixels.shape) == ("BGR", (48, 64, 3))
    assert np.abs(frame.pixels.astype(int) - source_image).max() <= 8


@pytest.mark.parametrize("encoding", YUV)
@pytest.mark.parametrize("name", COLORS)
def test_yuv_of_a_pure_color_is_that_color(name, encoding):
    source_image = plain_image(COLORS[name])

    pixels = decode_image(yuv_message(source_image, encoding)).pixels

    assert np.abs(pixels.astype(int) - source_image).max() <= 4


def test_uyvy_bytes_are_blue_difference_luma_red_difference_luma():
    # BT.601: pure red has Y 82, U (blue difference) 90, V (red difference) 240.
    message = raw_message("yuv422", 2, 1, bytes([90, 82, 240, 82]), step=4)

    pixels = decode_image(message).pixels

    np.testing.assert_allclose(pixels, [[[0, 0, 255]] * 2], atol=3)


BROKEN = {
    "too few bytes": ({"data": bytes(10)}, "expected 576 bytes (12 rows of 48), got 10"),
    "too many bytes": ({"data": bytes(576 + 4097)}, "expected 576 bytes (12 rows of 48), got 4673"),
    "no bytes": ({"data": b""}, "holds no data"),
    "no width": ({"width": 0}, "at least 1"),
    "no height": ({"height": 0}, "at least 1"),
    "short step": ({"step": 47, "data": bytes(564)}, "a row needs 48 bytes, got 47"),
    "no step": ({"step": 0, "data": bytes(9)}, "expected 576 bytes (12 rows of 48), got 9"),
    "huge sides": ({"width": 2**32 - 1, "height": 2**32 - 1}, "pixels where 67108864 are allowed"),
    "huge height": ({"height": 2**32 - 1}, "pixels where 67108864 are allowed"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_inconsistent_message_is_named_with_topic_encoding_and_sizes(name):
    changes, expected = BROKEN[name]
    message = raw_message("bgr8", 16, 12, bytes(576), step=48)
    vars(message).update(changes)

    with pytest.raises(ImageError) as caught:
        decode_image(message, "/camera/image_raw")

    line = str(caught.value)
    sizes = f"{message.width}x{message.height}, step {message.step}, {len(message.data)} bytes"
    assert line.startswith(f"/camera/image_raw: encoding 'bgr8', {sizes}: ")
    assert expected in line and "\n" not in line


@pytest.mark.parametrize(
    ("encoding", "width", "height", "step", "data", "expected"),
    [
        ("yuv422", 3, 2, 6, bytes(12), "an even width"),
        ("nv12", 4, 5, 4, bytes(28), "an even width and height"),
        ("nv12", 4, 4, 4, bytes(16), "expected 24 bytes (6 rows of 4), got 16"),
        ("bayer_rggb8", 4, 2, 4, bytes(8), "at least 3 pixels a side"),
    ],
)
def test_sizes_that_an_encoding_does_not_allow_are_refused(encoding, width, height, step, data, expected):
    message = raw_message(encoding, width, height, data, step=step)

    with pytest.raises(ImageError) as caught:
        decode_image(message)

    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "message",
    [
        None,
        "text",
        SimpleNamespace(),
        raw_message("bgr8", "wide", 1, bytes(3)),
        raw_message("bgr8", 1.5, 1, bytes(3)),
        raw_message("bgr8", 1, 1, [1, 2, 3], step=3),
        raw_message("bgr8", 1, 1, None, step=3),
    ],
)
def test_other_messages_than_images_raise_an_error(message):
    with pytest.raises(ImageError, match=r"^/odd: not an image message: .+$"):
        decode_image(message, "/odd")


def test_an_unknown_encoding_without_cv_bridge_names_itself_and_the_known_ones():
    # A fresh interpreter in which cv_bridge cannot be imported, installed or not.
    script = (
        "import sys; sys.modules['cv_bridge'] = None\n"
        "from support.images import raw_message\n"
        "from ad_compressed_perception.image.decode import decode_image\n"
        "decode_image(raw_message('x11_magic', 2, 1, bytes(12), step=12), '/cam')\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )

    line = ended.stderr.strip().splitlines()[-1]
    assert "/cam: encoding 'x11_magic', 2x1, step 12, 12 bytes: unknown encoding" in line
    assert "no usable cv_bridge" in line
    assert all(name in line for name in ENCODINGS)


@pytest.fixture
def installed_cv_bridge(tmp_path, monkeypatch):
    """Install a package with cv_bridge's interface that fails or returns an image by the encoding."""
    (tmp_path / "cv_bridge.py").write_text(
        "import numpy as np\n"
        "print('imported')\n"
        "class CvBridge:\n"
        "    def imgmsg_to_cv2(self, message, desired_encoding):\n"
        "        assert desired_encoding == 'bgr8'\n"
        "        if message.encoding == 'bgr565':\n"
        "            return np.full((message.height, message.width, 3), 7, np.uint8)\n"
        "        if message.encoding == 'floats':\n"
        "            return np.zeros((message.height, message.width), np.float32)\n"
        "        raise RuntimeError('no such\\nencoding')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cv_bridge", raising=False)
    image._cv_bridge.cache_clear()
    yield
    sys.modules.pop("cv_bridge", None)
    image._cv_bridge.cache_clear()


def test_cv_bridge_is_loaded_once_and_its_results_are_checked(installed_cv_bridge, capsys):
    decode_image(raw_message("bgr8", 1, 1, bytes(3), step=3))
    assert capsys.readouterr().out == "", "a known encoding must not load cv_bridge"

    for _ in range(2):
        frame = decode_image(raw_message("bgr565", 2, 1, bytes(12), step=12))
        assert frame.pixels.tolist() == [[[7, 7, 7], [7, 7, 7]]]
    with pytest.raises(ImageError, match=r"'odd'.*cv_bridge: no such encoding.*known: bgr8"):
        decode_image(raw_message("odd", 2, 1, bytes(12), step=12))
    with pytest.raises(ImageError, match=r"'floats'.*float32\[1, 2\], not uint8\[1, 2, 3\]"):
        decode_image(raw_message("floats", 2, 1, bytes(8), step=8))

    assert capsys.readouterr().out == "imported\n"


def test_a_cv_bridge_that_does_not_load_is_tried_once(installed_cv_bridge, tmp_path, capsys):
    # Such as one built for another numpy; a search in every frame would cost every frame.
    (tmp_path / "cv_bridge.py").write_text("print('tried')\nraise RuntimeError('wrong numpy')\n")

    for _ in range(3):
        with pytest.raises(ImageError, match="'bgr565'.*no usable cv_bridge"):
            decode_image(raw_message("bgr565", 2, 1, bytes(12), step=12))

    assert capsys.readouterr().out == "tried\n"


def test_converted_images_do_not_share_the_memory_of_the_message():
    gray = np.full((4, 4), 100, np.uint8)
    color = smooth_image()
    for frame in (Frame(color, "BGR"), Frame(color, "RGB"), Frame(gray, "GRAY")):
        for converted in (to_bgr8(frame), to_gray8(frame)):
            assert converted.flags.writeable and converted.flags.c_contiguous
            assert not np.shares_memory(converted, frame.pixels)


def test_gray_weighs_the_colors_alike_in_both_orders():
    source_image = smooth_image()

    gray = to_gray8(Frame(source_image, "BGR"))

    np.testing.assert_array_equal(gray, to_gray8(Frame(source_image[:, :, ::-1].copy(), "RGB")))
    weighted = source_image @ [0.114, 0.587, 0.299]
    assert np.abs(gray - weighted).max() <= 1


@pytest.mark.parametrize(
    ("source_image", "quality", "expected"),
    [
        (np.zeros((4, 4, 3), np.float32), 90, "float32[4, 4, 3]"),
        (np.zeros((4, 4, 4), np.uint8), 90, "uint8[4, 4, 4]"),
        (np.zeros((0, 4, 3), np.uint8), 90, "uint8[0, 4, 3]"),
        (np.zeros((1, 65501), np.uint8), 90, "uint8[1, 65501]"),
        (np.zeros((4, 4), np.uint8), 101, "1 to 100, got 101"),
    ],
)
def test_what_cannot_become_a_jpeg_is_named(source_image, quality, expected):
    with pytest.raises(ImageError) as caught:
        encode_jpeg(source_image, quality)

    assert expected in str(caught.value)


def test_messages_of_rclpy_are_read_in_place():
    messages = pytest.importorskip("sensor_msgs.msg", reason="needs a ROS 2 environment")
    source_image = smooth_image()
    message = messages.Image(width=64, height=48, encoding="bgr8", step=192)
    message.header.stamp.sec, message.header.stamp.nanosec = 12, 345
    message.data = array.array("B", source_image.tobytes())

    frame = decode_image(message)

    assert frame.stamp_ns == STAMP_NS
    assert np.shares_memory(frame.pixels, np.frombuffer(message.data, np.uint8))
    np.testing.assert_array_equal(frame.pixels, source_image)


def test_messages_of_a_bag_are_read_in_place():
    typesys = pytest.importorskip("rosbags.typesys")
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    types = store.types
    time = types["builtin_interfaces/msg/Time"](sec=12, nanosec=345)
    head = types["std_msgs/msg/Header"](stamp=time, frame_id="c")
    gray = np.arange(24, dtype="<u2").reshape(4, 6)
    name = "sensor_msgs/msg/Image"
    data = np.frombuffer(gray.tobytes(), np.uint8)
    original = types[name](head, 4, 6, "mono16", 0, 12, data)
    message = store.deserialize_cdr(store.serialize_cdr(original, name), name)

    frame = decode_image(message)

    assert frame.stamp_ns == STAMP_NS
    np.testing.assert_array_equal(frame.pixels, gray)
