# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Camera images with the planned path, the variants side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.report.overlay import PALETTE_BGR, DrawingCamera, draw_path, draw_tag
from ad_compressed_perception.report.panels import write_png
from ad_road_simulation.world.camera import Camera

IMAGE_FRACTIONS = (0.2, 0.5, 0.8)
"""Fractions of the route at which an image is written."""
FOLDER = "images"


def drawing_camera(camera: Camera) -> DrawingCamera:
    """Return the camera model for overlays that matches the simulated camera."""
    return DrawingCamera(
        height_m=camera.z_m,
        horizontal_fov_deg=math.degrees(2.0 * math.atan(camera.width_px / 2.0 / camera.focal_px)),
        pitch_deg=math.degrees(camera.pitch_rad),
        forward_m=camera.x_m,
    )


def write_image(
    bgr: NDArray[np.uint8], trajectory: Trajectory, variant: str, fraction: float, folder: Path
) -> Path:
    """Draw a plan on its image, (H, W, 3) uint8 BGR, and write it; return the file's path."""
    image = bgr.copy()
    draw_path(image, trajectory, drawing_camera(Camera()), PALETTE_BGR[2])
    draw_tag(image, f"{variant}: {describe_plan(trajectory)}", 8, 22, PALETTE_BGR[2])
    folder.mkdir(parents=True, exist_ok=True)
    return write_png(_path(folder, variant, fraction), image)


def remove_images(variant: str, folder: Path) -> None:
    """Remove a variant's images of an earlier drive: the next drive may end before a fraction is reached."""
    for fraction in IMAGE_FRACTIONS:
        _path(folder, variant, fraction).unlink(missing_ok=True)


def describe_plan(trajectory: Trajectory) -> str:
    """Return curvature, clear distance and stop probability of a plan as a short text."""
    words = [f"{trajectory.curvature_per_m:+.4f} 1/m"]
    if math.isfinite(trajectory.clear_distance_m):
        words.append(f"clear {trajectory.clear_distance_m:.0f} m")
    if math.isfinite(trajectory.stop_probability):
        words.append(f"stop {trajectory.stop_probability:.2f}")
    return ", ".join(words)


def join_images(out: Path, variants: Sequence[str]) -> list[Path]:
    """Write the variants' images at each route fraction side by side; return the files, one per fraction.

    Each variant drives its own car, so the images are from different times.
    """
    joined = []
    for fraction in IMAGE_FRACTIONS:
        files = [_path(out / FOLDER, name, fraction) for name in variants]
        read = [cv2.imread(str(file)) for file in files if file.is_file()]
        images = [np.asarray(image, np.uint8) for image in read if image is not None]
        if images:
            joined.append(write_png(out / f"at_{fraction:.0%}.png".replace("%", ""), np.hstack(images)))
    return joined


def _path(folder: Path, variant: str, fraction: float) -> Path:
    return folder / f"{variant.replace(':', '_')}_{round(100 * fraction)}.png"
