# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Result messages from their serialized bytes, with those fields only that ``from_message`` reads.

A monitor takes many of them. rclpy would build every covariance and every header of 20 poses as Python
objects and copy masks; here masks stay where they are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import wraps
from types import SimpleNamespace
from typing import Any

from ad_compressed_perception.core.errors import ResultError
from ad_compressed_perception.messages.cdr import CdrReader

_POSE_WITH_COVARIANCE = 7 + 36


def _checked(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    @wraps(parse)
    def wrapped(message: bytes) -> Any:
        try:
            return parse(message)
        except (struct.error, ValueError, IndexError, TypeError) as cause:
            raise ResultError(f"bytes that are no such message: {cause}") from cause

    return wrapped


@_checked
def path(message: bytes) -> SimpleNamespace:
    """Return a nav_msgs/Path; raise ResultError where the bytes are none."""
    reader = CdrReader(message)
    header, poses = reader.header(), []
    for _ in range(reader.number("I")):
        reader.header()
        x, y, _, _, _, z, w = reader.numbers("d", 7)
        pose = SimpleNamespace(position=SimpleNamespace(x=x, y=y), orientation=SimpleNamespace(z=z, w=w))
        poses.append(SimpleNamespace(pose=pose))
    return SimpleNamespace(header=header, poses=poses)


@_checked
def detections(message: bytes) -> SimpleNamespace:
    """Return a vision_msgs/Detection2DArray; raise ResultError where the bytes are none."""
    reader = CdrReader(message)
    header, found = reader.header(), []
    for _ in range(reader.number("I")):
        reader.header()
        results = []
        for _ in range(reader.number("I")):
            class_id = reader.text()
            score, *_ = reader.numbers("d", 1 + _POSE_WITH_COVARIANCE)
            results.append(SimpleNamespace(hypothesis=SimpleNamespace(class_id=class_id, score=score)))
        x, y, _, size_x, size_y = reader.numbers("d", 5)
        reader.octets()  # the id
        center = SimpleNamespace(position=SimpleNamespace(x=x, y=y))
        box = SimpleNamespace(center=center, size_x=size_x, size_y=size_y)
        found.append(SimpleNamespace(results=results, bbox=box))
    return SimpleNamespace(header=header, detections=found)


@_checked
def classification(message: bytes) -> SimpleNamespace:
    """Return a vision_msgs/Classification; raise ResultError where the bytes are none."""
    reader = CdrReader(message)
    header, results = reader.header(), []
    for _ in range(reader.number("I")):
        class_id = reader.text()
        results.append(SimpleNamespace(class_id=class_id, score=reader.numbers("d", 1)[0]))
    return SimpleNamespace(header=header, results=results)
