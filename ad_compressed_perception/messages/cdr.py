# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Serialized messages, written and read without message objects, whose fields rclpy converts one by one.

The encoding is plain CDR version 1 (OMG DDS-RTPS 2.3, chapter 10; CORBA 3.3 part 2, chapter 9.3): four bytes
of encapsulation, then the fields in order, numbers aligned to their own size from there on.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

ENCAPSULATION = b"\x00\x01\x00\x00"
"""Plain CDR, little-endian."""

_ORIGIN = len(ENCAPSULATION)
_SIZES = {"B": 1, "i": 4, "I": 4, "d": 8}


@dataclass(frozen=True)
class Stamp:
    """The fields of builtin_interfaces/Time."""

    sec: int
    nanosec: int


@dataclass(frozen=True)
class ReceivedHeader:
    """The fields of std_msgs/Header; bytes of ``frame_id`` that are no UTF-8 are kept (surrogateescape)."""

    stamp: Stamp
    frame_id: str


EXAMPLE = ReceivedHeader(Stamp(1, 2), "camera")
"""Of the examples that nodes/layout_check.py compares with the installed messages."""


class CdrWriter:
    """Appends fields to a message that begins with a header; bytes() of it is what a publisher takes."""

    def __init__(self, stamp: Any, frame_id: str) -> None:
        """Write the std_msgs/Header; the stamp is any object with sec and nanosec."""
        self._bytes = bytearray(ENCAPSULATION)
        self.numbers("i", stamp.sec)
        self.numbers("I", stamp.nanosec)
        self.text(frame_id)
        self._header = bytes(self._bytes[_ORIGIN:])

    def __bytes__(self) -> bytes:
        """Return the message."""
        return bytes(self._bytes)

    def numbers(self, code: str, *values: float) -> None:
        """Append numbers of one type: B, i, I or d of the module struct."""
        size = _SIZES[code]
        self._bytes += bytes(-(len(self._bytes) - _ORIGIN) % size)
        self._bytes += struct.pack(f"<{len(values)}{code}", *values)

    def text(self, text: str) -> None:
        """Append a string."""
        encoded = text.encode("utf-8", "surrogateescape")
        self.numbers("I", len(encoded) + 1)
        self._bytes += encoded
        self._bytes.append(0)

    def octets(self, data: Any) -> None:
        """Append a sequence of uint8 from any contiguous buffer."""
        view = memoryview(data).cast("B")
        self.numbers("I", len(view))
        self._bytes += view

    def same_header(self) -> None:
        """Append the header of the message once more, for a part of it."""
        self._bytes += bytes(-len(self._bytes) % 4) + self._header


class CdrReader:
    """Reads the fields of a message in order; struct.error, ValueError: there is no such field."""

    def __init__(self, message: bytes) -> None:
        """Begin to read; raise ValueError where the encapsulation is not plain CDR."""
        if message[:1] != b"\x00" or message[1:2] not in (b"\x00", b"\x01"):
            raise ValueError(f"the encapsulation {message[:2].hex()} is not plain CDR")
        self._order = "<" if message[1] else ">"
        self._message = message
        self._at = _ORIGIN

    def numbers(self, code: str, count: int) -> tuple[Any, ...]:
        """Return numbers of one type; see CdrWriter.numbers."""
        size = _SIZES[code]
        self._at += -(self._at - _ORIGIN) % size
        values = struct.unpack_from(f"{self._order}{count}{code}", self._message, self._at)
        self._at += size * count
        return values

    def number(self, code: str) -> int:
        """Return an integer; see CdrWriter.numbers."""
        return int(self.numbers(code, 1)[0])

    def octets(self) -> memoryview:
        """Return a sequence of uint8 as a view of the message."""
        size = self.number("I")
        view = memoryview(self._message)[self._at : self._at + size]
        if len(view) != size:
            raise ValueError(f"{size} bytes announced, {len(view)} left")
        self._at += size
        return view

    def text(self) -> str:
        """Return a string."""
        return bytes(self.octets()).rstrip(b"\0").decode("utf-8", "surrogateescape")

    def header(self) -> ReceivedHeader:
        """Return a std_msgs/Header."""
        return ReceivedHeader(Stamp(self.number("i"), self.number("I")), self.text())
