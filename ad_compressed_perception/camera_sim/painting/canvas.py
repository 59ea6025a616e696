# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The picture under the brush: pixels, and beside them whose silhouette covers which pixel."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.camera_sim.camera import NEAR_M, Camera

Array = NDArray[np.float64]

SHIFT = 4
"""Fractional bits of vertices: sixteenths of a pixel."""
_LIMIT_PX = 20000.0
"""Farther out than any picture and within what the drawing functions can count to."""

NOBODY, PROP, FIRST = 0, 1, 2
"""Ids of silhouettes: the ground and the sky, things without a label, and the first labelled one."""


def fixed(points_px: Array) -> NDArray[np.int32]:
    """Return vertices with SHIFT fractional bits."""
    return np.rint(np.clip(points_px, -_LIMIT_PX, _LIMIT_PX) * (1 << SHIFT)).astype(np.int32)


def clip_near(points_m: Array, near_m: float = NEAR_M) -> Array:
    """Return the part of a polygon, (N, 3) right, down, depth, beyond the near plane; maybe empty.

    Sutherland and Hodgman's way: corners inside stay, each edge that crosses gives one corner.
    """
    depth = points_m[:, 2]
    inside = depth >= near_m
    if inside.all():
        return points_m
    following, after = np.roll(points_m, -1, axis=0), np.roll(depth, -1)
    crosses = inside != np.roll(inside, -1)
    span = np.where(crosses, after - depth, 1.0)
    cut = points_m + ((near_m - depth) / span)[:, None] * (following - points_m)
    both = np.stack([points_m, cut], axis=1).reshape(-1, 3)
    keep = np.stack([inside, crosses], axis=1).reshape(-1)
    return both[keep]


class Canvas:
    """Buffers of one picture.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        ids: (H, W) uint16, NOBODY, PROP or the id of a labelled silhouette.
        ground: (H, W) uint8 materials of the ground, see ground.py.
    """

    def __init__(self, camera: Camera) -> None:
        """Make the buffers of a camera's pictures."""
        shape = (camera.height_px, camera.width_px)
        self.camera = camera
        self.image = np.zeros((*shape, 3), np.uint8)
        self.ids = np.zeros(shape, np.uint16)
        self.ground = np.zeros(shape, np.uint8)

    def begin(self) -> None:
        """Forget the picture before."""
        self.ids[:] = NOBODY
        self.ground[:] = 0

    def window(self, points_px: Array) -> tuple[slice, slice] | None:
        """Return rows and columns of the pixels around points, None where they miss the picture."""
        low, high = np.floor(points_px.min(axis=0)), np.ceil(points_px.max(axis=0)) + 1
        left, top = max(0, int(low[0])), max(0, int(low[1]))
        right, bottom = min(self.camera.width_px, int(high[0])), min(self.camera.height_px, int(high[1]))
        if right <= left or bottom <= top:
            return None
        return slice(top, bottom), slice(left, right)

    def ground_polygon(self, points_m: Array, up_m: float | Array = 0.0) -> NDArray[np.int32] | None:
        """Return the vertices of a polygon on the ground, None where it has no part ahead of the camera.

        Args:
            points_m: (N, 2) forward and left of the camera.
            up_m: height above the ground, of all or (N,) of each.
        """
        forward, left = points_m[:, 0], points_m[:, 1]
        up = np.broadcast_to(np.asarray(up_m, np.float64) - self.camera.z_m, forward.shape)
        optical = clip_near(np.stack(self.camera.to_optical(forward, left, up), axis=-1), 1.0)
        if len(optical) < 3:
            return None
        column, row = self.camera.pixels(optical[:, 0], optical[:, 1], optical[:, 2])
        return fixed(np.stack([column, row], axis=-1))

    def fill_ground(
        self, outlines: list[NDArray[np.int32]], colour: tuple[float, float, float], material: int
    ) -> None:
        """Fill polygons that do not overlap, in the picture and among the materials."""
        if outlines:
            cv2.fillPoly(self.image, outlines, colour, cv2.LINE_AA, SHIFT)
            cv2.fillPoly(self.ground, outlines, (float(material),), cv2.LINE_8, SHIFT)
