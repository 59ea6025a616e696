# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Things that stand on the ground, seen from the camera: which is before which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.camera_sim.camera import Camera
from ad_compressed_perception.camera_sim.painting.shapes import Limbs, Mesh
from ad_compressed_perception.camera_sim.scene import Scene

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Lamp:
    """A point that shines, with a halo around it in the picture.

    Attributes:
        place_m: in the figure's frame.
        looks: direction the lamp looks to in the figure's frame, (0, 0) to all sides.
        radius_m: of the halo.
        colour: BGR of its middle.
        reflects: whether a wet road shows it.
    """

    place_m: tuple[float, float, float]
    looks: tuple[float, float]
    radius_m: float
    colour: tuple[float, float, float]
    reflects: bool = True


@dataclass
class Figure:
    """One thing in camera-relative coordinates, with its shapes.

    Attributes:
        forward_m, left_m: of its origin, from the camera along the axes of base_link.
        turn_rad: of its frame against base_link's.
        half_length_m, half_width_m: of the footprint.
        height_m: above the ground.
        mesh, limbs: its shapes, if any.
        lamps: what shines.
        label: class of the truth, empty where it has none.
        ident: of the truth.
        sorts_parts: whether its parts are painted by depth instead of in their own order.
        paint: paints it in another way than by shapes (a textured wall, a tree).
    """

    forward_m: float
    left_m: float
    turn_rad: float
    half_length_m: float
    half_width_m: float
    height_m: float
    mesh: Mesh | None = None
    limbs: Limbs | None = None
    lamps: tuple[Lamp, ...] = ()
    label: str = ""
    ident: int = -1
    sorts_parts: bool = False
    paint: Callable[[], None] | None = None
    corners_m: Array = field(init=False)
    distance_m: float = field(init=False)

    def __post_init__(self) -> None:
        cos, sin = np.cos(self.turn_rad), np.sin(self.turn_rad)
        along = np.array([1.0, 1.0, -1.0, -1.0]) * self.half_length_m
        across = np.array([1.0, -1.0, -1.0, 1.0]) * self.half_width_m
        self.corners_m = np.stack(
            [self.forward_m + cos * along - sin * across, self.left_m + sin * along + cos * across], axis=-1
        )
        self.distance_m = float(np.hypot(self.forward_m, self.left_m))

    def is_in_view(self, camera: Camera) -> bool:
        """Return whether a part of it can be in the picture."""
        reach = self.half_length_m + self.half_width_m
        side = 0.5 * camera.width_px / camera.focal_px
        return self.forward_m + reach > 0.3 and abs(self.left_m) - 1.3 * reach < side * (
            self.forward_m + reach
        )


@dataclass(frozen=True)
class Viewpoint:
    """The camera in the world."""

    camera: Camera
    x_m: float
    y_m: float
    heading_rad: float

    @classmethod
    def of(cls, camera: Camera, scene: Scene) -> Viewpoint:
        """Return where the camera of a scene is."""
        cos, sin = np.cos(scene.ego_heading_rad), np.sin(scene.ego_heading_rad)
        x, y = scene.ego_x_m + camera.x_m * cos, scene.ego_y_m + camera.x_m * sin
        return cls(camera, float(x), float(y), scene.ego_heading_rad)

    def local(self, points_m: Array) -> Array:
        """Return (..., 2) forward and left of (..., 2) world positions."""
        cos, sin = np.cos(self.heading_rad), np.sin(self.heading_rad)
        east, north = points_m[..., 0] - self.x_m, points_m[..., 1] - self.y_m
        return np.stack([cos * east + sin * north, cos * north - sin * east], axis=-1)

    def local_of(self, x_m: float, y_m: float) -> tuple[float, float]:
        """Return forward and left of one world position."""
        forward, left = self.local(np.array([x_m, y_m]))
        return float(forward), float(left)


def painting_order(figures: list[Figure]) -> list[int]:
    """Return the indices from back to front.

    By distance, except where a figure's wall says otherwise: if all of another figure lies on the outer side
    of a wall that looks towards the camera, the other one is in front. Only pairs that cover each other in
    the picture are asked.
    """
    count = len(figures)
    by_distance = sorted(range(count), key=lambda index: -figures[index].distance_m)
    if count < 2:
        return by_distance
    corners = np.stack([figures[index].corners_m for index in by_distance])
    bearing = np.arctan2(corners[..., 1], np.maximum(corners[..., 0], 0.1))
    low, high = bearing.min(axis=1), bearing.max(axis=1)
    overlaps = (low[:, None] < high[None, :]) & (low[None, :] < high[:, None])
    following = np.roll(corners, -1, axis=1)
    # Corners run clockwise, so the outward normal of the edge (dx, dy) is (-dy, dx).
    outward = np.stack([-(following - corners)[..., 1], (following - corners)[..., 0]], axis=-1)
    offset = (outward * corners).sum(axis=-1)
    is_seen = offset < 0.0
    side = np.einsum("iek,jck->ijec", outward, corners) - offset[:, None, :, None]
    in_front = ((side > -1e-6).all(axis=3) & is_seen[:, None, :]).any(axis=2) & overlaps
    # Where both say so of each other the distance decides; the diagonal says nothing.
    in_front &= ~in_front.T
    np.fill_diagonal(in_front, False)
    if not np.tril(in_front).any():
        return by_distance
    waits_for: list[set[int]] = [set(np.flatnonzero(in_front[:, index]).tolist()) for index in range(count)]
    left, order = list(range(count)), []
    while left:
        chosen = next((index for index in left if not waits_for[index]), left[0])
        left.remove(chosen)
        order.append(by_distance[chosen])
        for index in left:
            waits_for[index].discard(chosen)
    return order


def shadow_outline(figure: Figure, shift_m: tuple[float, float], height_m: float) -> NDArray[np.float32]:
    """Return (N, 2) the ground that a box shades: hull of its foot and of its top moved away from the sun.

    Args:
        figure: whose footprint it is.
        shift_m: forward and left that the shadow of a point 1 m high is moved.
        height_m: of what casts it.
    """
    top = figure.corners_m + np.asarray(shift_m) * height_m
    points = np.concatenate([figure.corners_m, top]).astype(np.float32)
    return np.asarray(cv2.convexHull(points), np.float32).reshape(-1, 2)
