# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The road: centerline by arc length, lanes, and conversion between world and road coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEP_M = 0.5
"""Spacing of the stored centerline."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CrossSection:
    """Cross section of the road, constant along it.

    Attributes:
        lanes_ahead: lanes of the ego's direction, right of the centerline.
        lanes_oncoming: lanes of the other direction, left of it.
        lane_width_m: of each.
        curb_width_m: curb stone and gutter, outside the outermost lanes.
        sidewalk_width_m: sidewalk outside the curb.
        line_width_m: of painted lines.
    """

    lanes_ahead: int = 1
    lanes_oncoming: int = 1
    lane_width_m: float = 3.5
    curb_width_m: float = 0.35
    sidewalk_width_m: float = 2.5
    line_width_m: float = 0.2

    @property
    def right_m(self) -> float:
        """Offset of the carriageway's right edge (negative): where the right curb begins."""
        return -self.lanes_ahead * self.lane_width_m

    @property
    def left_m(self) -> float:
        """Offset of the carriageway's left edge (positive)."""
        return self.lanes_oncoming * self.lane_width_m

    def lane_center_m(self, lane: int, *, oncoming: bool = False) -> float:
        """Return the offset of a lane's center; lane 0 is next to the centerline."""
        offset = (lane + 0.5) * self.lane_width_m
        return offset if oncoming else -offset


class Road:
    """A centerline in the plane, z = 0, parametrized by arc length s; offsets d are left positive.

    Traffic keeps to the right: the ego drives in the direction of increasing s, at d < 0.

    Attributes:
        cross_section: of the road.
        length_m: length along the centerline.
    """

    def __init__(self, curvature_per_m: Array, cross_section: CrossSection) -> None:
        """Integrate the curvature.

        Args:
            curvature_per_m: (N,) at steps of STEP_M, left positive.
            cross_section: of the road.
        """
        self.cross_section = cross_section
        self._curvature = np.asarray(curvature_per_m, np.float64)
        middle = 0.5 * (self._curvature[1:] + self._curvature[:-1])
        self._heading = np.concatenate(([0.0], np.cumsum(middle * STEP_M)))
        along = 0.5 * (self._heading[1:] + self._heading[:-1])
        self._x = np.concatenate(([0.0], np.cumsum(np.cos(along) * STEP_M)))
        self._y = np.concatenate(([0.0], np.cumsum(np.sin(along) * STEP_M)))
        self._s = np.arange(len(self._curvature)) * STEP_M
        self.length_m = float(self._s[-1])

    def curvature(self, s_m: Array | float) -> Array:
        """Return the centerline's curvature, 1/m, left positive."""
        return np.asarray(np.interp(s_m, self._s, self._curvature))

    def heading(self, s_m: Array | float) -> Array:
        """Return the centerline's heading in rad, counter-clockwise from x; not wrapped."""
        return np.asarray(np.interp(s_m, self._s, self._heading))

    def points(self, s_m: Array | float, d_m: Array | float = 0.0) -> Array:
        """Return (..., 2) world positions of road coordinates, which are broadcast to each other."""
        heading = self.heading(s_m)
        x = np.interp(s_m, self._s, self._x) - d_m * np.sin(heading)
        y = np.interp(s_m, self._s, self._y) + d_m * np.cos(heading)
        return np.stack([x, y], axis=-1)

    def locate(self, x_m: float, y_m: float, near_s_m: float, reach_m: float = 30.0) -> tuple[float, float]:
        """Return (s, d) of a world position, searched within ``reach_m`` of the guess ``near_s_m``."""
        low = int(np.clip((near_s_m - reach_m) / STEP_M, 0, len(self._s) - 2))
        high = int(np.clip((near_s_m + reach_m) / STEP_M + 2, low + 2, len(self._s)))
        dx, dy = x_m - self._x[low:high], y_m - self._y[low:high]
        index = low + int(np.argmin(dx * dx + dy * dy))
        # From the nearest stored point along its tangent: exact on straights, 1e-4 m on 30 m bends.
        s = float(self._s[index])
        for _ in range(2):
            heading = float(self.heading(s))
            foot = self.points(s)
            s += float((x_m - foot[0]) * np.cos(heading) + (y_m - foot[1]) * np.sin(heading))
            s = float(np.clip(s, 0.0, self.length_m))
        heading = float(self.heading(s))
        foot = self.points(s)
        d = float(-(x_m - foot[0]) * np.sin(heading) + (y_m - foot[1]) * np.cos(heading))
        return s, d
