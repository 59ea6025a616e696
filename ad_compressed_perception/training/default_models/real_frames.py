# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Real training images: the first part of a drive and the images of a labeled set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.frames import FrameSource, open_frames
from ad_compressed_perception.data.labeled.label_map import load_label_map
from ad_compressed_perception.data.labeled.masks import MaskData
from ad_compressed_perception.data.labeled.steering import CSV_NAME, read_steering
from ad_compressed_perception.driving.path import KNOTS_M
from ad_compressed_perception.driving.plan_vector import CURVATURE_SCALE
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.planning import PlanningSettings
from ad_compressed_perception.training.default_models.config import RealFrames
from ad_compressed_perception.training.default_models.image_buffer import shrink

Pixels = NDArray[np.uint8]


def expand_folder(text: str, what: str) -> Path:
    """Return a folder, with environment variables expanded.

    Raises:
        DataError: a variable is not set, or there is no such folder.
    """
    path = Path(os.path.expandvars(text)).expanduser()
    if "$" in str(path) or not path.is_dir():
        raise DataError(
            f"no {what} in {text}: set the environment variable to the folder of your data, name another "
            "folder in the training's file, or train without real frames"
        )
    return path


def drive_frames(config: RealFrames) -> Iterator[Frame]:
    """Yield the frames of the drive's first part; none without a drive."""
    if config.drive is not None:
        source = open_frames(str(expand_folder(config.drive, "drive") / "images"))
        yield from source.frames(_training_indices(source, config))


def real_frames(config: RealFrames) -> Iterator[Frame]:
    """Yield the drive's frames, then the images of the masked set without their masks."""
    yield from drive_frames(config)
    if config.masks is not None:
        source = open_frames(str(expand_folder(config.masks, "masks") / "images"))
        yield from source.frames(source.readable(range(len(source))))


def open_masks(config: RealFrames, labels: list[str]) -> MaskData | None:
    """Return the masked set, whose images real_frames yields last; None without one."""
    if config.masks is None:
        return None
    return MaskData(expand_folder(config.masks, "masks"), None, labels, load_label_map(config.label_map))


def gather(images: Iterator[Frame], size: tuple[int, int]) -> Pixels:
    """Return (N, h, w, 3) BGR of frames at a size; raise DataError where there are none."""
    rows = [shrink(frame, size) for frame in images]
    if not rows:
        raise DataError("there are no real images: name real.drive or real.masks, or set real.share to 0")
    return np.stack(rows)


def curvatures_ahead(config: RealFrames) -> NDArray[np.float32]:
    """Return (N, 11) scaled curvatures at the knots for drive_frames, from the recorded steering.

    The drive's speed is not recorded; the planning task's nominal speed is assumed: the knot at s is reached
    s / speed later. Angles after the last frame are held constant, so that no later data are used.

    Raises:
        DataError: no drive, or no steering log in it.
    """
    if config.drive is None:
        raise DataError("training a planner needs a drive with its steering log: name real.drive")
    folder = expand_folder(config.drive, "drive")
    source = open_frames(str(folder / "images"))
    frames_s = np.array(source.stamps_ns(), np.float64)[_training_indices(source, config)] * 1e-9
    log_ns, angles = read_steering(folder / CSV_NAME)
    log_s = log_ns * 1e-9
    kept = log_s <= frames_s[-1]
    settings = PlanningSettings()
    curvature = np.tan(angles / settings.steering_ratio) / settings.wheelbase_m * CURVATURE_SCALE
    later = frames_s[:, None] + KNOTS_M[None] / settings.speed_mps
    return np.interp(later, log_s[kept], curvature[kept]).astype(np.float32)


def _training_indices(source: FrameSource, config: RealFrames) -> list[int]:
    """Return the readable frames of the drive's first part."""
    return source.readable(range(int(len(source) * config.drive_share)))
