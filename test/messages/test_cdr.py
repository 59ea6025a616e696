# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Serialized messages have the bits that rclpy makes of the same fields, and are read as written."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import VisionClass

from ad_compressed_perception.core.errors import ImageError, ResultError
from ad_compressed_perception.core.results import Classification, Detections, LabelMask, Trajectory
from ad_compressed_perception.messages import classification, detection, planning, segmentation
from ad_compressed_perception.messages.image import serialize_image
from ad_compressed_perception.messages.received_image import (
    ReceivedCompressedImage,
    ReceivedImage,
    read_compressed_image,
    read_image,
)
from ad_compressed_perception.nodes.layout_check import check_layouts
from support.field_by_field import (
    classification_message,
    command_message,
    detections_message,
    header_of,
    path_message,
    pixels_message,
)

# Any length of a text moves the numbers behind it: 0 to 12 letters meet every alignment.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
numbers = st.floats(width=64)
headers = st.builds(header_of, st.integers(-(2**31), 2**31 - 1), st.integers(0, 10**9 - 1), texts)


def is_as_by_rclpy(written: bytes, message: Any) -> bool:
    """Return whether all fields have the same bits, and the sizes agree; padding may hold any bits.

    repr() differs for every two numbers but NaNs.
    """
    expected = serialize_message(message)
    kind = type(message)
    same = repr(deserialize_message(written, kind)) == repr(deserialize_message(expected, kind))
    return same and len(written) == len(expected)


@settings(deadline=None)  # rclpy loads its type support in the first example
@given(headers, st.lists(st.tuples(numbers, numbers, st.floats(-10.0, 10.0)), max_size=30))
def test_a_path_is_the_message_of_rclpy(header: Header, rows: list[tuple[float, ...]]) -> None:
    table = np.array(rows, np.float64).reshape(-1, 3)
    trajectory = Trajectory(table[:, :2], table[:, 2], 0.0, 0.0)
    written = planning.serialize_path(trajectory, header.stamp, header.frame_id)
    assert is_as_by_rclpy(written, path_message(trajectory, header))


@given(headers, numbers, numbers)
def test_a_command_is_the_message_of_rclpy(header: Header, speed_mps: float, curvature: float) -> None:
    written = planning.serialize_command(speed_mps, curvature, header.stamp, header.frame_id)
    assert is_as_by_rclpy(written, command_message(speed_mps, curvature, header))


@given(headers, st.data())
def test_detections_are_the_message_of_rclpy(header: Header, data: st.DataObject) -> None:
    labels = tuple(data.draw(st.lists(texts, min_size=1, max_size=5)))
    box = st.tuples(*[st.floats(width=32)] * 5, st.integers(0, len(labels) - 1))
    rows = data.draw(st.lists(box, max_size=8))
    table = np.array([row[:5] for row in rows], np.float32).reshape(-1, 5)
    ids = np.array([row[5] for row in rows], np.int64)
    found = Detections(table[:, :4], table[:, 4], ids, labels)
    assert is_as_by_rclpy(detection.serialize(found, header), detections_message(found, header))


@given(headers, st.data())
def test_a_classification_is_the_message_of_rclpy(header: Header, data: st.DataObject) -> None:
    labels = tuple(data.draw(st.lists(texts, min_size=1, max_size=6)))
    scores = np.array(data.draw(st.lists(st.floats(width=32), min_size=len(labels), max_size=len(labels))))
    ranked = np.array(
        data.draw(st.permutations(range(len(labels))))[: data.draw(st.integers(0, 6))], np.int64
    )
    found = Classification(scores.astype(np.float32), ranked, labels)
    assert is_as_by_rclpy(classification.serialize(found, header), classification_message(found, header))


@given(headers, st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_a_mask_and_an_image_are_the_messages_of_rclpy(
    header: Header, height: int, width: int, is_view: bool
) -> None:
    rng = np.random.default_rng(height * 10 + width)
    pixels = rng.integers(0, 255, (height, 2 * width, 3), np.uint8)[:, :: 2 if is_view else 1]
    written = serialize_image(pixels, "bgr8", header)
    assert is_as_by_rclpy(written, pixels_message(pixels, "bgr8", header))
    mask = LabelMask(pixels[..., 0], ("road",))
    written = segmentation.serialize(mask, header)
    assert is_as_by_rclpy(written, pixels_message(mask.label_ids, "mono8", header))


def fields_of(message: Any) -> tuple[Any, ...]:
    names = (
        ("format",) if hasattr(message, "format") else ("height", "width", "encoding", "is_bigendian", "step")
    )
    stamp = message.header.stamp
    values = tuple(getattr(message, name) for name in names)
    return (stamp.sec, stamp.nanosec, message.header.frame_id, *values, bytes(message.data))


@given(headers, texts, st.integers(0, 2**32 - 1), st.integers(0, 255), st.binary(max_size=40))
def test_a_camera_message_is_read_with_all_its_fields(
    header: Header, text: str, number: int, octet: int, data: bytes
) -> None:
    compressed = CompressedImage(header=header, format=text, data=data)
    read = read_compressed_image(serialize_message(compressed))
    assert isinstance(read, ReceivedCompressedImage)
    assert fields_of(read) == fields_of(compressed)
    raw = Image(header=header, height=number, width=7, encoding=text, is_bigendian=octet, step=3, data=data)
    read = read_image(serialize_message(raw))
    assert isinstance(read, ReceivedImage)
    assert fields_of(read) == fields_of(raw)


def test_a_header_that_is_no_text_is_copied_as_it_is() -> None:
    """Rclpy raises on such a frame_id, and the frame would be lost; a result carries what the camera sent."""
    message = serialize_message(CompressedImage(header=header_of(1, 2, "cam_XX"), format="jpeg", data=b"1"))
    received = read_compressed_image(message.replace(b"cam_XX", b"cam_\xff\xfe"))
    written = planning.serialize_command(1.0, 0.0, received.header.stamp, received.header.frame_id)
    assert b"cam_\xff\xfe\0" in written


def test_the_other_byte_order_is_read() -> None:
    """A publisher on another processor may send its own order, which the second byte names."""
    text = (
        struct.pack(">I4s", 4, b"cam\0") + struct.pack(">I5s3x", 5, b"jpeg\0") + struct.pack(">I2s", 2, b"ab")
    )
    read = read_compressed_image(b"\0\0\0\0" + struct.pack(">iI", -3, 9) + text)
    assert fields_of(read) == (-3, 9, "cam", "jpeg", b"ab")


@settings(max_examples=50)
@given(st.data())
def test_a_message_that_is_cut_off_raises_and_is_no_image(data: st.DataObject) -> None:
    whole = serialize_message(
        CompressedImage(header=header_of(1, 2, "camera"), format="jpeg", data=b"12345678")
    )
    cut = data.draw(st.integers(0, len(whole) - 4))  # rclpy pads messages to a multiple of 4
    with pytest.raises(ImageError, match="not a sensor_msgs/CompressedImage"):
        read_compressed_image(whole[:cut])


def test_another_layout_of_an_installed_message_is_refused() -> None:
    """A distribution may change a message; its readers would then see numbers in wrong fields."""
    check_layouts(detection.examples() | planning.examples() | segmentation.examples())
    (example,) = detection.examples().values()
    with pytest.raises(ResultError, match="VisionClass has other fields"):
        check_layouts({VisionClass: example})
