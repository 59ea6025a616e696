# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A video file seen as a recording with one topic of raw images, for what publishes recordings."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.bag import BagReader, ros_types
from ad_compressed_perception.data.video_file import VIDEO_TOPIC as TOPIC
from ad_compressed_perception.data.video_file import VideoFile, is_video_file

_TYPE = "sensor_msgs/msg/Image"
_FIRST_NS = 1_000_000_000
"""Stamp of a video's beginning: a stamp of 0 is one that was never set."""


def open_recording(path: Path | str) -> BagReader:
    """Return a reader of a recording or of a video file, to be entered."""
    expanded = Path(path).expanduser()
    return VideoReader(expanded) if is_video_file(expanded) else BagReader(expanded)


class VideoReader(BagReader):
    """A video file with the methods of BagReader; its images are bgr8 on the topic ``/video``."""

    def __init__(self, path: Path | str) -> None:
        """Store the path; nothing is read before the reader is entered."""
        super().__init__(path)
        self._video: VideoFile | None = None

    def __enter__(self) -> BagReader:
        """Open the file; raise DataError as VideoFile does."""
        self._video = VideoFile(self.path)
        self.topics = {TOPIC: _TYPE}
        return self

    def close(self) -> None:
        """Close the file; it may be entered again."""
        self._video = None

    @property
    def storage(self) -> str:
        """How the images are stored: as a video."""
        return "video"

    @property
    def start_ns(self) -> int:
        """Time of the first frame, nanoseconds."""
        return _FIRST_NS

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last frame, by the container's count and rate."""
        video = self._file()
        return (video.count - 1) / video.rate_hz if video.rate_hz else 0.0

    def count(self, topic: str) -> int:
        """Return the number of frames, as the container says."""
        self._require(topic)
        return self._file().count

    def claimed_count(self, topic: str) -> int | None:
        """Return that nothing else counts the frames."""
        return None

    def warnings(self) -> list[str]:
        """Return what was assumed, in sentences."""
        return list(self._file().notes)

    def problems(self, topic: str | None = None) -> list[str]:
        """Return nothing: what the container says is compared with what is read where it is read."""
        return []

    def resolve_image_topic(self, topic: str | None = None) -> str:
        """Return the topic; raise DataError for another one."""
        self._require(topic or TOPIC)
        return TOPIC

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Yield (topic, time in nanoseconds, serialized sensor_msgs/Image) of every frame."""
        for topic in topics:
            self._require(topic)
        store = ros_types()
        types = store.types
        for time_ns, pixels in self._file().read(range(1 << 62)):
            if pixels is None:
                continue
            stamp_ns = time_ns + _FIRST_NS
            stamp = types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 1_000_000_000))
            height, width = pixels.shape[:2]
            data = np.ascontiguousarray(pixels).reshape(-1)
            header = types["std_msgs/msg/Header"](stamp, "camera")
            message = types[_TYPE](header, height, width, "bgr8", 0, 3 * width, data)
            yield TOPIC, stamp_ns, bytes(store.serialize_cdr(message, _TYPE))

    def deserialize(self, topic: str, cdr: bytes) -> Any:
        """Return the message of CDR bytes."""
        return ros_types().deserialize_cdr(cdr, _TYPE)

    def _file(self) -> VideoFile:
        if self._video is None:
            raise DataError(f"video {self.path} is not open")
        return self._video

    def _require(self, topic: str) -> None:
        if topic != TOPIC:
            raise DataError(f"video {self.path} has no topic {topic}; its images are on {TOPIC}")
