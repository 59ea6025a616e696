# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads camera frames in order, from a recording or from a folder of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ad_compressed_perception.core.errors import DataError, ImageError
from ad_compressed_perception.data.bad_frames import BadFrame, BadFrameLimit, BadFrames, FrameAccount
from ad_compressed_perception.data.bag import BagReader, is_bag
from ad_compressed_perception.image.decode import Frame, compressed_mosaic, decode_image
from ad_compressed_perception.image.files import decode_file

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
            return Frame(*decode_file(data), stamp_ns)
        pixels = cv2.imdecode(data, _READ_FLAGS) if data.size else None
    except (ImageError, cv2.error) as cause:
        raise DataError(f"not a readable image: {path}: {' '.join(str(cause).split())}") from cause
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
    """Return the images as ``list_images`` does, and the names of the other files."""
    if not folder.is_dir():
        raise DataError(f"no such folder of images: {folder}")
    entries = [entry for entry in folder.iterdir() if not entry.is_dir()]
    files = [entry for entry in entries if _is_image(entry)]
    others = sorted({entry.name for entry in entries} - {entry.name for entry in files})
    if not files:
        ignored = f"; ignored: {', '.join(others[:3])}" if others else ""
        raise DataError(f"no images in {folder} (looked for {', '.join(sorted(IMAGE_SUFFIXES))}{ignored})")
    return sorted(files, key=_order), others


def _is_image(path: Path) -> bool:
    return not path.name.startswith(".") and path.suffix.lower() in IMAGE_SUFFIXES


def _order(path: Path) -> tuple[int, str]:
    # 9.jpg before 10.jpg: frames are in the order of time when their names are stamps.
    return (int(path.stem) if is_stamp(path.stem) else 1 << 64, path.name)


def is_stamp(stem: str) -> bool:
    """Return whether a file's name without its suffix is a stamp: an integer that fits 64 bits."""
    return stem.isascii() and stem.isdigit() and int(stem) < 1 << 63


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


class BagFrames(FrameSource):
    """The images of one topic of a recording; a header without a stamp gets the bag's time."""

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
        self._has_noted_mosaic = False
        with BagReader(path) as bag:
            self.topic = bag.resolve_image_topic(topic)
            count = bag.count(self.topic)
            self.problems = bag.problems(self.topic)
            self.notes = bag.warnings()
        if count == 0:
            raise DataError(f"bag {path} has no messages on {self.topic}")
        self.describe = f"{path}:{self.topic}"
        self.bad = BadFrames(self.describe, max_bad or BadFrameLimit(), stride=stride)
        self._count = len(range(count)[::stride][:limit])

    def __len__(self) -> int:
        """Number of messages, after stride and limit, by the bag's index."""
        return self._count

    def read(self, indices: Iterable[int]) -> Iterator[Frame | BadFrame]:
        """Decode the messages of these indices, skipping the others without deserializing them."""
        for index, bag_time_ns, message in self._messages(indices):
            if isinstance(message, str):
                yield BadFrame(index, message)
                continue
            try:
                frame = decode_image(message, self.topic)
            except ImageError as cause:
                yield BadFrame(index, str(cause))
                continue
            self._note_mosaic(message)
            yield frame if frame.stamp_ns else replace(frame, stamp_ns=bag_time_ns)

    def stamps_ns(self) -> list[int]:
        """Return the headers' stamps; the whole topic is read, but no image is decoded."""
        stamps = []
        for _, bag_time_ns, message in self._messages(range(len(self))):
            stamp = getattr(getattr(message, "header", None), "stamp", None)
            stamps.append((stamp.sec * 1_000_000_000 + stamp.nanosec if stamp else 0) or bag_time_ns)
        return stamps

    def _note_mosaic(self, message: Any) -> None:
        mosaic = compressed_mosaic(getattr(message, "format", ""))
        if mosaic and not self._has_noted_mosaic:
            self._has_noted_mosaic = True
            self.notes = [
                *self.notes,
                f"{self.describe} holds {mosaic} Bayer mosaics compressed as images; their colors were "
                "interpolated, and compression has blurred them.",
            ]

    def _messages(self, indices: Iterable[int]) -> Iterator[tuple[int, int, Any]]:
        """Yield (index, bag time in nanoseconds, message) of ascending indices; a text: why there is none."""
        with BagReader(self.path) as bag:
            messages = bag.messages([self.topic])
            position, bag_time_ns = 0, bag.start_ns
            for index in indices:
                skipped = index * self._stride - position
                found = next(islice(messages, skipped, None), None)
                position += skipped + 1
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


def open_frames(
    spec: str, limit: int | None = None, stride: int = 1, max_bad: BadFrameLimit | None = None
) -> FrameSource:
    """Open camera frames.

    Args:
        spec: ``BAG`` or ``BAG:TOPIC`` (a rosbag2 folder, a .mcap or a .db3 file; the topic may be
            left out where the bag has one image topic only), or a FOLDER of images.
        limit: largest number of frames.
        stride: only every ``stride``-th frame.
        max_bad: how many frames ``readable`` may leave out; None for a tenth.

    Raises:
        DataError: no such source, an empty one, or a wrong topic, limit or stride.
    """
    if stride < 1 or (limit is not None and limit < 1):
        raise DataError(f"stride and limit must be at least 1, not {stride} and {limit}")
    path, topic = split_spec(spec)
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
    raise DataError(f"no such bag or folder of images: {path}{hint}")
