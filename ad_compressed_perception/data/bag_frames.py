# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames of one topic of a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ad_compressed_perception.core.errors import DataError, ImageError
from ad_compressed_perception.data.bad_frames import BadFrame, BadFrameLimit, BadFrames, FrameAccount
from ad_compressed_perception.data.bag import BagReader
from ad_compressed_perception.data.frame_source import FrameSource
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.image.encodings import ENCODINGS
from ad_compressed_perception.image.format_text import (
    SAMPLE_BITS,
    format_note,
    known_encoding,
    known_sample_bits,
    parse_format,
)
from ad_compressed_perception.image.video import MessageDecoder, VideoDecoder


class BagFrames(FrameSource):
    """The images of one topic of a recording; a header without a stamp gets the bag's time.

    Of a topic of video packets those between the chosen ones are read, too, since images need them.
    """

    def __init__(
        self,
        path: Path,
        topic: str | None,
        limit: int | None = None,
        stride: int = 1,
        max_bad: BadFrameLimit | None = None,
    ) -> None:
        """Open the bag once to check it; raise DataError as BagReader does."""
        self.path = path
        self._stride = stride
        self._formats: set[str] = set()
        self._largest_sample = 0
        with BagReader(path) as bag:
            self.topic = bag.resolve_image_topic(topic)
            count = bag.count(self.topic)
            self.problems = bag.problems(self.topic)
            self.notes = bag.warnings()
            self._is_video = _is_video(bag, self.topic)
        if count == 0:
            raise DataError(f"bag {path} has no messages on {self.topic}")
        self.describe = f"{path}:{self.topic}"
        self.bad = BadFrames(self.describe, max_bad or BadFrameLimit(), stride=stride)
        self._count = len(range(count)[::stride][:limit])

    def __len__(self) -> int:
        """Number of messages, after stride and limit, by the bag's index."""
        return self._count

    def read(self, indices: Iterable[int]) -> Iterator[Frame | BadFrame]:
        """Decode the messages of these indices.

        The others are skipped without deserializing them, except of a video, from a keyframe on.
        """
        decoder = MessageDecoder(self.topic)
        for index, bag_time_ns, message in self._messages(indices, decoder.skip if self._is_video else None):
            if isinstance(message, str):
                yield BadFrame(index, message)
                continue
            try:
                frame = decoder.decode(message)
            except ImageError as cause:
                yield BadFrame(index, str(cause))
                continue
            self._note(message, frame)
            yield frame if frame.stamp_ns else replace(frame, stamp_ns=bag_time_ns)

    def stamps_ns(self) -> list[int]:
        """Return the headers' stamps; the whole topic is read, but no image is decoded."""
        stamps = []
        for _, bag_time_ns, message in self._messages(range(len(self))):
            stamp = getattr(getattr(message, "header", None), "stamp", None)
            stamps.append((stamp.sec * 1_000_000_000 + stamp.nanosec if stamp else 0) or bag_time_ns)
        return stamps

    def account(self) -> FrameAccount:
        """Return what became of the frames so far."""
        account = super().account()
        bits = self._largest_sample.bit_length()
        if 0 < bits <= 14 and not known_sample_bits():
            account.notes.append(
                f"The 16-bit samples of {self.describe} use {bits} bits at most, as of a 12- or 14-bit "
                f"camera, and "
                f"its images are dark: {SAMPLE_BITS}={12 if bits <= 12 else 14} (sample_bits of a node) "
                f"scales them."
            )
        return account

    def _note(self, message: Any, frame: Frame) -> None:
        text = str(getattr(message, "format", ""))
        if text and text not in self._formats:
            self._formats.add(text)
            if note := format_note(text, frame.color):
                self.notes = [*self.notes, f"{self.describe}: {note}"]
        named = ENCODINGS.get(known_encoding(getattr(message, "encoding", "")))
        height, width = frame.pixels.shape[:2]
        if named and height != message.height and named.chroma_rows and "" not in self._formats:
            self._formats.add("")
            self.notes = [
                *self.notes,
                f"{self.describe}: the height of {message.height} is taken to count the rows of chroma, the "
                f"images for {width}x{height}: if that is not their size, they lack their chroma.",
            ]
        if frame.pixels.dtype == np.uint16 or (named and named.sample_bytes == 2):
            shift = 0 if frame.pixels.dtype == np.uint16 else 8
            self._largest_sample = max(self._largest_sample, int(frame.pixels.max()) << shift)

    def _messages(
        self, indices: Iterable[int], skip: Callable[[Any], None] | None = None
    ) -> Iterator[tuple[int, int, Any]]:
        """Yield (index, bag time in nanoseconds, message) of ascending indices; a text: why there is none.

        Args:
            indices: of the messages.
            skip: called with the messages between them; None: those are not deserialized.
        """
        with BagReader(self.path) as bag:
            messages = bag.messages([self.topic])
            position, bag_time_ns = 0, bag.start_ns
            for index in indices:
                skipped = index * self._stride - position
                position += skipped + 1
                for _, _, cdr in islice(messages, skipped):
                    if skip is not None:
                        with suppress(DataError):
                            skip(bag.deserialize(self.topic, cdr))
                found = next(messages, None)
                if found is None:
                    new = [text for text in bag.problems(self.topic) if text not in self.problems]
                    reason = "; ".join(["the index counts it, but the recording ends before", *new])
                    yield index, bag_time_ns, reason
                    continue
                _, bag_time_ns, cdr = found
                try:
                    message: Any = bag.deserialize(self.topic, cdr)
                except DataError as error:
                    message = str(error)
                yield index, bag_time_ns, message


def _is_video(bag: BagReader, topic: str) -> bool:
    """Return whether a topic carries packets of a video; raise DataError where those cannot be decoded."""
    for _, _, cdr in bag.messages([topic]):
        try:
            parsed = parse_format(getattr(bag.deserialize(topic, cdr), "format", None))
        except DataError:  # counted when it is read
            continue
        if parsed.kind == "video":
            try:
                VideoDecoder(parsed.codec)
            except ImageError as error:
                raise DataError(f"{bag.path}:{topic}: {error}") from error
        return parsed.kind == "video"
    return False
