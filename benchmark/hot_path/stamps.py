# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The stamp in the CDR bytes of a message that begins with a header; imports nothing, for the empty hop."""

from __future__ import annotations

_STAMP = slice(4, 12)


def with_stamp(cdr: bytes, stamp_ns: int) -> bytes:
    """Return little-endian CDR bytes of a message that begins with a header, with another stamp."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamped = bytearray(cdr)
    stamped[_STAMP] = seconds.to_bytes(4, "little", signed=True) + nanoseconds.to_bytes(4, "little")
    return bytes(stamped)


def stamp_of(cdr: bytes) -> int:
    """Return the stamp of such bytes, nanoseconds."""
    stamp = cdr[_STAMP]
    return int.from_bytes(stamp[:4], "little", signed=True) * 1_000_000_000 + int.from_bytes(
        stamp[4:], "little"
    )
