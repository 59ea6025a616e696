# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Small recordings for the tests, written by rosbags: no ROS installation is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from ad_compressed_perception.core.errors import DataError

RAW_TOPIC = "/camera/image_raw"
COMPRESSED_TOPIC = "/camera/image_raw/compressed"
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 50_000_000

_STORE = get_typestore(Stores.ROS2_JAZZY)
_STORAGE = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}


def stamps_of(count: int) -> list[int]:
    """Return the stamps, nanoseconds, that write_bag gives to so many frames: 20 Hz."""
    return [START_NS + index * PERIOD_NS for index in range(count)]


def road_frames(count: int, width: int = 64, height: int = 48) -> list[NDArray[np.uint8]]:
    """Return (height, width, 3) uint8 BGR images of a road whose mark wanders right."""
    frames = []
    for index in range(count):
        image = np.full((height, width, 3), (120, 90, 60), np.uint8)
        image[height // 2 :] = 80
        left = (4 * index) % (width - 8)
        image[height // 2 :, left : left + 8] = (200, 220, 240)
        frames.append(image)
    return frames


def _header(stamp_ns: int) -> Any:
    types = _STORE.types
    stamp = types["builtin_interfaces/msg/Time"](stamp_ns // 10**9, stamp_ns % 10**9)
    return types["std_msgs/msg/Header"](stamp, "camera")


def compressed_message(image: NDArray[np.uint8], stamp_ns: int, quality: int = 95) -> Any:
    """Return a sensor_msgs/CompressedImage (rosbags' class) with the image as JPEG."""
    done, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    kind = _STORE.types["sensor_msgs/msg/CompressedImage"]
    return kind(_header(stamp_ns), "jpeg", jpeg.ravel())


def raw_message(image: NDArray[np.uint8], stamp_ns: int) -> Any:
    """Return a sensor_msgs/Image (rosbags' class) with the image as bgr8."""
    height, width = image.shape[:2]
    kind = _STORE.types["sensor_msgs/msg/Image"]
    data = np.ascontiguousarray(image).ravel()
    return kind(_header(stamp_ns), height, width, "bgr8", 0, width * 3, data)


def write_bag(
    path: Path,
    frames: Sequence[NDArray[np.uint8]],
    storage: str = "mcap",
    compressed: bool = True,
    topic: str | None = None,
    *,
    stamps_ns: Sequence[int] | None = None,
    zstd: str | None = None,
) -> Path:
    """Write frames as a rosbag2 folder and return it.

    Args:
        path: the folder, not yet there.
        frames: (H, W, 3) uint8 BGR images.
        storage: mcap or sqlite3.
        compressed: CompressedImage with JPEG instead of Image with bgr8.
        topic: COMPRESSED_TOPIC or RAW_TOPIC when not given.
        stamps_ns: header stamps and bag times; stamps_of(len(frames)) when not given.
        zstd: compress the bag by "file" or by "message".
    """
    make = compressed_message if compressed else raw_message
    stamps = stamps_of(len(frames)) if stamps_ns is None else stamps_ns
    name = topic or (COMPRESSED_TOPIC if compressed else RAW_TOPIC)
    messages = [make(frame, stamp) for frame, stamp in zip(frames, stamps, strict=True)]
    kind = "sensor_msgs/msg/CompressedImage" if compressed else "sensor_msgs/msg/Image"
    return write_messages(path, {name: (kind, list(zip(stamps, messages, strict=True)))}, storage, zstd=zstd)


def write_messages(
    path: Path,
    topics: dict[str, tuple[str, list[tuple[int, Any]]]],
    storage: str = "mcap",
    *,
    zstd: str | None = None,
) -> Path:
    """Write a rosbag2 folder from {topic: (message type, [(bag time in ns, message)])}; return it.

    A message given as bytes is written as it is.
    """
    writer = Writer(path, version=9, storage_plugin=_STORAGE[storage])
    if zstd is not None:
        writer.set_compression(CompressionMode[zstd.upper()], CompressionFormat.ZSTD)
    with writer:
        rows = []
        for topic, (kind, messages) in topics.items():
            connection = writer.add_connection(topic, kind, typestore=_STORE)
            for bag_time_ns, message in messages:
                if not isinstance(message, bytes):
                    message = _STORE.serialize_cdr(message, kind)
                rows.append((bag_time_ns, connection, message))
        for bag_time_ns, connection, data in sorted(rows, key=lambda row: row[0]):
            writer.write(connection, bag_time_ns, data)
    return path


def float_message(value: float) -> Any:
    """Return a std_msgs/Float32 (rosbags' class)."""
    return _STORE.types["std_msgs/msg/Float32"](value)


def storage_file(bag: Path) -> Path:
    """Return the storage file of a recording."""
    return next(entry for entry in bag.iterdir() if entry.suffix in (".mcap", ".db3"))


def only_line(error: pytest.ExceptionInfo[DataError]) -> str:
    """Return the text of an error, which must be one line."""
    message = str(error.value)
    assert "\n" not in message
    return message
