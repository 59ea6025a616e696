# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pinhole camera behind the windscreen: projection from meters to pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Length = TypeVar("Length", float, Array)
"""One value or an array."""

FOCAL_AT_640_PX = 457.0
"""Focal length of an image 640 pixels wide: horizontal field of view of 70 degrees."""
NEAR_M = 0.3
"""Depth of the near plane: points nearer along the optical axis, or behind, have no pixel."""


@dataclass(frozen=True)
class Camera:
    """Pinhole camera without distortion, looking ahead and slightly down.

    Frames follow REP-103: base_link is x forward, y left, z up, with z = 0 on the ground. Pixel coordinates
    follow camera_info: integers are pixel centers, so the image reaches from -0.5 to
    width - 0.5.

    Attributes:
        width_px, height_px: of the image.
        x_m, z_m: mounting position on the center line, ahead of base_link and above the ground.
        horizon_share: row of the horizon as a share of the image height; the pitch follows from it.
    """

    width_px: int = 640
    height_px: int = 360
    x_m: float = 1.9
    z_m: float = 1.35
    horizon_share: float = 0.42

    @cached_property
    def focal_px(self) -> float:
        """Focal length, the same in both directions."""
        return FOCAL_AT_640_PX * self.width_px / 640.0

    @cached_property
    def center_px(self) -> tuple[float, float]:
        """Principal point: the middle of the image."""
        return (self.width_px - 1) / 2.0, (self.height_px - 1) / 2.0

    @property
    def horizon_px(self) -> float:
        """Row of the horizon, the same in all columns as the camera does not roll."""
        return self.horizon_share * self.height_px - 0.5

    @cached_property
    def pitch_rad(self) -> float:
        """Angle of the optical axis below the horizontal."""
        return float(np.arctan2(self.center_px[1] - self.horizon_px, self.focal_px))

    @property
    def matrix(self) -> Array:
        """(3, 3) K of camera_info."""
        across, down = self.center_px
        return np.array([[self.focal_px, 0.0, across], [0.0, self.focal_px, down], [0.0, 0.0, 1.0]])

    def to_optical(self, forward_m: Length, left_m: Length, up_m: Length) -> tuple[Length, Length, Length]:
        """Return the coordinates to the right, down and along the optical axis.

        Args:
            forward_m: from the camera, along base_link's x; any shape.
            left_m: along y, the same shape.
            up_m: along z, likewise.
        """
        cos, sin = self._tilt
        return -left_m, -(forward_m * sin + up_m * cos), forward_m * cos - up_m * sin

    def pixels(self, right_m: Length, down_m: Length, depth_m: Length) -> tuple[Length, Length]:
        """Return columns and rows; the depths must be positive."""
        across, down = self.center_px
        scale = self.focal_px / depth_m
        return across + right_m * scale, down + down_m * scale

    def pixel_of(self, forward_m: float, left_m: float, up_m: float) -> tuple[float, float, float]:
        """Return column, row and depth of one point relative to the camera, which must lie ahead."""
        cos, sin = self._tilt
        depth = forward_m * cos - up_m * sin
        scale = self.focal_px / depth
        across, down = self.center_px
        return across - left_m * scale, down - (forward_m * sin + up_m * cos) * scale, depth

    @cached_property
    def _tilt(self) -> tuple[float, float]:
        return float(np.cos(self.pitch_rad)), float(np.sin(self.pitch_rad))

    def project_base_link(self, points_m: Array) -> tuple[Array, Array]:
        """Return (N, 2) pixels and (N,) depths of (N, 3) points in base_link.

        The depth is measured along the optical axis. Points nearer than NEAR_M get NaN pixels.
        """
        points = np.asarray(points_m, np.float64)
        right, down, depth = self.to_optical(points[:, 0] - self.x_m, points[:, 1], points[:, 2] - self.z_m)
        column, row = self.pixels(right, down, np.where(depth >= NEAR_M, depth, np.nan))
        return np.stack([column, row], axis=-1), depth

    def project(self, points_m: Array, pose: tuple[float, float, float]) -> tuple[Array, Array]:
        """Return (N, 2) pixels and (N,) depths of (N, 3) world points.

        Args:
            points_m: in the world.
            pose: x_m, y_m and heading_rad of base_link in the world.
        """
        points = np.asarray(points_m, np.float64)
        cos, sin = np.cos(pose[2]), np.sin(pose[2])
        east, north = points[:, 0] - pose[0], points[:, 1] - pose[1]
        local = np.stack([cos * east + sin * north, cos * north - sin * east, points[:, 2]], axis=-1)
        return self.project_base_link(local)
