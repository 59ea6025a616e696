# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The frames of a recording as they are replayed: serialized bytes with a unique stamp."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.bag import BagReader
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.image.format_text import parse_format
from ad_compressed_perception.image.video import MessageDecoder

# An image message begins with its header: 4 bytes of CDR encapsulation, then stamp.sec (int32) and
# stamp.nanosec (uint32). The second encapsulation byte is odd for little endian.
_STAMP_OFFSET = 4
_STAMP_END = 12
_NANOSECONDS = 1_000_000_000
_LATEST_NS = 2**31 * _NANOSECONDS
"""End of what builtin_interfaces/Time holds."""


@dataclass(frozen=True)
class BagFrame:
    """One image message.

    Attributes:
        index: position among the frames replayed, from 0.
        stamp_ns: header stamp, unique in the replay.
        bag_time_ns: when it was recorded.
        cdr: the serialized message, header stamp as in ``stamp_ns``.
    """

    index: int
    stamp_ns: int
    bag_time_ns: int
    cdr: bytes


@dataclass
class BagSlice:
    """Which frames of which topic are replayed; the counters are those of the last iteration.

    Attributes:
        bag: an open recording.
        topic: its image topic.
        start_s: seconds of the recording left out at its beginning.
        duration_s: seconds replayed; None is all.
        limit: frames replayed at most; None is all.
        read: messages of the selected part that were read.
        left_out: messages before and behind the selected part.
        unreadable: reasons of messages that are no image message and were not sent.
        restamped: frames whose stamp was not positive or a duplicate and was replaced by the recording time.
        is_one_image: all frames hold the same image.
    """

    bag: BagReader
    topic: str
    start_s: float = 0.0
    duration_s: float | None = None
    limit: int | None = None
    read: int = field(default=0, init=False)
    left_out: int = field(default=0, init=False)
    unreadable: list[str] = field(default_factory=list, init=False)
    restamped: int = field(default=0, init=False)
    is_one_image: bool = field(default=True, init=False)

    @property
    def is_compressed(self) -> bool:
        """Whether the topic carries CompressedImage."""
        return self.bag.is_compressed(self.topic)

    def estimated_count(self) -> int:
        """Return the number of frames: exact for a whole recording, else estimated from its duration."""
        count = self.bag.count(self.topic)
        total_s = self.bag.duration_s
        if total_s > 0 and (self.start_s or self.duration_s is not None):
            remaining_s = max(0.0, total_s - self.start_s)
            selected_s = remaining_s if self.duration_s is None else min(remaining_s, self.duration_s)
            count = max(1, round(count * selected_s / total_s))
        return count if self.limit is None else min(count, self.limit)

    def message(self, frame: BagFrame) -> Any:
        """Return a frame's message."""
        return self.bag.image_message(self.topic, frame.cdr)

    def decode(self, frame: BagFrame) -> Frame:
        """Return a frame's image; of a video the packets before it are read anew.

        Raises:
            ImageError: it cannot be decoded.
        """
        decoder, message = MessageDecoder(self.topic), self.message(frame)
        if parse_format(getattr(message, "format", None)).kind == "video":
            for _, bag_time_ns, cdr in self.bag.messages([self.topic]):
                if bag_time_ns >= frame.bag_time_ns:
                    break
                with suppress(DataError):
                    decoder.skip(self.bag.deserialize(self.topic, cdr))
        return decoder.decode(message)

    def __iter__(self) -> Iterator[BagFrame]:
        """Yield the frames; raise DataError when there are none that can be read."""
        begin_ns = self.bag.start_ns + round(self.start_s * _NANOSECONDS)
        end_ns = None if self.duration_s is None else begin_ns + round(self.duration_s * _NANOSECONDS)
        self.read = self.left_out = self.restamped = 0
        self.unreadable, self.is_one_image = [], True
        first = b""
        used_stamps: set[int] = set()
        index = 0
        for _, bag_time_ns, cdr in self.bag.messages([self.topic]):
            if bag_time_ns < begin_ns:
                self.left_out += 1
                continue
            if (end_ns is not None and bag_time_ns >= end_ns) or self.read == self.limit:
                self.left_out = self.bag.count(self.topic) - self.read
                break
            self.read += 1
            try:
                cdr = self.bag.image_cdr(self.topic, cdr)
                stamp_ns = read_stamp_ns(cdr)
                # Bytes that are no message would never arrive, and be waited for.
                self.bag.image_message(self.topic, cdr)
            except DataError as error:
                self.unreadable.append(str(error))
                continue
            if not 0 < stamp_ns < _LATEST_NS or stamp_ns in used_stamps:
                stamp_ns = bag_time_ns if 0 < bag_time_ns < _LATEST_NS - _NANOSECONDS else 1
                while stamp_ns in used_stamps:
                    stamp_ns += 1
                cdr = with_stamp_ns(cdr, stamp_ns)
                self.restamped += 1
            used_stamps.add(stamp_ns)
            if self.is_one_image:
                first = first or cdr[_STAMP_END:]
                self.is_one_image = cdr.endswith(first) and len(cdr) == _STAMP_END + len(first)
            yield BagFrame(index, stamp_ns, bag_time_ns, cdr)
            index += 1
        if index == 0:
            why = f", {self.unreadable[0]}" if self.unreadable else ""
            raise DataError(
                f"bag {self.bag.path} has no frame on {self.topic} in the selected part "
                f"(start {self.start_s:g} s of {self.bag.duration_s:.1f} s{why})"
            )


def read_stamp_ns(cdr: bytes) -> int:
    """Return the header stamp of a serialized image message; raise DataError when it is too short."""
    if len(cdr) < _STAMP_OFFSET + 8:
        raise DataError(f"an image message of {len(cdr)} bytes is too short to hold a header")
    seconds, nanoseconds = struct.unpack_from(_stamp_format(cdr), cdr, _STAMP_OFFSET)
    return int(seconds) * _NANOSECONDS + int(nanoseconds)


def with_stamp_ns(cdr: bytes, stamp_ns: int) -> bytes:
    """Return a copy of a serialized image message with another header stamp."""
    changed = bytearray(cdr)
    struct.pack_into(_stamp_format(cdr), changed, _STAMP_OFFSET, *divmod(stamp_ns, _NANOSECONDS))
    return bytes(changed)


def _stamp_format(cdr: bytes) -> str:
    return "<iI" if cdr[1] & 1 else ">iI"
