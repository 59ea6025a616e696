# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The image under the brush: pixels, and beside them whose silhouette covers which pixel."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.world.camera import NEAR_M, Camera

Array = NDArray[np.float64]
Outline = NDArray[np.int32]
Corner = tuple[float, float, float]

SHIFT = 4
"""Fractional bits of vertices: sixteenths of a pixel."""
GROUND_NEAR_M = 1.0
"""Depth from which on ground is painted; the lowest row sees it at twice that and more."""
_LIMIT = 20000.0 * (1 << SHIFT)
"""Of vertices: farther out than any image and within what the drawing functions can count to."""

BACKGROUND_ID, UNLABELED_ID, FIRST_LABELED_ID = 0, 1, 2
"""Ids of silhouettes: the ground and the sky, things without a label, and the first labeled one."""


def fixed(points_px: NDArray[np.floating]) -> Outline:
    """Return vertices with SHIFT fractional bits."""
    scaled = np.rint(points_px * (1 << SHIFT))
    np.maximum(scaled, -_LIMIT, out=scaled)
    np.minimum(scaled, _LIMIT, out=scaled)
    return scaled.astype(np.int32)


def clip_near(corners_m: list[Corner], near_m: float = NEAR_M) -> list[Corner]:
    """Return the part of a polygon, right, down and depth of each corner, beyond the near plane; maybe empty.

    Sutherland and Hodgman's way: corners inside stay, each edge that crosses gives one corner. One by one, as
    a handful of corners is not worth an array.
    """
    kept: list[Corner] = []
    for (x, y, depth), (next_x, next_y, after) in zip(corners_m, corners_m[1:] + corners_m[:1], strict=True):
        if depth >= near_m:
            kept.append((x, y, depth))
        if (depth >= near_m) != (after >= near_m):
            share = (near_m - depth) / (after - depth)
            kept.append((x + share * (next_x - x), y + share * (next_y - y), depth + share * (after - depth)))
    return kept


class Framebuffer:
    """Buffers of one image.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        ids: (H, W) uint8, NOBODY, PROP or the id of a labeled silhouette.
        ground: (H, W) uint8 materials of the ground, see ground.py.
        props: (H, W) uint8, PROP everywhere: what is copied to the ids through masks.
    """

    def __init__(self, camera: Camera) -> None:
        """Make the buffers of a camera's images."""
        shape = (camera.height_px, camera.width_px)
        self.camera = camera
        self.image = np.zeros((*shape, 3), np.uint8)
        self.ids = np.zeros(shape, np.uint8)
        self.ground = np.zeros(shape, np.uint8)
        self.unlabeled_ids = np.full(shape, UNLABELED_ID, np.uint8)

    def clear(self) -> None:
        """Forget the image before, which is somebody else's now; sky and ground will cover the new one."""
        self.image = np.empty_like(self.image)
        self.ids[:] = BACKGROUND_ID
        self.ground[:] = 0

    def window_between(
        self, left_px: float, top_px: float, right_px: float, foot_px: float
    ) -> tuple[slice, slice] | None:
        """Return rows and columns of the pixels of a rectangle, None where it misses the image."""
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
        """Return (N,) which of (N, K, 2) polygons may have a part in the image."""
        size = (self.camera.width_px, self.camera.height_px)
        is_inside = (polygons_px.max(axis=1) >= 0.0) & (polygons_px.min(axis=1) <= size)
        return is_inside[:, 0] & is_inside[:, 1]

    def ground_polygon(self, points_m: Array, up_m: float = 0.0) -> Outline | None:
        """Return a polygon on the ground, None where it has no part in the image.

        Args:
            points_m: (N, 2) forward and left of the camera.
            up_m: height above the ground.
        """
        camera, up = self.camera, up_m - self.camera.z_m
        corners = clip_near(
            [camera.to_optical(forward, left, up) for forward, left in points_m.tolist()], GROUND_NEAR_M
        )
        if len(corners) < 3:
            return None
        pixels = [camera.pixels(*corner) for corner in corners]
        columns, rows = zip(*pixels, strict=True)
        if min(columns) > camera.width_px or min(rows) > camera.height_px:
            return None
        if max(columns) < 0.0 or max(rows) < 0.0:
            return None
        return fixed(np.array(pixels))

    def ground_outlines(
        self, points_m: Array, up_m: float = 0.0, *, clips: bool = True
    ) -> list[Outline | None]:
        """Return (N, K, 2) polygons on the ground, None for those that have no part in the image.

        Args:
            points_m: forward and left of the camera.
            up_m: height above the ground.
            clips: whether to keep the rest of those that reach out of view; small ones may as well go.
        """
        outlines: list[Outline | None] = [None] * len(points_m)
        if not len(points_m):
            return outlines
        pixels, is_ahead = self.ground_pixels(points_m, up_m)
        whole, vertices = is_ahead.all(axis=1), fixed(pixels)
        for index in np.flatnonzero(whole & self.are_inside(pixels)).tolist():
            outlines[index] = vertices[index]
        if clips:
            for index in np.flatnonzero(is_ahead.any(axis=1) & ~whole).tolist():
                outlines[index] = self.ground_polygon(points_m[index], up_m)
        return outlines

    def tint_ground(self, outlines: Sequence[Outline], color: tuple[float, float, float]) -> None:
        """Fill polygons in the image that are no other material than what is around them."""
        if outlines:
            cv2.fillPoly(self.image, outlines, color, cv2.LINE_AA, SHIFT)

    def fill_ground(
        self, outlines: Sequence[Outline], color: tuple[float, float, float], material: int
    ) -> None:
        """Fill polygons that do not overlap, in the image and among the materials."""
        if outlines:
            cv2.fillPoly(self.image, outlines, color, cv2.LINE_AA, SHIFT)
            cv2.fillPoly(self.ground, outlines, (float(material),), cv2.LINE_8, SHIFT)
