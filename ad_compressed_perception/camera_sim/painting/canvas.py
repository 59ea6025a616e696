# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The picture under the brush: pixels, and beside them whose silhouette covers which pixel."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.camera_sim.camera import NEAR_M, Camera

Array = NDArray[np.float64]
Outline = NDArray[np.int32]

SHIFT = 4
"""Fractional bits of vertices: sixteenths of a pixel."""
GROUND_NEAR_M = 1.0
"""Depth from which on ground is painted; the lowest row sees it at twice that and more."""
_LIMIT = 20000.0 * (1 << SHIFT)
"""Of vertices: farther out than any picture and within what the drawing functions can count to."""

NOBODY, PROP, FIRST = 0, 1, 2
"""Ids of silhouettes: the ground and the sky, things without a label, and the first labelled one."""


def fixed(points_px: NDArray[np.floating]) -> Outline:
    """Return vertices with SHIFT fractional bits."""
    scaled = np.rint(points_px * (1 << SHIFT))
    np.maximum(scaled, -_LIMIT, out=scaled)
    np.minimum(scaled, _LIMIT, out=scaled)
    return scaled.astype(np.int32)


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
        ids: (H, W) uint8, NOBODY, PROP or the id of a labelled silhouette.
        ground: (H, W) uint8 materials of the ground, see ground.py.
    """

    def __init__(self, camera: Camera) -> None:
        """Make the buffers of a camera's pictures."""
        shape = (camera.height_px, camera.width_px)
        self.camera = camera
        self.image = np.zeros((*shape, 3), np.uint8)
        self.ids = np.zeros(shape, np.uint8)
        self.ground = np.zeros(shape, np.uint8)

    def begin(self) -> None:
        """Forget the picture before."""
        self.ids[:] = NOBODY
        self.ground[:] = 0

    def window(self, points_px: Array) -> tuple[slice, slice] | None:
        """Return rows and columns of the pixels around points, None where they miss the picture."""
        columns, rows = points_px[:, 0].tolist(), points_px[:, 1].tolist()
        return self.window_between(min(columns), min(rows), max(columns), max(rows))

    def window_between(
        self, left_px: float, top_px: float, right_px: float, foot_px: float
    ) -> tuple[slice, slice] | None:
        """Return rows and columns of the pixels of a rectangle, None where it misses the picture."""
        left, top = max(0, int(left_px)), max(0, int(top_px))
        right = min(self.camera.width_px, int(min(right_px, 1e6)) + 2)
        bottom = min(self.camera.height_px, int(min(foot_px, 1e6)) + 2)
        if right <= left or bottom <= top:
            return None
        return slice(top, bottom), slice(left, right)

    def ground_pixels(self, points_m: Array, up_m: float | Array = 0.0) -> tuple[Array, NDArray[np.bool_]]:
        """Return (..., 2) pixels of (..., 2) points on the ground, and which lie far enough ahead.

        Args:
            points_m: forward and left of the camera.
            up_m: height above the ground.
        """
        right, down, depth = self.camera.to_optical(
            points_m[..., 0], points_m[..., 1], np.asarray(up_m, np.float64) - self.camera.z_m
        )
        is_ahead: NDArray[np.bool_] = np.greater_equal(depth, GROUND_NEAR_M)
        column, row = self.camera.pixels(right, down, np.maximum(depth, GROUND_NEAR_M))
        return np.stack([column, row], axis=-1), is_ahead

    def are_inside(self, polygons_px: Array) -> NDArray[np.bool_]:
        """Return (N,) which of (N, K, 2) polygons may have a part in the picture."""
        across, down = polygons_px[..., 0], polygons_px[..., 1]
        is_across = (across.max(axis=1) >= 0.0) & (across.min(axis=1) <= self.camera.width_px)
        return is_across & (down.max(axis=1) >= 0.0) & (down.min(axis=1) <= self.camera.height_px)

    def outline(self, points_px: NDArray[np.floating]) -> Outline | None:
        """Return a polygon's vertices for drawing, None where it misses the picture."""
        low, high = points_px.min(axis=0), points_px.max(axis=0)
        if low[0] > self.camera.width_px or low[1] > self.camera.height_px or high[0] < 0.0 or high[1] < 0.0:
            return None
        return fixed(points_px)

    def ground_polygon(self, points_m: Array, up_m: float = 0.0) -> Outline | None:
        """Return a polygon on the ground, None where it has no part in the picture.

        Args:
            points_m: (N, 2) forward and left of the camera.
            up_m: height above the ground.
        """
        forward, left = points_m[:, 0], points_m[:, 1]
        up = np.full_like(forward, up_m - self.camera.z_m)
        optical = clip_near(np.stack(self.camera.to_optical(forward, left, up), axis=-1), GROUND_NEAR_M)
        if len(optical) < 3:
            return None
        column, row = self.camera.pixels(optical[:, 0], optical[:, 1], optical[:, 2])
        return self.outline(np.stack([column, row], axis=-1))

    def ground_polygons(self, points_m: Array, up_m: float = 0.0, *, clips: bool = True) -> list[Outline]:
        """Return those of (N, K, 2) polygons on the ground that have a part in the picture.

        Args:
            points_m: forward and left of the camera.
            up_m: height above the ground.
            clips: whether to keep the rest of those that reach out of view; small ones may as well go.
        """
        if not len(points_m):
            return []
        pixels, is_ahead = self.ground_pixels(points_m, up_m)
        outlines: list[Outline] = []
        is_in = self.are_inside(pixels).tolist()
        whole, vertices = np.all(is_ahead, axis=1).tolist(), fixed(pixels)
        for index in range(len(points_m)):
            if whole[index]:
                if is_in[index]:
                    outlines.append(vertices[index])
            elif clips and is_ahead[index].any():
                polygon = self.ground_polygon(points_m[index], up_m)
                if polygon is not None:
                    outlines.append(polygon)
        return outlines

    def tint_ground(self, outlines: Sequence[Outline], colour: tuple[float, float, float]) -> None:
        """Fill polygons in the picture that are no other material than what is around them."""
        if outlines:
            cv2.fillPoly(self.image, outlines, colour, cv2.LINE_AA, SHIFT)

    def fill_ground(
        self, outlines: Sequence[Outline], colour: tuple[float, float, float], material: int
    ) -> None:
        """Fill polygons that do not overlap, in the picture and among the materials."""
        if outlines:
            cv2.fillPoly(self.image, outlines, colour, cv2.LINE_AA, SHIFT)
            cv2.fillPoly(self.ground, outlines, (float(material),), cv2.LINE_8, SHIFT)
