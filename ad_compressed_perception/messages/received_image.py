# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Serialized camera images to objects with the fields of their message; the pixels are not copied."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from ad_compressed_perception.messages.cdr import CdrReader, ReceivedHeader


@dataclass(frozen=True)
class ReceivedCompressedImage:
    """The fields of sensor_msgs/CompressedImage."""

    header: ReceivedHeader
    format: str
    data: memoryview


@dataclass(frozen=True)
class ReceivedImage:
    """The fields of sensor_msgs/Image."""

    header: ReceivedHeader
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: memoryview


def read_compressed_image(message: bytes) -> Any:
    """Return a serialized CompressedImage; raise what rclpy raises where it is none."""
    try:
        reader = CdrReader(message)
        return ReceivedCompressedImage(reader.header(), reader.text(), reader.octets())
    except (ValueError, struct.error):  # another encapsulation, or no message at all: rclpy knows
        return deserialize_message(message, CompressedImage)


def parse_image(message: bytes) -> ReceivedImage:
    """Return a serialized Image; ValueError or struct.error: it is none, or of another encapsulation."""
    reader = CdrReader(message)
    return ReceivedImage(
        reader.header(),
        reader.number("I"),
        reader.number("I"),
        reader.text(),
        reader.number("B"),
        reader.number("I"),
        reader.octets(),
    )


def read_image(message: bytes) -> Any:
    """Return a serialized Image; raise what rclpy raises where it is none."""
    try:
        return parse_image(message)
    except (ValueError, struct.error):
        return deserialize_message(message, Image)
