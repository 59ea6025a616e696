# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames of a drive with the steering-wheel angle the driver held, matched by time."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.data.labelled import LabelledData, LabelledFrame, default_frames
from ad_compressed_perception.errors import DataError

CSV_NAME = "steering.csv"
STAMP_COLUMN = "stamp_ns"
ANGLE_COLUMN = "steering_angle_rad"
DEFAULT_TOLERANCE_MS = 50.0
"""Farthest label taken for a frame: one period of a 20 Hz log."""


def read_steering(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Read a csv file with the columns ``stamp_ns`` and ``steering_angle_rad``.

    Returns:
        (N,) stamps in nanoseconds, ascending, and (N,) steering-wheel angles in rad, left positive.

    Raises:
        DataError: the file cannot be read, lacks a column, is empty, or a line of it holds no numbers.
    """
    rows: list[tuple[int, float]] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            names = [name.strip() for name in reader.fieldnames or []]
            missing = [name for name in (STAMP_COLUMN, ANGLE_COLUMN) if name not in names]
            if missing:
                raise DataError(
                    f"{path} has no column {' and '.join(missing)}; it has: {', '.join(names) or 'none'}"
                )
            reader.fieldnames = names
            for row in reader:
                try:
                    stamp, angle = int(row[STAMP_COLUMN]), float(row[ANGLE_COLUMN])
                except (TypeError, ValueError):
                    stamp, angle = 0, math.nan
                if not math.isfinite(angle) or not 0 <= stamp < 2**63:
                    raise DataError(
                        f"{path}, line {reader.line_num}: expected an integer stamp and a finite angle"
                    )
                rows.append((stamp, angle))
    except (OSError, UnicodeDecodeError, csv.Error) as cause:
        raise DataError(f"cannot read {path}: {getattr(cause, 'strerror', None) or cause}") from cause
    if not rows:
        raise DataError(f"{path} holds no steering angles")
    rows.sort()
    stamps, angles = zip(*rows, strict=True)
    return np.array(stamps, np.int64), np.array(angles, np.float64)


def nearest(stamps_ns: NDArray[np.int64], wanted_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each wanted time the index of the nearest stamp; the earlier one of two as near.

    Args:
        stamps_ns: (N,) ascending, at least one.
        wanted_ns: (M,) in any order.
    """
    after = np.clip(np.searchsorted(stamps_ns, wanted_ns), 0, len(stamps_ns) - 1)
    before = np.maximum(after - 1, 0)
    is_nearer = np.abs(wanted_ns - stamps_ns[before]) <= np.abs(stamps_ns[after] - wanted_ns)
    return np.where(is_nearer, before, after)


class SteeringData(LabelledData):
    """A drive's frames and its steering log; the truth of a frame is the angle in rad."""

    task = "planning"
    is_series = True

    def __init__(
        self, labels_path: Path, frames: str | None, tolerance_ms: float = DEFAULT_TOLERANCE_MS
    ) -> None:
        """Match every frame with the nearest label.

        Args:
            labels_path: the csv file, or a folder with steering.csv and images/.
            frames: folder of pictures named by their stamps, or BAG[:TOPIC]; images/ beside the csv
                file when None.
            tolerance_ms: a frame without a label this near is left out.

        Raises:
            DataError: no or malformed labels, no frames, or none with a label near enough.
        """
        path = labels_path / CSV_NAME if labels_path.is_dir() else labels_path
        if not path.is_file():
            raise DataError(
                f"{labels_path} holds no {CSV_NAME}: a planning model is evaluated on a csv file of "
                f"{STAMP_COLUMN},{ANGLE_COLUMN} with its frames (FOLDER, FILE.csv or FILE.csv@FRAMES)"
            )
        stamps_ns, angles = read_steering(path)
        self._source = open_frames(frames if frames is not None else default_frames(path))
        self.describe = f"{path}@{self._source.describe}" if frames else str(labels_path)
        wanted_ns = np.array(self._source.stamps_ns(), np.int64)
        found = nearest(stamps_ns, wanted_ns)
        distances_ms = np.abs(stamps_ns[found] - wanted_ns) / 1e6
        matched = np.flatnonzero(distances_ms <= tolerance_ms)
        if not matched.size:
            raise DataError(
                f"no frame of {self._source.describe} has a label within {tolerance_ms:g} ms: frames "
                f"{wanted_ns.min()}..{wanted_ns.max()}, labels {stamps_ns[0]}..{stamps_ns[-1]} (ns)"
            )
        self._frames = matched
        self._angles = angles[found[matched]]
        self.notes = []
        if matched.size < wanted_ns.size:
            self.notes.append(
                f"{wanted_ns.size - matched.size} frames without a label within {tolerance_ms:g} ms "
                "were left out."
            )

    def __len__(self) -> int:
        """Number of frames with a label."""
        return len(self._frames)

    def items(self, indices: Iterable[int]) -> Iterator[LabelledFrame]:
        """Read the frames; raise DataError where one cannot be decoded or the recording ends early."""
        chosen = list(indices)
        count = 0
        frames = self._source.frames(int(self._frames[index]) for index in chosen)
        for index, frame in zip(chosen, frames, strict=False):
            count += 1
            yield LabelledFrame(frame, float(self._angles[index]))
        if count < len(chosen):
            raise DataError(f"{self._source.describe} ended after {count} of {len(chosen)} frames")
