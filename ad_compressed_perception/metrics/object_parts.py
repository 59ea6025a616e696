# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Parts of a frame's objects and pixels: classes of object sizes, bands of distance.

Sizes are those of COCO (Lin et al., ECCV 2014): the area of the box in the camera's own pixels, small below
32^2, medium below 96^2, large from there. Distances are the bands of the Waymo Open Dataset (Sun et al.,
CVPR 2020): near below 30 m, middle below 50 m, far from there. The distance of an object is that at which
the ray through the lower edge of its box meets a flat road; a row of pixels has the distance of the road
that it shows. What lies at or above the horizon is far.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE_CLASSES = ("small", "medium", "large")
DISTANCE_BANDS = ("near", "middle", "far")

_AREAS_PX = (32.0**2, 96.0**2)
_DISTANCES_M = (30.0, 50.0)


@dataclass(frozen=True)
class GroundCamera:
    """A pinhole camera without distortion above a flat road.

    Attributes:
        focal_px: focal length in pixels of the camera's image.
        center_y_px: row of the principal point.
        height_m: of the camera above the road.
        pitch_rad: how far it looks down (REP-103: positive pitch is nose down).
    """

    focal_px: float
    center_y_px: float
    height_m: float
    pitch_rad: float = 0.0

    def distances_m(self, rows_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance ahead of the road at these rows, meters; inf at and above the horizon."""
        down_rad = np.arctan((np.asarray(rows_px, np.float64) - self.center_y_px) / self.focal_px)
        angles_rad = down_rad + self.pitch_rad
        below = angles_rad > 1e-9
        # A ray that points straight down or backward meets the road at the camera.
        steep = angles_rad >= math.pi / 2
        tangents = np.tan(np.where(below & ~steep, angles_rad, 1.0))
        return np.where(below, np.where(steep, 0.0, self.height_m / tangents), math.inf)


def size_classes(boxes_xyxy: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return (N,) indices into SIZE_CLASSES of (N, 4) boxes."""
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    areas = np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None), axis=1)
    return np.searchsorted(np.array(_AREAS_PX), areas, side="right").astype(np.int64)


def distance_bands(boxes_xyxy: NDArray[np.float32], camera: GroundCamera) -> NDArray[np.int64]:
    """Return (N,) indices into DISTANCE_BANDS of (N, 4) boxes, by their lower edges."""
    rows = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)[:, 3]
    return np.searchsorted(np.array(_DISTANCES_M), camera.distances_m(rows), side="right").astype(np.int64)


def band_of_rows(height: int, camera: GroundCamera) -> NDArray[np.int64]:
    """Return (height,) indices into DISTANCE_BANDS of an image's rows."""
    centers = np.arange(height, dtype=np.float64) + 0.5
    return np.searchsorted(np.array(_DISTANCES_M), camera.distances_m(centers), side="right").astype(np.int64)
