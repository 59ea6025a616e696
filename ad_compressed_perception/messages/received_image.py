# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Serialized camera images to objects with the fields of their message; the pixels are not copied."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ad_compressed_perception.core.errors import ImageError
from ad_compressed_perception.core.one_line import one_line
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


def read_compressed_image(message: bytes) -> ReceivedCompressedImage:
    """Return a serialized CompressedImage; raise ImageError where it is none."""
    try:
        reader = CdrReader(message)
        return ReceivedCompressedImage(reader.header(), reader.text(), reader.octets())
    except (ValueError, struct.error) as error:
        raise ImageError(f"not a sensor_msgs/CompressedImage: {one_line(error)}") from error


def read_image(message: bytes) -> ReceivedImage:
    """Return a serialized Image; raise ImageError where it is none."""
    try:
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
    except (ValueError, struct.error) as error:
        raise ImageError(f"not a sensor_msgs/Image: {one_line(error)}") from error
