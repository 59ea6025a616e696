# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames that come with what a model's further inputs need: earlier frames and the bag's topics."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.input_sources import (
    ODOMETRY_TYPE,
    PreviousInput,
    TopicInput,
    history_of,
    topics_of,
)
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.data.bad_frames import BadFrame, BadFrameLimit, BadFrames, FrameAccount
from ad_compressed_perception.data.bag import BagReader
from ad_compressed_perception.data.bag_frames import BagFrames
from ad_compressed_perception.data.frame_source import FrameSource
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.data.topic_value import topic_value
from ad_compressed_perception.image.decode import Frame, FrameInputs
from ad_compressed_perception.image.frame_inputs import StampedValues, following


class InputFrames(FrameSource):
    """The frames of a source with their FrameInputs.

    A frame without a value, or with too few earlier frames before it, counts as unreadable: it is
    left out and reported like a broken image, and never gets a value that was not recorded.
    """

    def __init__(self, source: FrameSource, manifest: Manifest, stride: int = 1) -> None:
        """Read the topics of the source's bag, once.

        Args:
            source: every frame of it may be an earlier one.
            manifest: the model.
            stride: only every ``stride``-th frame is one of these.

        Raises:
            DataError: the source is no bag and an input is a topic's, there is no such topic or field, or the
                topic has another type.
        """
        self._source, self._stride = source, stride
        self._depth = history_of(manifest.inputs)
        self._stacks = {
            name: one for name, one in (manifest.inputs or {}).items() if isinstance(one, PreviousInput)
        }
        self.describe, self.ignored_files = source.describe, source.ignored_files
        self.problems, self.notes = source.problems, source.notes
        self.bad = BadFrames(source.describe, source.bad.limit, stride=stride)
        self._values = {
            name: _read_topic(source, name, topic, manifest.name)
            for name, topic in topics_of(manifest.inputs).items()
        }

    @property
    def topic(self) -> Any:
        """The image topic of a bag."""
        return getattr(self._source, "topic", None)

    def __len__(self) -> int:
        """Return the number of frames, after the stride."""
        return -(-len(self._source) // self._stride)

    def stamps_ns(self) -> list[int]:
        """Return the frames' stamps."""
        return self._source.stamps_ns()[:: self._stride]

    def read(self, indices: Iterable[int]) -> Iterator[Frame | BadFrame]:
        """Read the frames of these indices, and those before them."""
        chosen = [index * self._stride for index in indices]
        places = sorted(
            {place for index in chosen for place in range(max(index - self._depth, 0), index + 1)}
        )
        asked, recent = set(chosen), deque[tuple[int, Frame]](maxlen=self._depth + 1)
        for place, entry in zip(places, self._source.read(places), strict=True):
            if isinstance(entry, BadFrame):
                if place in asked:
                    yield BadFrame(place // self._stride, entry.reason)
                continue
            recent.append((place, entry))
            if place in asked:
                found = self._inputs(entry, _unbroken(recent))
                for name, problem in found.problems.items():
                    yield BadFrame(place // self._stride, f"input {name!r}: {problem}")
                    break
                else:
                    yield replace(entry, inputs=found)

    def _inputs(self, frame: Frame, previous: tuple[Frame, ...]) -> FrameInputs:
        values: dict[str, NDArray[np.float64]] = {}
        problems: dict[str, str] = {}
        for name, source in self._stacks.items():
            count = len(following(frame, previous, source.max_gap_s))
            if count < source.frames and source.at_start == "fail":
                problems[name] = (
                    f"{source.frames} earlier images are needed, {count} follow each other by at most "
                    f"{source.max_gap_s:g} s"
                )
        for name, log in self._values.items():
            found = log.at(frame.stamp_ns)
            if isinstance(found, str):
                problems[name] = found
            else:
                values[name] = found
        return FrameInputs(previous, values, problems)

    def account(self) -> FrameAccount:
        """Return what became of the frames so far, with the notes of the source."""
        known = self._source.account()  # with what it assumed while it was read
        self.problems, self.notes = known.problems, known.notes
        return super().account()


def _unbroken(recent: Iterable[tuple[int, Frame]]) -> tuple[Frame, ...]:
    """Return the frames before the last one that follow each other in the source without one missing."""
    known = list(recent)
    found: list[Frame] = []
    for (place, _), (after, earlier) in pairwise(reversed(known)):
        if after != place - 1:
            break
        found.append(earlier)
    return tuple(found[::-1])


def open_model_frames(
    manifest: Manifest,
    spec: str,
    limit: int | None = None,
    stride: int = 1,
    max_bad: BadFrameLimit | None = None,
) -> FrameSource:
    """Open camera frames with what a model's inputs need; those of open_frames for an image alone.

    Raises:
        DataError: as open_frames and InputFrames.
    """
    if not _needs_more(manifest):
        return open_frames(spec, limit, stride, max_bad)
    most = None if limit is None else (limit - 1) * stride + 1
    return InputFrames(open_frames(spec, most, 1, max_bad), manifest, stride)


def _needs_more(manifest: Manifest) -> bool:
    return bool(topics_of(manifest.inputs) or history_of(manifest.inputs))


def with_inputs(source: FrameSource, manifest: Manifest) -> FrameSource:
    """Return an opened source with what a model's inputs need; itself for an image alone."""
    return InputFrames(source, manifest) if _needs_more(manifest) else source


def _read_topic(source: FrameSource, name: str, asked: TopicInput, model: str) -> StampedValues:
    """Return the values of a topic of the source's bag, by the headers' stamps, else the bag's time."""
    where = f"model {model!r}, input {name!r}"
    if not isinstance(source, BagFrames):
        raise DataError(f"{where} is read from topic {asked.topic}, and {source.describe} is no bag")
    with BagReader(source.path) as bag:
        topic = _find_topic(bag, source.path, asked, where)
        found = StampedValues(topic, asked.max_age_s)
        for _, bag_time_ns, cdr in bag.messages([topic]):
            message = bag.deserialize(topic, cdr)
            try:
                value = topic_value(message, asked)
            except DataError as error:
                raise DataError(f"{where}, topic {topic} of bag {source.path}: {error}") from error
            stamp = getattr(getattr(message, "header", None), "stamp", None)
            stamp_ns = 0 if stamp is None else int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
            found.add(stamp_ns or bag_time_ns, value)
    if not len(found):
        raise DataError(f"{where}: topic {topic} of bag {source.path} has no messages")
    return found


def _find_topic(bag: BagReader, path: Path, asked: TopicInput, where: str) -> str:
    """Return the topic of that name, or of odometry the only one of its type; raise DataError."""
    named = next((each for each in (asked.topic, f"/{asked.topic}") if each in bag.topics), None)
    alike = [topic for topic, kind in bag.topics.items() if kind == asked.message_type]
    if named is None and asked.message_type == ODOMETRY_TYPE and len(alike) == 1:
        return alike[0]  # in a node the topic is remapped to what the vehicle calls it
    if named is None:
        raise DataError(
            f"{where}: bag {path} has no topic {asked.topic}; of type {asked.message_type} it has: "
            f"{', '.join(alike) or 'none'}"
        )
    if bag.topics[named] != asked.message_type:
        raise DataError(
            f"{where}: topic {named} of bag {path} carries {bag.topics[named]}, not {asked.message_type}"
        )
    return named
