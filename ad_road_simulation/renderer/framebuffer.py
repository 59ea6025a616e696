# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Framebuffer of an image: color, object id and ground material of each pixel."""

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
"""Fractional bits of vertices: 1/16 pixel."""
GROUND_NEAR_M = 1.0
"""Minimum depth of drawn ground; the lowest row sees it at twice that and more."""
_LIMIT = 20000.0 * (1 << SHIFT)
"""Limit of vertex coordinates: larger than any image and within the range of the drawing functions."""

BACKGROUND_ID, UNLABELED_ID, FIRST_LABELED_ID = 0, 1, 2
"""Object ids: ground and sky, unlabeled objects, and the first labeled object."""


def fixed(points_px: NDArray[np.floating]) -> Outline:
    """Return vertices with SHIFT fractional bits."""
    scaled = np.rint(points_px * (1 << SHIFT))
    np.maximum(scaled, -_LIMIT, out=scaled)
    np.minimum(scaled, _LIMIT, out=scaled)
    return scaled.astype(np.int32)


def clip_near(corners_m: list[Corner], near_m: float = NEAR_M) -> list[Corner]:
    """Return the part of a polygon beyond the near plane, maybe empty; corners are right, down and depth.

    Sutherland-Hodgman clipping: corners inside stay, each crossing edge adds one corner. A loop, as arrays do
    not pay off for a few corners.
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
        ids: (H, W) uint8, BACKGROUND_ID, UNLABELED_ID or the id of a labeled object.
        ground: (H, W) uint8 materials of the ground, see ground.py.
        unlabeled_ids: (H, W) uint8, UNLABELED_ID everywhere: the source of masked copies to ids.
    """

    def __init__(self, camera: Camera) -> None:
        """Allocate the buffers of a camera's images."""
        shape = (camera.height_px, camera.width_px)
        self.camera = camera
        self.image = np.zeros((*shape, 3), np.uint8)
        self.ids = np.zeros(shape, np.uint8)
        self.ground = np.zeros(shape, np.uint8)
        self.unlabeled_ids = np.full(shape, UNLABELED_ID, np.uint8)

    def clear(self) -> None:
        """Start a new image, which sky and ground will cover; the caller owns the previous one."""
        self.image = np.empty_like(self.image)
        self.ids[:] = BACKGROUND_ID
        self.ground[:] = 0

    def window_between(
        self, left_px: float, top_px: float, right_px: float, foot_px: float
    ) -> tuple[slice, slice] | None:
        """Return rows and columns of a rectangle clipped to the image, None where it is outside."""
        left, top = max(0, int(left_px)), max(0, int(top_px))
        right = min(self.camera.width_px, int(min(right_px, 1e6)) + 2)
        bottom = min(self.camera.height_px, int(min(foot_px, 1e6)) + 2)
        if right <= left or bottom <= top:
            return None
        return slice(top, bottom), slice(left, right)

    def ground_pixels(self, points_m: Array, up_m: float | Array = 0.0) -> tuple[Array, NDArray[np.bool_]]:
        """Return (..., 2) pixels of (..., 2) points on the ground, and whether each is beyond GROUND_NEAR_M.

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
        """Return (N,) bool: the bounding boxes of (N, K, 2) polygons overlap the image."""
        size = (self.camera.width_px, self.camera.height_px)
        is_inside = (polygons_px.max(axis=1) >= 0.0) & (polygons_px.min(axis=1) <= size)
        return is_inside[:, 0] & is_inside[:, 1]

    def ground_polygon(self, points_m: Array, up_m: float = 0.0) -> Outline | None:
        """Return the outline of a polygon on the ground, None where it is outside the image.

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
        """Return the outlines of (N, K, 2) polygons on the ground, None for those outside the image.

        Args:
            points_m: forward and left of the camera.
            up_m: height above the ground.
            clips: whether to clip polygons at the near plane; otherwise they are dropped.
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
        """Fill polygons in the image without changing the material."""
        if outlines:
            cv2.fillPoly(self.image, outlines, color, cv2.LINE_AA, SHIFT)

    def fill_ground(
        self, outlines: Sequence[Outline], color: tuple[float, float, float], material: int
    ) -> None:
        """Fill polygons, which must not overlap, in the image and in the materials."""
        if outlines:
            cv2.fillPoly(self.image, outlines, color, cv2.LINE_AA, SHIFT)
            cv2.fillPoly(self.ground, outlines, (float(material),), cv2.LINE_8, SHIFT)
