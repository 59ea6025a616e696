# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Result messages from their serialized bytes, with those fields only that ``from_message`` reads.

A monitor takes many of them. rclpy would build every covariance and every header of 20 poses as Python
objects and copy masks; here masks stay where they are. The format is CDR as ROS 2 sends it (OMG
DDSI-RTPS 2.5, 10.2): four bytes that name the byte order, then the fields, each aligned to its own size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from struct import Struct, error
from types import SimpleNamespace
from typing import Any

from ad_compressed_perception.core.errors import ResultError

_POSE_WITH_COVARIANCE = 7 + 36


class _Reader:
    """Reads fields one after another; raises struct.error, ValueError or IndexError behind the end."""

    def __init__(self, data: bytes) -> None:
        order = {0: ">", 1: "<"}[data[1]]
        self.body = memoryview(data)[4:]
        self.place = 0
        self._stamp, self._count, self._doubles = (
            Struct(order + kind).unpack_from for kind in ("iI", "I", "7d")
        )
        self._double = Struct(order + "d").unpack_from

    def count(self) -> int:
        place = (self.place + 3) & -4
        self.place = place + 4
        return int(self._count(self.body, place)[0])

    def bytes(self) -> memoryview:
        length = self.count()
        found = self.body[self.place : self.place + length]
        if len(found) != length:
            raise ValueError(f"{length} bytes announced, {len(found)} are left")
        self.place += length
        return found

    def text(self) -> str:
        return str(self.bytes()[:-1], "utf-8")

    def double(self) -> float:
        place = (self.place + 7) & -8
        self.place = place + 8
        return float(self._double(self.body, place)[0])

    def pose(self) -> SimpleNamespace:
        place = (self.place + 7) & -8
        self.place = place + 56
        x, y, _, _, _, z, w = self._doubles(self.body, place)
        return SimpleNamespace(position=SimpleNamespace(x=x, y=y), orientation=SimpleNamespace(z=z, w=w))

    def skip_doubles(self, number: int) -> None:
        self.place = ((self.place + 7) & -8) + 8 * number
        if self.place > len(self.body):
            raise ValueError("the message ends within a field")

    def header(self) -> SimpleNamespace:
        place = (self.place + 3) & -4
        self.place = place + 8
        seconds, nanoseconds = self._stamp(self.body, place)
        self.bytes()
        return SimpleNamespace(stamp=SimpleNamespace(sec=seconds, nanosec=nanoseconds))


def _checked(read: Callable[[_Reader], SimpleNamespace]) -> Callable[[bytes], Any]:
    @wraps(read)
    def wrapped(data: bytes) -> Any:
        try:
            return read(_Reader(data))
        except (error, ValueError, IndexError, KeyError, TypeError) as cause:
            raise ResultError(f"bytes that are no such message: {cause}") from cause

    return wrapped


@_checked
def image(reader: _Reader) -> SimpleNamespace:
    """Return a sensor_msgs/Image; its data is a view of the bytes. Raise ResultError where they are none."""
    header, height, width = reader.header(), reader.count(), reader.count()
    encoding, is_bigendian = reader.text(), reader.body[reader.place]
    reader.place += 1
    return SimpleNamespace(
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=is_bigendian,
        step=reader.count(),
        data=reader.bytes(),
    )


@_checked
def path(reader: _Reader) -> SimpleNamespace:
    """Return a nav_msgs/Path; raise ResultError where the bytes are none."""
    header, poses = reader.header(), []
    for _ in range(reader.count()):
        reader.header()
        poses.append(SimpleNamespace(pose=reader.pose()))
    return SimpleNamespace(header=header, poses=poses)


@_checked
def detections(reader: _Reader) -> SimpleNamespace:
    """Return a vision_msgs/Detection2DArray; raise ResultError where the bytes are none."""
    header, found = reader.header(), []
    for _ in range(reader.count()):
        reader.header()
        results = []
        for _ in range(reader.count()):
            hypothesis = SimpleNamespace(class_id=reader.text(), score=reader.double())
            reader.skip_doubles(_POSE_WITH_COVARIANCE)
            results.append(SimpleNamespace(hypothesis=hypothesis))
        x, y, _, size_x, size_y = (reader.double() for _ in range(5))
        center = SimpleNamespace(position=SimpleNamespace(x=x, y=y))
        reader.bytes()  # the id
        box = SimpleNamespace(center=center, size_x=size_x, size_y=size_y)
        found.append(SimpleNamespace(results=results, bbox=box))
    return SimpleNamespace(header=header, detections=found)
