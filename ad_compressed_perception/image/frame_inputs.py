# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What comes with a frame for models that have inputs besides the image: earlier frames and values."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.image.decode import Frame


def following(frame: Frame, previous: Sequence[Frame], max_gap_s: float) -> list[Frame]:
    """Return those of earlier frames, oldest first, that lead to a frame without a gap or a step back."""
    found: list[Frame] = []
    newer = frame
    for older in reversed(previous):
        if not 0 < newer.stamp_ns - older.stamp_ns <= max_gap_s * 1e9:
            break
        found.append(older)
        newer = older
    return found[::-1]


class StampedValues:
    """Values in the order of their stamps: the newest one that is not newer than a frame."""

    def __init__(self, topic: str, max_age_s: float) -> None:
        """Begin without values of ``topic``."""
        self._topic, self._max_age_s = topic, max_age_s
        self._stamps_ns: list[int] = []
        self._values: list[NDArray[np.float64]] = []

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._stamps_ns)

    @property
    def newest_ns(self) -> int:
        """The newest stamp; 0 without values."""
        return self._stamps_ns[-1] if self._stamps_ns else 0

    def add(self, stamp_ns: int, value: NDArray[np.float64]) -> None:
        """Add a value; one of an equal stamp comes after those that are there."""
        place = bisect_right(self._stamps_ns, stamp_ns)
        self._stamps_ns.insert(place, stamp_ns)
        self._values.insert(place, value)

    def forget_before(self, stamp_ns: int) -> None:
        """Drop all but the last value of a stamp up to this one."""
        drop = max(bisect_right(self._stamps_ns, stamp_ns) - 1, 0)
        del self._stamps_ns[:drop], self._values[:drop]

    def clear(self) -> None:
        """Drop all: the clock was set back."""
        self._stamps_ns.clear()
        self._values.clear()

    def at(self, stamp_ns: int) -> NDArray[np.float64] | str:
        """Return the value for a frame's stamp, or why there is none."""
        place = bisect_right(self._stamps_ns, stamp_ns) - 1
        if place < 0:
            late = f": the first of {len(self)} is newer than the frame" if self._stamps_ns else ""
            return f"no message on {self._topic} yet{late}"
        age_s = (stamp_ns - self._stamps_ns[place]) * 1e-9
        if age_s > self._max_age_s:
            return (
                f"the newest message on {self._topic} is {age_s:.3g} s older than the frame, max_age_s is "
                f"{self._max_age_s:g}"
            )
        return self._values[place]
