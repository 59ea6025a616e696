# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames of a drive with the recorded steering-wheel angle, matched by time."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.labeled.csv_columns import read_columns
from ad_compressed_perception.data.labeled.dataset import LabeledFrame, default_frames
from ad_compressed_perception.data.labeled.drive import DEFAULT_TOLERANCE_MS, DriveData
from ad_compressed_perception.image.decode import Frame

CSV_NAME = "steering.csv"
STAMP_COLUMN = "stamp_ns"
ANGLE_COLUMN = "steering_angle_rad"


def read_steering(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Read a csv file with the columns ``stamp_ns`` and ``steering_angle_rad``.

    Returns:
        (N,) stamps in nanoseconds, ascending, and (N,) steering-wheel angles in rad, left positive.

    Raises:
        DataError: the file cannot be read, lacks a column, is empty, or a line of it holds no numbers.
    """
    rows: list[tuple[int, float]] = []
    for where, (stamp_text, angle_text) in read_columns(path, (STAMP_COLUMN, ANGLE_COLUMN)):
        try:
            stamp, angle = int(stamp_text), float(angle_text)
        except ValueError:
            stamp, angle = 0, math.nan
        if not math.isfinite(angle) or not 0 <= stamp < 2**63:
            raise DataError(f"{where}: expected an integer stamp and a finite angle")
        rows.append((stamp, angle))
    if not rows:
        raise DataError(f"{path} holds no steering angles")
    rows.sort()
    stamps, angles = zip(*rows, strict=True)
    return np.array(stamps, np.int64), np.array(angles, np.float64)


class SteeringData(DriveData):
    """A drive's frames and its steering log; the ground truth of a frame is the angle in rad."""

    is_series = True

    def __init__(
        self, labels_path: Path, frames: str | None, tolerance_ms: float = DEFAULT_TOLERANCE_MS
    ) -> None:
        """Match every frame with the nearest label.

        Args:
            labels_path: the csv file, or a folder with steering.csv and images/.
            frames: folder of images named by their stamps, or BAG[:TOPIC]; images/ beside the csv
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
        stamps_ns, self._angles = read_steering(path)
        self._match(frames if frames is not None else default_frames(path), stamps_ns, tolerance_ms)
        self.describe = f"{path}@{self._source.describe}" if frames else str(labels_path)

    def _labeled(self, frame: Frame, label: int) -> LabeledFrame:
        return LabeledFrame(frame, float(self._angles[label]))
