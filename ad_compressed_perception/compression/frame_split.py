# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames calibrate and which verify: never the same, and not neighbors in time either."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.frames import FrameSource
from ad_compressed_perception.image.decode import Frame

PERIODS = 5
"""Times that calibration and verification take turns along a recording."""


def split_frames(
    total: int, calibration: int, verification: int, periods: int = PERIODS
) -> tuple[list[int], list[int]]:
    """Choose frames for calibration and for verification, evenly over the recording.

    Two frames 50 ms apart show the same road, so one of them says nothing about how a model does that
    was calibrated on the other. The recording is therefore cut into periods of equal length, and each
    period into two stretches: its first for calibration, its second for verification, as long as the
    numbers of frames asked for relate. Inside a stretch frames are taken at even steps from the middle
    of the first step, which leaves at least about half a step of each kind between the two kinds. No
    chance is involved: the same numbers choose the same frames.

    Args:
        total: frames there are.
        calibration: frames to calibrate on, at least 1.
        verification: frames to verify on, at least 1.
        periods: how often the two kinds take turns, at most as often as there are frames of each.

    Returns:
        Ascending indices of either kind; they have none in common.

    Raises:
        DataError: fewer frames than asked for.
    """
    wanted = calibration + verification
    if total < wanted:
        raise DataError(
            f"{total} frames are too few: {calibration} for calibration and {verification} for "
            f"verification make {wanted}; give a longer source or ask for fewer (--frames, and "
            "verify.frames in the recipe)"
        )
    periods = max(1, min(periods, calibration, verification))
    calibrating = _shares(calibration, periods)
    verifying = _shares(verification, periods)
    chosen: tuple[list[int], list[int]] = ([], [])
    taken = 0
    for first, second in zip(calibrating, verifying, strict=True):
        # As long as its share of the frames: floor keeps every stretch at least as long as its count.
        start = total * taken // wanted
        taken += first + second
        length = total * taken // wanted - start
        middle = start + length * first // (first + second)
        chosen[0].extend(_even(start, middle, first))
        chosen[1].extend(_even(middle, start + length, second))
    return chosen


def split_by_shares(
    total: int,
    counts: tuple[int, int, int],
    calibration: float,
    search: float,
    periods: int = PERIODS,
) -> tuple[list[int], list[int], list[int]]:
    """Choose frames for calibration, search and verification by shares of each period.

    As ``split_frames``, but the stretches do not depend on how many frames are taken of each: recipes
    that calibrate on different numbers of frames keep the same stretches for the other two kinds.

    Args:
        total: frames there are.
        counts: how many to choose for calibration, search and verification.
        calibration: share of each period that may calibrate, from its beginning.
        search: share after it that a search compares candidates on; the rest verifies.
        periods: how often the kinds take turns.

    Returns:
        Ascending indices of the three kinds; no two have one in common.

    Raises:
        DataError: a kind's stretches have fewer frames than asked for.
    """
    chosen: tuple[list[int], list[int], list[int]] = ([], [], [])
    stretches = _stretches(total, calibration, search, periods)
    for kind, (count, name) in enumerate(zip(counts, ("calibration", "search", "verification"), strict=True)):
        room = stretch_capacity(total, calibration, search, kind, periods)
        if count > room:
            raise DataError(
                f"{count} frames for {name} are too many: its share of {total} frames holds {room}; give a "
                "longer source or ask for fewer (--frames, and verify.frames in the recipe)"
            )
        for stretch, part in zip(stretches, _shares(count, periods), strict=True):
            start, stop = stretch[kind]
            chosen[kind].extend(_even(start, stop, part))
    return chosen


def stretch_capacity(total: int, calibration: float, search: float, kind: int, periods: int = PERIODS) -> int:
    """Return how many frames of a kind (0 calibration, 1 search, 2 verification) the shares hold."""
    return periods * min(
        stop - start
        for start, stop in (stretch[kind] for stretch in _stretches(total, calibration, search, periods))
    )


def _stretches(total: int, calibration: float, search: float, periods: int) -> list[list[tuple[int, int]]]:
    """Return the three kinds' stretches (first frame, frame after the last) of each period."""
    found = []
    for period in range(periods):
        start, stop = total * period // periods, total * (period + 1) // periods
        first = start + int((stop - start) * calibration)
        second = start + int((stop - start) * (calibration + search))
        found.append([(start, first), (first, second), (second, stop)])
    return found


def _shares(count: int, parts: int) -> list[int]:
    return [count * (part + 1) // parts - count * part // parts for part in range(parts)]


def _even(start: int, stop: int, count: int) -> list[int]:
    return [start + (2 * step + 1) * (stop - start) // (2 * count) for step in range(count)]


@dataclass(frozen=True)
class FrameSample:
    """Chosen frames of a source; every round reads them anew, so that none is held in memory."""

    source: FrameSource
    indices: Sequence[int]

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.indices)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; raise DataError where one cannot be read or is missing."""
        count = 0
        for frame in self.source.frames(self.indices):
            count += 1
            yield frame
        if count != len(self.indices):
            raise DataError(
                f"{self.source.describe} ended after {count} of {len(self.indices)} chosen frames: "
                "is the recording cut off?"
            )

    def sha256(self) -> str:
        """Return the hash over the frames' shapes, color orders and pixels, in order."""
        digest = hashlib.sha256()
        for frame in self:
            digest.update(f"{frame.color}{frame.pixels.shape}{frame.pixels.dtype}".encode())
            digest.update(np.ascontiguousarray(frame.pixels).data)
        return digest.hexdigest()
