# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Camera images with the planned path, the variants beside each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.report.overlay import PALETTE_BGR, DrawingCamera, draw_path, draw_tag, write_png
from ad_road_simulation.world.camera import Camera

PLACES = (0.2, 0.5, 0.8)
"""Shares of the route at which images are kept."""
FOLDER = "images"


def drawing_camera(camera: Camera) -> DrawingCamera:
    """Return the overlays' camera that sees the ground as the simulated one does."""
    return DrawingCamera(
        height_m=camera.z_m,
        horizontal_fov_deg=math.degrees(2.0 * math.atan(camera.width_px / 2.0 / camera.focal_px)),
        pitch_deg=math.degrees(camera.pitch_rad),
        forward_m=camera.x_m,
    )


def write_image(
    bgr: NDArray[np.uint8], trajectory: Trajectory, variant: str, place: float, folder: Path
) -> Path:
    """Draw a plan on its image, (H, W, 3) BGR, and write it; return the file's path."""
    canvas = bgr.copy()
    draw_path(canvas, trajectory, drawing_camera(Camera()), PALETTE_BGR[2])
    draw_tag(canvas, f"{variant}: {describe_plan(trajectory)}", 8, 22, PALETTE_BGR[2])
    folder.mkdir(parents=True, exist_ok=True)
    return write_png(_path(folder, variant, place), canvas)


def remove_images(variant: str, folder: Path) -> None:
    """Remove a variant's images of an earlier drive: the next one may end before it comes to a place."""
    for place in PLACES:
        _path(folder, variant, place).unlink(missing_ok=True)


def describe_plan(trajectory: Trajectory) -> str:
    """Return curvature, clear distance and what the plan says of stopping, in a few words."""
    words = [f"{trajectory.curvature_per_m:+.4f} 1/m"]
    if math.isfinite(trajectory.clear_distance_m):
        words.append(f"clear {trajectory.clear_distance_m:.0f} m")
    if math.isfinite(trajectory.stop_probability):
        words.append(f"stop {trajectory.stop_probability:.2f}")
    return ", ".join(words)


def join_images(out: Path, variants: Sequence[str]) -> list[Path]:
    """Put the variants' images of each place side by side; return the files, one a place.

    Each variant has its own car, so its image is of the moment when it came there.
    """
    joined = []
    for place in PLACES:
        files = [_path(out / FOLDER, name, place) for name in variants]
        read = [cv2.imread(str(file)) for file in files if file.is_file()]
        images = [np.asarray(image, np.uint8) for image in read if image is not None]
        if images:
            joined.append(write_png(out / f"at_{place:.0%}.png".replace("%", ""), np.hstack(images)))
    return joined


def _path(folder: Path, variant: str, place: float) -> Path:
    return folder / f"{variant}_{round(100 * place)}.png"
