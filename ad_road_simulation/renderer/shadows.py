# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Shadows on the ground: sun shadows, and contact shadows beneath vehicles."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.renderer.framebuffer import SHIFT, Framebuffer, fixed
from ad_road_simulation.renderer.lighting import Light
from ad_road_simulation.renderer.sprites import SceneObject, Viewpoint

Array = NDArray[np.float64]

_LONGEST = 5.0
"""Maximum length of a shadow, relative to the height of its object."""
_CONTACT = 150
_FAR_M, _CONTACT_FAR_M = 110.0, 60.0
_RING = np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], axis=-1)
_SLIM = ("person", "bicycle")
_HEAVY = ("car", "truck", "bus", "motorcycle")


def shadow_mask(
    framebuffer: Framebuffer, objects: list[SceneObject], light: Light, view: Viewpoint
) -> NDArray[np.uint8]:
    """Return (H, W) uint8 attenuation of the ground's light, 255 for all of it."""
    mask = np.zeros_like(framebuffer.ground)
    first = int(framebuffer.camera.horizon_px) + 1
    dark = int(255 * light.shadow)
    if dark > 8:
        forward, left, up = view.direction(light.sun_direction)
        level = max(float(np.hypot(forward, left)), 1e-6)
        reach = min(_LONGEST, level / max(float(up), 0.05)) / level
        near = [item for item in objects if item.pose.distance_m < _FAR_M]
        if near:
            _fill(framebuffer, mask, _outlines(near, np.array([-reach * forward, -reach * left])), dark)
    heavy = [item for item in objects if item.label in _HEAVY]
    feet = [item.pose.corners_m for item in heavy if item.pose.distance_m < _CONTACT_FAR_M]
    if feet:
        _fill(framebuffer, mask, np.stack(feet), _CONTACT)
    _soften(mask[first:], 3 * framebuffer.camera.width_px // 640 | 1)
    return mask


def _soften(mask: NDArray[np.uint8], size: int) -> None:
    """Blur the shadows within their bounding box and a margin."""
    x, y, width, height = cv2.boundingRect(mask)
    if width:
        margin = 2 * (2 * size + 1)
        rows = slice(max(0, y - margin), y + height + margin)
        columns = slice(max(0, x - margin), x + width + margin)
        cv2.blur(mask[rows, columns], (2 * size + 1, size), dst=mask[rows, columns])


def _outlines(objects: list[SceneObject], shift: Array) -> Array:
    """Return (N, 16, 2) points whose hulls are the shadows, of a box or of a round crown.

    Args:
        objects: that cast the shadows.
        shift: (2,) forward and left displacement of the shadow of a point 1 m high.
    """
    corners = np.stack([item.pose.corners_m for item in objects])
    # People are slimmer than the bounding box of their limbs.
    slim = np.array([0.6 if item.label in _SLIM else 1.0 for item in objects])[:, None, None]
    corners = corners.mean(axis=1, keepdims=True) * (1.0 - slim) + corners * slim
    height = np.array([item.height_m for item in objects])[:, None, None]
    crown = np.array([item.crown_radius_m for item in objects])[:, None, None]
    top = corners + shift * (0.9 * height)
    box = np.concatenate([corners, top, corners, top], axis=1)
    middle = corners.mean(axis=1, keepdims=True)
    ring = middle + _RING * (0.9 * crown)
    round_ = np.concatenate([ring + shift * (0.3 * height), ring + shift * (0.9 * height)], axis=1)
    return np.where(crown > 0.0, round_, box)


def _fill(framebuffer: Framebuffer, mask: NDArray[np.uint8], points_m: Array, dark: int) -> None:
    """Fill the hulls of (N, K, 2) points on the ground."""
    pixels, is_ahead = framebuffer.ground_pixels(points_m)
    whole = np.all(is_ahead, axis=1).tolist()
    inside = framebuffer.are_inside(pixels).tolist()
    vertices = fixed(pixels)
    for index in range(len(points_m)):
        if whole[index]:
            if inside[index]:
                # The projection of a hull is the hull of the projected points.
                outline = cv2.convexHull(vertices[index])
                cv2.fillConvexPoly(mask, outline, (dark,), cv2.LINE_AA, SHIFT)
        elif is_ahead[index].any():
            hull = cv2.convexHull(points_m[index].astype(np.float32))[:, 0]
            cut = framebuffer.ground_polygon(hull.astype(np.float64))
            if cut is not None:
                cv2.fillConvexPoly(mask, cut, (dark,), cv2.LINE_AA, SHIFT)
