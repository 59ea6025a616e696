# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The longest run of consecutive frames that missed their deadline, in the order of their stamps."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, replace
from typing import Literal

Fate = Literal["in_time", "missed", "unknown"]
"""in_time: a result of the frame itself before the deadline. missed: a late one, or none: the frame was
dropped, failed, was never answered, or an earlier frame's result was published in its place. unknown: a
result of unknown age, which neither ends a run nor makes it longer."""

_ORDERED_FRAMES = 64


@dataclass(frozen=True)
class MissRun:
    """Consecutive frames that missed.

    Attributes:
        frames: how many.
        first_stamp_ns: source stamp of the first one, ns; 0 where it is not known.
        last_stamp_ns: of the last one.
    """

    frames: int = 0
    first_stamp_ns: int = 0
    last_stamp_ns: int = 0

    def longer(self, stamp_ns: int, frames: int = 1) -> MissRun:
        """Return the run with more frames at its end."""
        first_ns = self.first_stamp_ns if self.frames else stamp_ns
        return MissRun(self.frames + frames, first_ns, stamp_ns or self.last_stamp_ns)


@dataclass
class _State:
    current: MissRun = MissRun()
    longest: MissRun = MissRun()
    missed: int = 0

    def add(self, stamp_ns: int, fate: Fate, frames: int = 1) -> None:
        if fate == "in_time":
            self.current = MissRun()
        elif fate == "missed":
            self.missed += frames
            self.current = self.current.longer(stamp_ns, frames)
            if self.current.frames > self.longest.frames:
                self.longest = self.current


class MissRuns:
    """Counts frames that missed and finds the longest run of them.

    A node reports a frame that waited in vain before the older one that was in work, so the last 64 frames
    are ordered by their stamps. A stamp that comes again, or lies before all of them, begins a new pass: a
    recording that starts again, or a clock that was set back.
    """

    def __init__(self) -> None:
        """Begin without a frame."""
        self._state = _State()
        self._last: list[tuple[int, Fate]] = []

    def add(self, stamp_ns: int, fate: Fate) -> None:
        """Add a completed frame; one without a stamp (0) follows all that came before it."""
        stamps = [each for each, _ in self._last]
        if stamp_ns <= 0 or stamp_ns in stamps or (len(stamps) == _ORDERED_FRAMES and stamp_ns < stamps[0]):
            self._settle()
        if stamp_ns <= 0:
            self._state.add(0, fate)
            return
        insort(self._last, (stamp_ns, fate))
        if len(self._last) > _ORDERED_FRAMES:
            self._state.add(*self._last.pop(0))

    def add_unanswered(self, frames: int) -> None:
        """Add frames of which only is known that they came now and had no result."""
        if frames > 0:
            self._settle()
            self._state.add(0, "missed", frames)

    def found(self, unanswered: int = 0) -> tuple[MissRun, MissRun, int]:
        """Return the longest run, the one that goes on now, and how many frames missed in all.

        Args:
            unanswered: frames that came last and wait in vain, as those of a node that hangs.
        """
        state = replace(self._state)
        for stamp_ns, fate in self._last:
            state.add(stamp_ns, fate)
        if unanswered > 0:
            state.add(0, "missed", unanswered)
        return state.longest, state.current, state.missed

    def _settle(self) -> None:
        for stamp_ns, fate in self._last:
            self._state.add(stamp_ns, fate)
        self._last.clear()
