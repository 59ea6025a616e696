# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Video files (.mp4, .avi, .mkv, ...), decoded by OpenCV from the first frame on.

OpenCV's seeking is off by frames in files with B-frames or a varying rate, so frames are counted instead: a
frame that is not needed is decoded, but not converted to pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv")
VIDEO_TOPIC = "/video"
"""Of a video seen as a recording."""

_COUNTED_SUFFIXES = (".avi", ".m4v", ".mov", ".mp4")


def is_video_file(path: Path) -> bool:
    """Return whether a path is a file that is called as a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not path.name.startswith(".")


class VideoFile:
    """A video file; every iteration decodes it from its beginning.

    Attributes:
        path: the file.
        count: frames, as the container says; the file may hold fewer.
        rate_hz: frames a second, as the container says; 0 where it does not.
        notes: what was assumed, in sentences.
    """

    def __init__(self, path: Path) -> None:
        """Open the file once to check it; raise DataError where no frame of it can be decoded."""
        self.path = path
        capture = self._open()
        try:
            rate_hz = float(capture.get(cv2.CAP_PROP_FPS))
            self.rate_hz = rate_hz if 0.0 < rate_hz < 1e4 else 0.0
            count = float(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            rotation = int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
            if not capture.grab():
                raise DataError(f"video {path}: its first frame cannot be decoded")
        finally:
            capture.release()
        self.notes: list[str] = []
        if rotation:
            self.notes.append(
                f"{path} says that its images are to be rotated by {rotation} degrees, which was done."
            )
        # Of other containers OpenCV estimates the count from duration and rate, which may vary. An AVI file
        # counts the times at which a frame was dropped, too.
        is_stated = path.suffix.lower() in _COUNTED_SUFFIXES and 1 <= count < 1 << 31
        is_stated &= not _is_whole_avi(path)
        self.count = int(count) if is_stated else 0
        if not is_stated:
            self.count = sum(1 for _ in self.read(()))

    def read(self, needed: Any) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
        """Yield (stamp in nanoseconds, (H, W, 3) uint8 BGR or None where it is not needed) of every frame.

        Stamps are the container's, from the file's beginning, and at least 1 apart. The last frame of a file
        that ends before its count is cut off, and has no pixels.

        Args:
            needed: a container of the places of frames whose pixels are needed.
        """
        capture = self._open()
        try:
            place, last_ns = 0, -1
            is_there = capture.grab()
            while is_there:
                stamp_ns = max(round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6), last_ns + 1)
                pixels = None
                if place in needed:
                    decoded, image = capture.retrieve()
                    pixels = np.asarray(image, np.uint8) if decoded else None
                place, last_ns = place + 1, stamp_ns
                is_there = capture.grab()
                yield stamp_ns, pixels if is_there or place >= self.count else None
        finally:
            capture.release()

    def _open(self) -> Any:
        capture = cv2.VideoCapture(str(self.path))
        if not capture.isOpened():
            capture.release()
            raise DataError(
                f"video {self.path} cannot be opened: no container or codec that OpenCV's FFmpeg reads"
            )
        return capture


def _is_whole_avi(path: Path) -> bool:
    """Return whether a file is an AVI whose parts end where it does; one that is cut off has fewer bytes."""
    size, place = path.stat().st_size, 0
    with path.open("rb") as stream:
        while place < size:
            stream.seek(place)
            head = stream.read(8)
            if len(head) < 8 or not head.startswith(b"RIFF"):
                return False
            length = int.from_bytes(head[4:], "little")
            place += 8 + length + length % 2
    return size > 0 and place - 1 <= size
