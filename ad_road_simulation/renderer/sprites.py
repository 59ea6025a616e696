# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scene objects relative to the camera, and their back-to-front order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import hypot
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.renderer.meshes import Color, Limbs, Mesh, Point
from ad_road_simulation.world.camera import Camera
from ad_road_simulation.world.scene import Scene

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Lamp:
    """A point light with a halo in the image.

    Attributes:
        position_m: in the object's frame.
        direction: of the light in the object's frame, (0, 0) for all directions.
        radius_m: of the halo.
        color: BGR at the center.
    """

    position_m: Point
    direction: tuple[float, float]
    radius_m: float
    color: Color


class RelativePose(NamedTuple):
    """Pose of an object relative to the camera, along the axes of base_link.

    Attributes:
        forward_m, left_m: of its origin.
        yaw_rad: of its frame relative to base_link.
        corners_m: (4, 2) of its footprint, clockwise.
        distance_m: along the ground from the camera.
    """

    forward_m: float
    left_m: float
    yaw_rad: float
    corners_m: Array
    distance_m: float

    @property
    def camera_ahead_m(self) -> float:
        """Distance of the camera ahead of the object's origin, along the object's heading."""
        return float(-(self.forward_m * np.cos(self.yaw_rad) + self.left_m * np.sin(self.yaw_rad)))


@dataclass
class SceneObject:
    """One drawable object of the scene.

    Attributes:
        pose: relative to the camera.
        height_m: above the ground.
        mesh, limbs: its geometry, if any, in its frame.
        stretch: factors on the geometry's coordinates.
        color: its own color, BGR.
        lamps: its lights.
        label: class of the ground truth, empty where it has none.
        ident: of the ground truth.
        depth_sorted: whether its parts are drawn by depth instead of in their own order.
        limbs_first: whether the limbs (a pole) are behind the mesh.
        draw: draws what is not mesh or limbs (a textured wall, a tree).
        crown_radius_m: of a round crown, which casts another shadow than a box.
    """

    pose: RelativePose
    height_m: float
    mesh: Mesh | None = None
    limbs: Limbs | None = None
    stretch: Point = (1.0, 1.0, 1.0)
    color: Color = (0.0, 0.0, 0.0)
    lamps: tuple[Lamp, ...] = ()
    label: str = ""
    ident: int = -1
    depth_sorted: bool = False
    limbs_first: bool = False
    draw: Callable[[], None] | None = None
    crown_radius_m: float = 0.0


_CORNERS = np.array([[0.5, 0.5, -0.5, -0.5], [0.5, -0.5, -0.5, 0.5]])
"""Corners of a footprint 1 m long and wide, along it and across."""


@dataclass(frozen=True)
class Viewpoint:
    """Pose of the camera in the world."""

    camera: Camera
    x_m: float
    y_m: float
    heading_rad: float

    @classmethod
    def of(cls, camera: Camera, scene: Scene) -> Viewpoint:
        """Return the viewpoint of a scene's camera."""
        cos, sin = np.cos(scene.ego_heading_rad), np.sin(scene.ego_heading_rad)
        x, y = scene.ego_x_m + camera.x_m * cos, scene.ego_y_m + camera.x_m * sin
        return cls(camera, float(x), float(y), scene.ego_heading_rad)

    def local(self, points_m: Array) -> Array:
        """Return (..., 2) forward and left of (..., 2) world positions."""
        cos, sin = np.cos(self.heading_rad), np.sin(self.heading_rad)
        # As one matrix product: many small ones are slow.
        moved = (points_m - (self.x_m, self.y_m)).reshape(-1, 2)
        return (moved @ np.array([[cos, -sin], [sin, cos]])).reshape(points_m.shape)

    def direction(self, vector: Array) -> Array:
        """Return a (3,) world direction along the axes of base_link."""
        cos, sin = np.cos(self.heading_rad), np.sin(self.heading_rad)
        x, y, z = vector
        return np.array([cos * x + sin * y, cos * y - sin * x, z])

    def poses(self, world_poses: Array, sizes_m: Array) -> list[RelativePose | None]:
        """Return the poses relative to the camera, None for objects that cannot be in the image.

        Args:
            world_poses: (N, 3) x, y and heading, world.
            sizes_m: (N, 2) length and width.
        """
        middle, turn = self.local(world_poses[:, :2]), world_poses[:, 2] - self.heading_rad
        cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
        along, across = sizes_m[:, :1] * _CORNERS[0], sizes_m[:, 1:] * _CORNERS[1]
        corners = np.empty((len(world_poses), 4, 2))
        corners[..., 0] = cos * along - sin * across
        corners[..., 1] = sin * along + cos * across
        corners += middle[:, None]
        # A margin for mirrors, crowns and arms that extend beyond the footprint.
        side = 0.5 * self.camera.width_px / self.camera.focal_px * corners[..., 0] + 1.5
        is_ahead, is_right = corners[..., 0] > 0.3, corners[..., 1] < side
        is_seen = is_ahead.any(axis=1) & is_right.any(axis=1) & (corners[..., 1] > -side).any(axis=1)
        (forward, left), turned = middle.T.tolist(), turn.tolist()
        found: list[RelativePose | None] = [None] * len(world_poses)
        for index in np.flatnonzero(is_seen).tolist():
            x, y = forward[index], left[index]
            found[index] = RelativePose(x, y, turned[index], corners[index], hypot(x, y))
        return found


def back_to_front_order(objects: list[SceneObject]) -> list[int]:
    """Return the indices from back to front.

    By distance, except for this rule: an object that lies entirely on the outer side of another object's
    footprint edge that faces the camera is in front of the other one. Only pairs that overlap in the image
    are compared.
    """
    count = len(objects)
    by_distance = sorted(range(count), key=lambda index: -objects[index].pose.distance_m)
    if count < 2:
        return by_distance
    corners = np.stack([objects[index].pose.corners_m for index in by_distance])
    bearing = np.arctan2(corners[..., 1], np.maximum(corners[..., 0], 0.1))
    low, high = bearing.min(axis=1), bearing.max(axis=1)
    overlaps = (low[:, None] < high[None, :]) & (low[None, :] < high[:, None])
    edge = corners[:, [1, 2, 3, 0]] - corners
    # Corners run clockwise, so the outward normal of the edge (dx, dy) is (-dy, dx).
    outward = np.stack([-edge[..., 1], edge[..., 0]], axis=-1)
    offset = (outward * corners).sum(axis=-1)
    # The innermost corner of each object from each edge; edges that face away are ignored.
    side = outward.reshape(-1, 2) @ corners.transpose(1, 0, 2).reshape(-1, 2).T
    innermost = side.reshape(count, 4, 4, count).min(axis=2)
    border = np.where(offset < 0.0, offset - 1e-6, np.inf)
    in_front = (innermost > border[..., None]).any(axis=1) & overlaps
    # Where the rule holds both ways the distance decides; the diagonal is ignored.
    in_front &= ~in_front.T
    behind, before = np.nonzero(in_front)
    if not (behind > before).any():
        return by_distance
    np.fill_diagonal(in_front, False)
    waits_for: list[set[int]] = [set(np.flatnonzero(in_front[:, index]).tolist()) for index in range(count)]
    left, order = list(range(count)), []
    while left:
        chosen = next((index for index in left if not waits_for[index]), left[0])
        left.remove(chosen)
        order.append(by_distance[chosen])
        for index in left:
            waits_for[index].discard(chosen)
    return order
