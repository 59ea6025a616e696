# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The camera of camera_info for drawing a path on the road: its real intrinsics, its mounting as stated."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.image.intrinsics import Intrinsics
from ad_compressed_perception.report.overlay import DrawingCamera

_NEAR_M = 0.5
# Distortion polynomials hold inside the image only: far beside it they lead back into it.
_WIDEST = math.tan(math.radians(70.0))


@dataclass(frozen=True)
class CalibratedCamera(DrawingCamera):
    """A camera whose images are formed as its intrinsics say; horizontal_fov_deg is not used."""

    intrinsics: Intrinsics | None = None

    def project(self, points_xy_m: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
        """Return the (M, 2) pixels of the road points (N, 2; x forward, y left) in front of the camera.

        Points less than half a meter deep, or more than 70 degrees beside the axis, are left out.
        """
        if self.intrinsics is None:
            return super().project(points_xy_m, width, height)
        sine, cosine = math.sin(math.radians(self.pitch_deg)), math.cos(math.radians(self.pitch_deg))
        ahead = points_xy_m[:, 0] - self.forward_m
        depth = ahead * cosine + self.height_m * sine
        down = self.height_m * cosine - ahead * sine
        points = np.stack([-points_xy_m[:, 1], down, depth], axis=1)
        seen = (depth > _NEAR_M) & (np.abs(points[:, 0]) < _WIDEST * depth)
        return self.intrinsics.project(points[seen], width, height)
