# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Video files (.mp4, .avi, .mkv, ...), decoded by OpenCV from the first frame on.

OpenCV's seeking is off by frames in files with B-frames or a varying rate, so frames are counted instead: a frame
that is not needed is decoded, but not converted to pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError

VIDEO_SUFFIXES = frozenset(
    (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv", ".h264", ".h265", ".hevc")
)


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
            self.notes.append(f"{path} says that its images are to be rotated by {rotation} degrees, which was done.")
        # Streams without a container, and cut ones, do not say how many frames they hold.
        self.count = int(count) if 1 <= count < 1 << 31 else sum(1 for _ in self.read(()))
        if count < 1:
            self.notes.append(f"{path} does not say how many frames it has; {self.count} were counted.")

    def read(self, wanted: Any) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
        """Yield (stamp in nanoseconds, (H, W, 3) uint8 BGR or None where it is not wanted) of every frame.

        Stamps are the container's, from the file's beginning, and at least 1 apart.

        Args:
            wanted: a container of the places of frames whose pixels are needed.
        """
        capture = self._open()
        try:
            place, last_ns = 0, -1
            while capture.grab():
                # Before the first frame is shown OpenCV gives its stamp, then each one's.
                stamp_ns = max(round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6), last_ns + 1)
                pixels = None
                if place in wanted:
                    decoded, image = capture.retrieve()
                    pixels = np.asarray(image, np.uint8) if decoded else None
                yield stamp_ns, pixels
                place, last_ns = place + 1, stamp_ns
        finally:
            capture.release()

    def _open(self) -> Any:
        capture = cv2.VideoCapture(str(self.path))
        if not capture.isOpened():
            capture.release()
            raise DataError(f"video {self.path} cannot be opened: no container or codec that OpenCV's FFmpeg reads")
        return capture
