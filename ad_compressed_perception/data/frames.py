# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads camera frames in order: from a recording, a video file or a folder of images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from ad_compressed_perception.core.errors import DataError, ImageError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.data.bad_frames import BadFrame, BadFrameLimit, BadFrames
from ad_compressed_perception.data.bag import is_bag
from ad_compressed_perception.data.bag_frames import BagFrames
from ad_compressed_perception.data.frame_source import FrameSource
from ad_compressed_perception.data.video_file import VIDEO_TOPIC, is_video_file
from ad_compressed_perception.data.video_frames import VideoFrames
from ad_compressed_perception.image.decode import Frame, gray_of_file
from ad_compressed_perception.image.files import decode_file
from ad_compressed_perception.image.format_text import known_sample_bits

__all__ = [
    "BagFrames",
    "FolderFrames",
    "FrameSource",
    "VideoFrames",
    "list_images",
    "open_frames",
    "read_image_file",
    "split_spec",
]

_CHECKED_SUFFIXES = frozenset((".jpeg", ".jpg", ".png"))
IMAGE_SUFFIXES = _CHECKED_SUFFIXES | {".bmp", ".ppm", ".tif", ".tiff", ".webp"}
_READ_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


def split_spec(spec: str) -> tuple[Path, str | None]:
    """Split ``PATH`` or ``PATH:/topic`` into path and topic.

    A colon belongs to the path when the whole is an existing path, when what follows it is no topic
    (topics begin with '/'), or when it stands behind a drive letter.
    """
    path, colon, topic = spec.rpartition(":")
    is_drive = len(path) == 1 and path.isalpha() and not Path(path).exists()
    if not colon or not topic.startswith("/") or is_drive or Path(spec).expanduser().exists():
        return Path(spec).expanduser(), None
    return Path(path).expanduser(), topic


def read_image_file(path: Path, stamp_ns: int = 0) -> Frame:
    """Read an image in its own colors: BGR or GRAY; an EXIF orientation is not applied.

    Raises:
        DataError: the file cannot be read, is cut off, or is no image.
    """
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as cause:
        raise DataError(f"cannot read image {path}: {cause.strerror or cause}") from cause
    try:
        if path.suffix.lower() in _CHECKED_SUFFIXES:
            bits = known_sample_bits()
            decoded, color = decode_file(data, sample_bits=bits or 16)
            if color == "GRAY":
                decoded, color = gray_of_file(decoded, sample_bits=bits)
            return Frame(decoded, color, stamp_ns)
        pixels = cv2.imdecode(data, _READ_FLAGS) if data.size else None
    except (ImageError, cv2.error) as cause:
        raise DataError(f"not a readable image: {path}: {one_line(cause)}") from cause
    if pixels is None:
        raise DataError(f"not a readable image: {path} ({data.size} bytes)")
    return Frame(np.asarray(pixels), "BGR", stamp_ns)


def list_images(folder: Path) -> list[Path]:
    """Return the images in a folder, those named by a number by its size, then the others by name.

    Hidden files, ``._000.jpg`` of macOS among them, are no images.

    Raises:
        DataError: there is no such folder or no image in it.
    """
    return list_images_and_others(folder)[0]


def list_images_and_others(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the images as ``list_images`` does, and the names of other files and of folders of images."""
    if not folder.is_dir():
        raise DataError(f"no such folder of images: {folder}")
    entries = [entry for entry in folder.iterdir() if not entry.is_dir()]
    files = [entry for entry in entries if _is_image(entry)]
    others = sorted({entry.name for entry in entries} - {entry.name for entry in files})
    others += sorted(f"{entry.name}/" for entry in folder.iterdir() if _holds_images(entry))
    if not files:
        ignored = f"; ignored: {', '.join(others[:3])}" if others else ""
        raise DataError(f"no images in {folder} (looked for {', '.join(sorted(IMAGE_SUFFIXES))}{ignored})")
    return sorted(files, key=_order), others


def _holds_images(path: Path) -> bool:
    """Return whether a path is a folder with images directly in it."""
    return path.is_dir() and os.access(path, os.R_OK | os.X_OK) and any(map(_is_image, path.iterdir()))


def _is_image(path: Path) -> bool:
    return not path.name.startswith(".") and path.suffix.lower() in IMAGE_SUFFIXES


def _order(path: Path) -> tuple[int, str]:
    # 9.jpg before 10.jpg: frames are in the order of time when their names are stamps.
    return (int(path.stem) if is_stamp(path.stem) else 1 << 64, path.name)


def is_stamp(stem: str) -> bool:
    """Return whether a file's name without its suffix is a stamp: an integer that fits 64 bits."""
    return stem.isascii() and stem.isdigit() and int(stem) < 1 << 63


class FolderFrames(FrameSource):
    """The images of a folder, by name; a name that is an integer is the stamp in nanoseconds."""

    def __init__(
        self, folder: Path, limit: int | None = None, stride: int = 1, max_bad: BadFrameLimit | None = None
    ) -> None:
        """List the folder; raise DataError where it holds no images."""
        self.describe = str(folder)
        self.bad = BadFrames(self.describe, max_bad or BadFrameLimit(), stride=stride)
        paths, self.ignored_files = list_images_and_others(folder)
        self.paths = paths[::stride][:limit]
        self._stride = stride

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def read(self, indices: Iterable[int]) -> Iterator[Frame | BadFrame]:
        """Read the images of these indices."""
        for index in indices:
            path = self.paths[index]
            try:
                yield read_image_file(path, self.stamp_ns(index))
            except DataError as error:
                yield BadFrame(index, str(error))

    def stamps_ns(self) -> list[int]:
        """Return the stamps that the names or the places give."""
        return [self.stamp_ns(index) for index in range(len(self.paths))]

    def stamp_ns(self, index: int) -> int:
        """Stamp of an image: its name where that is an integer, else its place in the folder."""
        stem = self.paths[index].stem
        return int(stem) if is_stamp(stem) else index * self._stride


def open_frames(
    spec: str, limit: int | None = None, stride: int = 1, max_bad: BadFrameLimit | None = None
) -> FrameSource:
    """Open camera frames.

    Args:
        spec: ``BAG`` or ``BAG:TOPIC`` (a rosbag2 folder, a .mcap or a .db3 file; the topic may be
            left out where the bag has one image topic only), a video file such as .mp4, or a FOLDER of
            images.
        limit: largest number of frames.
        stride: only every ``stride``-th frame.
        max_bad: how many frames ``readable`` may leave out; None for a tenth.

    Raises:
        DataError: no such source, an empty one, or a wrong topic, limit or stride.
    """
    if stride < 1 or (limit is not None and limit < 1):
        raise DataError(f"stride and limit must be at least 1, not {stride} and {limit}")
    path, topic = split_spec(spec)
    if is_video_file(path) and topic in (None, VIDEO_TOPIC):
        return VideoFrames(path, limit, stride, max_bad)
    if is_bag(path) or (topic is not None and path.exists()):
        return BagFrames(path, topic, limit, stride, max_bad)
    if path.is_dir():
        return FolderFrames(path, limit, stride, max_bad)
    if path.is_file():
        return BagFrames(path, None, limit, stride, max_bad)
    hint = ""
    head, colon, tail = str(path).rpartition(":")
    if topic is None and colon and Path(head).exists():
        hint = f"; a topic begins with '/': {head}:/{tail}"
    raise DataError(f"no such bag or folder of images, nor a video: {path}{hint}")
