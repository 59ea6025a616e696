# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames of a video file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ad_compressed_perception.data.bad_frames import BadFrame, BadFrameLimit, BadFrames
from ad_compressed_perception.data.frame_source import FrameSource
from ad_compressed_perception.data.video_file import VideoFile
from ad_compressed_perception.image.decode import Frame


class VideoFrames(FrameSource):
    """The images of a video file; stamps are the container's, from the beginning of the file."""

    def __init__(
        self, path: Path, limit: int | None = None, stride: int = 1, max_bad: BadFrameLimit | None = None
    ) -> None:
        """Open the file; raise DataError as VideoFile does."""
        self._video = VideoFile(path)
        self._stride = stride
        self.describe = str(path)
        self.notes = list(self._video.notes)
        self.bad = BadFrames(self.describe, max_bad or BadFrameLimit(), stride=stride)
        self._count = len(range(self._video.count)[::stride][:limit])
        self._stamps_ns: list[int] | None = None

    def __len__(self) -> int:
        """Number of frames, after stride and limit, as the container says."""
        return self._count

    def read(self, indices: Iterable[int]) -> Iterator[Frame | BadFrame]:
        """Decode the frames of these indices; those before them are decoded, too."""
        asked = list(indices)
        places = {index * self._stride for index in asked}
        frames = enumerate(self._video.read(places))
        for index in asked:
            found = next((entry for place, entry in frames if place == index * self._stride), None)
            if found is None:
                yield BadFrame(index, "the container counts it, but the video ends before")
            elif found[1] is None:
                yield BadFrame(index, "it cannot be converted to pixels, or the video is cut off within it")
            else:
                yield Frame(found[1], "BGR", found[0])

    def stamps_ns(self) -> list[int]:
        """Return the stamps; the whole file is decoded once."""
        if self._stamps_ns is None:
            self._stamps_ns = [stamp_ns for stamp_ns, _ in self._video.read(())]
        stamps = self._stamps_ns[:: self._stride][: self._count]
        step = round(1e9 / (self._video.rate_hz or 1.0)) * self._stride
        last = stamps[-1] if stamps else -step
        return stamps + [last + step * (place + 1) for place in range(self._count - len(stamps))]
