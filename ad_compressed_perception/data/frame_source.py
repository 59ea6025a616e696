# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What all sources of camera frames have: frames by index, bad ones counted, what a reader must know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.bad_frames import BadFrame, BadFrames, FrameAccount
from ad_compressed_perception.image.decode import Frame


class FrameSource(ABC):
    """Frames in the order of time; can be iterated repeatedly, each pass reads from the source.

    Attributes:
        describe: where the frames come from, for reports: ``PATH`` or ``PATH:TOPIC``.
        bad: the frames found bad so far, and how many may be.
        ignored_files: names of files beside the frames that are none.
        problems: what contradicts itself in a recording, in sentences.
        notes: what was assumed about the frames, in sentences.
    """

    describe: str
    bad: BadFrames
    ignored_files: Sequence[str] = ()
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames, by the source's index."""

    @abstractmethod
    def stamps_ns(self) -> list[int]:
        """Return the stamp of every frame, nanoseconds, without decoding the images."""

    @abstractmethod
    def read(self, indices: Iterable[int]) -> Iterator[Frame | BadFrame]:
        """Yield one entry for each of ascending indices; frames between them are not decoded."""

    def frames(self, indices: Iterable[int]) -> Iterator[Frame]:
        """Yield the frames of ascending indices; the others are not decoded.

        Raises:
            DataError: a frame cannot be read or decoded; the message names it.
        """
        for entry in self.read(indices):
            if isinstance(entry, BadFrame):
                place = entry.index * self.bad.stride
                raise DataError(f"frame {place} of {self.describe}: {entry.reason}")
            yield entry

    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame; raises DataError as ``frames`` does."""
        return self.frames(range(len(self)))

    def readable(self, indices: Iterable[int]) -> list[int]:
        """Decode the frames of ascending indices once; return the indices of those that can be read.

        The others are recorded in ``bad``: every later use of the source leaves out the same frames.

        Raises:
            DataError: more of them are bad than the limit allows, or all.
        """
        asked = list(indices)
        bad = [entry for entry in self.read(asked) if isinstance(entry, BadFrame)]
        self.bad.note(asked, bad)
        left_out = {frame.index for frame in bad}
        return [index for index in asked if index not in left_out]

    def account(self) -> FrameAccount:
        """Return what became of the frames so far."""
        return FrameAccount(
            source=self.describe,
            index=len(self),
            checked=len(self.bad.checked),
            bad=self.bad.by_reason(),
            ignored_files=list(self.ignored_files),
            problems=list(self.problems),
            notes=list(self.notes),
        )
