# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The last frames that a model answered, with their results: what a new model is compared on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from threading import Lock
from time import monotonic, sleep

from ad_compressed_perception.core.results import Result
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.serving.served_model import ModelIdentity

_POLL_S = 0.01


@dataclass(frozen=True)
class RecentFrame:
    """An answered frame; references only, nothing is copied.

    Attributes:
        frame: the decoded image.
        stamp_ns: its source stamp.
        result: as published.
        identity: the model that made it, the very object.
    """

    frame: Frame
    stamp_ns: int
    result: Result
    identity: ModelIdentity


class RecentFrames:
    """Keeps the last ones; it is written by the worker's thread and read by others."""

    def __init__(self, count: int = 0) -> None:
        """Keep ``count`` frames."""
        self._lock = Lock()
        self._frames: deque[RecentFrame] = deque(maxlen=count)

    def keep(self, count: int) -> None:
        """Keep as many from now on."""
        with self._lock:
            self._frames = deque(self._frames, maxlen=count)

    def add(self, frame: RecentFrame) -> None:
        """Add the newest one."""
        with self._lock:
            self._frames.append(frame)

    def clear(self) -> None:
        """Drop all: their results were made by other settings, or nobody needs them."""
        with self._lock:
            self._frames.clear()

    def wait_for(
        self, identity: ModelIdentity, count: int, silent_s: float, limit_s: float
    ) -> list[RecentFrame]:
        """Return the frames that a model answered, once there are ``count`` of them.

        Fewer where no further one comes within ``silent_s`` seconds, or they take longer than ``limit_s``.
        """
        end_s = limit_s + (last_s := monotonic())
        found = self.of(identity)
        while len(found) < count and monotonic() < min(end_s, last_s + silent_s):
            sleep(_POLL_S)
            before, found = len(found), self.of(identity)
            if len(found) > before:
                last_s = monotonic()
        return found

    def of(self, identity: ModelIdentity) -> list[RecentFrame]:
        """Return the frames that one model answered, the oldest first."""
        with self._lock:
            return [each for each in self._frames if each.identity is identity]
