# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What all files of a recording have, whatever their storage: channels, counts, messages by time."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from ad_compressed_perception.core.errors import AdcpError


class StorageError(AdcpError):
    """A storage file, or a part of it, cannot be read; the text is a phrase of one line."""


class Channel(NamedTuple):
    """A channel of one file.

    Attributes:
        id: in its file.
        topic: name of the topic.
        type: message type, ``pkg/msg/Type``.
        encoding: of the messages; ``cdr`` for ROS 2.
        definition: text of the message definition (ros2msg); empty where the file has none.
    """

    id: int
    topic: str
    type: str
    encoding: str
    definition: str


class Message(NamedTuple):
    """A message: recording time in nanoseconds, channel id, serialized bytes."""

    time_ns: int
    channel: int
    data: bytes


Part = tuple[int, Callable[[], Iterator[Message]]]
"""Time of the first message of a part of a file, and what reads its messages in the order of time."""


class StorageFile(Protocol):
    """One open storage file."""

    path: Path
    channels: list[Channel]
    counts: Counter[int]
    start_ns: int
    end_ns: int
    damage: list[str]
    warnings: list[str]

    def parts(self, chosen: Collection[int]) -> list[Part]:
        """Return the parts that may hold messages of channels."""

    def close(self) -> None:
        """Close the file."""


def by_time(parts: Sequence[tuple[int, Part]]) -> Iterator[tuple[int, Message]]:
    """Yield the messages of (file number, part) in the order of time; equal times in the order of the parts.

    A part is read when its first time is reached: as many are in memory as overlap in time.
    """
    ordered = sorted(parts, key=lambda entry: (entry[1][0], entry[0]))
    merged = heapq.merge(*(_primed(*entry) for entry in ordered), key=lambda row: row[0])
    return ((number, message) for _, number, message in merged if message is not None)


def _primed(number: int, part: Part) -> Iterator[tuple[int, int, Message | None]]:
    start_ns, read = part
    yield start_ns, number, None  # heapq.merge asks every part for its first row
    for message in read():
        yield message.time_ns, number, message
