# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads tables of the FlatBuffers format by field number, without generated code.

FlatBuffers, "FlatBuffer Internals": a table begins with the signed distance back to its vtable; a vtable has
its size, the table's size and, for each field, the field's distance from the table or 0 where it has its
default.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class FlatTable:
    """A table in a buffer. Reads beyond the buffer raise struct.error, impossible places ValueError."""

    data: bytes
    at: int

    @classmethod
    def root(cls, data: bytes) -> FlatTable:
        """Return the root table of a buffer."""
        return cls(data, _forward(data, 0))

    def _place(self, field: int) -> int:
        """Return where a field's value begins, 0 where it is absent."""
        vtable = self.at - struct.unpack_from("<i", self.data, self.at)[0]
        if vtable < 0:
            raise ValueError("a table outside of the buffer")
        size, slot = struct.unpack_from("<H", self.data, vtable)[0], 4 + 2 * field
        offset = struct.unpack_from("<H", self.data, vtable + slot)[0] if slot < size else 0
        return self.at + offset if offset else 0

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """Return an integer; ``kind`` is the letter of the struct module."""
        place = self._place(field)
        return int(struct.unpack_from("<" + kind, self.data, place)[0]) if place else default

    def table(self, field: int) -> FlatTable | None:
        """Return a table, or what a union holds."""
        place = self._place(field)
        return FlatTable(self.data, _forward(self.data, place)) if place else None

    def tables(self, field: int) -> list[FlatTable]:
        """Return a vector of tables."""
        start, count = self._vector(field, 4)
        return [FlatTable(self.data, _forward(self.data, start + 4 * place)) for place in range(count)]

    def numbers(self, field: int, kind: str) -> list[int]:
        """Return a vector of integers."""
        start, count = self._vector(field, struct.calcsize("<" + kind))
        return list(struct.unpack_from(f"<{count}{kind}", self.data, start)) if count else []

    def bytes(self, field: int) -> bytes:
        """Return a vector of bytes."""
        start, count = self._vector(field, 1)
        return self.data[start : start + count]

    def text(self, field: int) -> str:
        """Return a string."""
        return self.bytes(field).decode()

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """Return where the elements begin, and how many there are."""
        place = self._place(field)
        if not place:
            return 0, 0
        start = _forward(self.data, place)
        count = struct.unpack_from("<I", self.data, start)[0]
        if start + 4 + count * size > len(self.data):
            raise ValueError("a vector longer than the buffer")
        return start + 4, count


def _forward(data: bytes, place: int) -> int:
    """Follow an offset, which is relative to its own place."""
    return place + int(struct.unpack_from("<I", data, place)[0])
