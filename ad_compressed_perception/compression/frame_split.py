# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Split of frames into calibration and verification: disjoint, and apart in time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.frames import FrameSource
from ad_compressed_perception.image.decode import Frame

PERIODS = 5
"""Periods of a recording, each with a calibration and a verification segment."""


def split_frames(
    total: int, calibration: int, verification: int, periods: int = PERIODS
) -> tuple[list[int], list[int]]:
    """Choose frames for calibration and for verification, evenly over the recording.

    Two frames 50 ms apart show the same road, so a model calibrated on one of them cannot be verified on
    the other. The recording is therefore cut into periods of equal length, and each period into two
    segments: the first for calibration, the second for verification, with lengths in the ratio of the
    requested numbers of frames. Inside a segment frames are taken at even steps from the middle of the
    first step, which leaves at least about half a step of each kind between the two kinds. The split is
    deterministic: the same numbers choose the same frames.

    Args:
        total: available frames.
        calibration: frames to calibrate on, at least 1.
        verification: frames to verify on, at least 1.
        periods: number of periods, at most the number of frames of each kind.

    Returns:
        Ascending indices of either kind; they have none in common.

    Raises:
        DataError: fewer frames than requested.
    """
    requested = calibration + verification
    if total < requested:
        raise DataError(
            f"{total} frames are too few: {calibration} for calibration and {verification} for "
            f"verification make {requested}; give a longer source or ask for fewer (to calibrate "
            "on, and verify.frames in the recipe)"
        )
    periods = max(1, min(periods, calibration, verification))
    calibrating = _shares(calibration, periods)
    verifying = _shares(verification, periods)
    chosen: tuple[list[int], list[int]] = ([], [])
    taken = 0
    for first, second in zip(calibrating, verifying, strict=True):
        # Proportional to its share of the frames: floor keeps every segment at least as long as its count.
        start = total * taken // requested
        taken += first + second
        length = total * taken // requested - start
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

    As ``split_frames``, but the segments do not depend on how many frames are taken of each: recipes
    that calibrate on different numbers of frames keep the same segments for the other two kinds.

    Args:
        total: available frames.
        counts: how many to choose for calibration, search and verification.
        calibration: share of each period that may calibrate, from its beginning.
        search: share after it that a search compares candidates on; the rest verifies.
        periods: number of periods.

    Returns:
        Ascending indices of the three kinds; no two have one in common.

    Raises:
        DataError: a kind's segments have fewer frames than requested.
    """
    chosen: tuple[list[int], list[int], list[int]] = ([], [], [])
    segments = _segments(total, calibration, search, periods)
    for kind, (count, name) in enumerate(zip(counts, ("calibration", "search", "verification"), strict=True)):
        room = segment_capacity(total, calibration, search, kind, periods)
        if count > room:
            raise DataError(
                f"{count} frames for {name} are too many: its share of {total} frames holds {room}; give a "
                "longer source or ask for fewer (to calibrate on, and verify.frames in the recipe)"
            )
        for segment, part in zip(segments, _shares(count, periods), strict=True):
            start, stop = segment[kind]
            chosen[kind].extend(_even(start, stop, part))
    return chosen


def segment_capacity(total: int, calibration: float, search: float, kind: int, periods: int = PERIODS) -> int:
    """Return how many frames of a kind (0 calibration, 1 search, 2 verification) the shares hold."""
    return periods * min(
        stop - start
        for start, stop in (segment[kind] for segment in _segments(total, calibration, search, periods))
    )


def _segments(total: int, calibration: float, search: float, periods: int) -> list[list[tuple[int, int]]]:
    """Return the three kinds' segments (first frame, frame after the last) of each period."""
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
    """Chosen frames of a source; each iteration reads them anew, so that none is held in memory."""

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
            if frame.inputs is not None:
                for name, value in sorted(frame.inputs.values.items()):
                    digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()
