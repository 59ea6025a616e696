# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames with ground-truth trajectories: trajectories.jsonl, one JSON object a line."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import describe_validation_error
from ad_compressed_perception.data.labeled.dataset import LabeledFrame, default_frames
from ad_compressed_perception.data.labeled.drive import DEFAULT_TOLERANCE_MS, DriveData
from ad_compressed_perception.image.decode import Frame

PATHS_NAME = "trajectories.jsonl"
PATHS_SUFFIX = ".jsonl"


class PathEntry(BaseModel):
    """One line of the file; other keys are not needed."""

    stamp_ns: int = Field(ge=0, lt=2**63, description="of the frame")
    drive: int = Field(0, description="frames of one drive follow each other in time")
    speed_mps: float = Field(ge=0.0, allow_inf_nan=False, description="of the ego at the frame")
    steering_angle_rad: float = Field(allow_inf_nan=False, description="steering wheel, left positive")
    step_s: float = Field(gt=0.0, description="seconds from point to point; the first is one step ahead")
    points_xy_m: list[tuple[float, float]] = Field(min_length=1, description="in base_link")
    speeds_mps: list[float] = Field(default_factory=list, description="at the points")
    clear_distance_m: float | None = Field(
        None, description="from the front bumper to what requires a stop; null where there is nothing"
    )
    must_stop: bool = Field(False, description="whether something requires a stop")


@dataclass(frozen=True)
class GroundTruthPath:
    """Ground truth of a planning frame; ``float`` of it is the steering-wheel angle.

    Attributes:
        points_xy_m: (N, 2) float64, meters in base_link.
        step_s: seconds from point to point; the first is one step ahead.
        steering_wheel_angle_rad: left positive.
        speeds_mps: (N,) float64 at the points; empty where unknown.
        clear_distance_m: from the front bumper to what requires a stop; inf where there is nothing.
        must_stop: whether something requires a stop.
    """

    points_xy_m: NDArray[np.float64]
    step_s: float
    steering_wheel_angle_rad: float
    speeds_mps: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    clear_distance_m: float = math.inf
    must_stop: bool = False

    def __float__(self) -> float:
        """Return the steering-wheel angle, for code that expects a steering log's label."""
        return self.steering_wheel_angle_rad


def read_paths(path: Path) -> list[PathEntry]:
    """Read a file of trajectories, sorted by stamp.

    Raises:
        DataError: it cannot be read, is empty, or a line is malformed; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        raise DataError(f"cannot read {path}: {getattr(cause, 'strerror', None) or cause}") from cause
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = PathEntry.model_validate(json.loads(line))
        except ValidationError as error:
            raise DataError(f"{path}, line {number}: {describe_validation_error(error)}") from error
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON: {error}") from error
        if entry.speeds_mps and len(entry.speeds_mps) != len(entry.points_xy_m):
            raise DataError(
                f"{path}, line {number}: {len(entry.speeds_mps)} speeds for {len(entry.points_xy_m)} points"
            )
        entries.append(entry)
    if not entries:
        raise DataError(f"{path} holds no trajectories")
    return sorted(entries, key=lambda entry: entry.stamp_ns)


def has_paths(labels: Path) -> bool:
    """Return whether labels are trajectories: a .jsonl file, or a folder that holds trajectories.jsonl."""
    return (labels / PATHS_NAME).is_file() or (labels.is_file() and labels.suffix == PATHS_SUFFIX)


class PathData(DriveData):
    """Frames and ground-truth trajectories; the ground truth of a frame is GroundTruthPath."""

    def __init__(
        self, labels_path: Path, frames: str | None, tolerance_ms: float = DEFAULT_TOLERANCE_MS
    ) -> None:
        """Match every frame with the nearest trajectory.

        Args:
            labels_path: the .jsonl file, or a folder with trajectories.jsonl and images/.
            frames: folder of images named by their stamps, or BAG[:TOPIC]; images/ beside the file
                when None.
            tolerance_ms: a frame without a label this near is left out.

        Raises:
            DataError: no or malformed labels, no frames, or none with a label near enough.
        """
        path = labels_path / PATHS_NAME if labels_path.is_dir() else labels_path
        self._entries = read_paths(path)
        stamps_ns = np.array([entry.stamp_ns for entry in self._entries], np.int64)
        self._match(frames if frames is not None else default_frames(path), stamps_ns, tolerance_ms)
        self.describe = f"{path}@{self._source.describe}" if frames else str(labels_path)
        # The bootstrap draws independent images singly, consecutive ones of a drive in blocks.
        self.is_series = len({entry.drive for entry in self._entries}) == 1

    def _labeled(self, frame: Frame, label: int) -> LabeledFrame:
        entry = self._entries[label]
        nothing = entry.clear_distance_m is None
        ground_truth = GroundTruthPath(
            np.asarray(entry.points_xy_m, np.float64),
            entry.step_s,
            entry.steering_angle_rad,
            np.asarray(entry.speeds_mps, np.float64),
            math.inf if nothing else float(entry.clear_distance_m or 0.0),
            entry.must_stop,
        )
        return LabeledFrame(frame, ground_truth, entry.speed_mps)
