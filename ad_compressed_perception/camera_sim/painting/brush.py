# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""All shapes of all figures at once: projected, lit, faded by the haze, and cut into strokes of the brush."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.camera_sim.camera import NEAR_M, Camera
from ad_compressed_perception.camera_sim.painting.canvas import PROP, SHIFT, Canvas, clip_near, fixed
from ad_compressed_perception.camera_sim.painting.figures import Figure
from ad_compressed_perception.camera_sim.painting.light import Light
from ad_compressed_perception.camera_sim.painting.shapes import OWN, PAINT

Array = NDArray[np.float64]

_HALF_TURN = np.linspace(-np.pi / 2, np.pi / 2, 6)
_SMALLEST_PX = 0.7


@dataclass
class Strokes:
    """Polygons of one figure in the picture, in painting order.

    Attributes:
        outlines: vertices with SHIFT fractional bits.
        colours: BGR.
        thickness_px: 0 for filled ones.
        roles: PAINT, OWN or FOREIGN.
        low_px, high_px: (2,) corners around the OWN ones, not clipped to the picture.
    """

    outlines: list[NDArray[np.int32]] = field(default_factory=list)
    colours: list[tuple[float, float, float]] = field(default_factory=list)
    thickness_px: list[int] = field(default_factory=list)
    roles: list[int] = field(default_factory=list)
    low_px: Array = field(default_factory=lambda: np.full(2, np.inf))
    high_px: Array = field(default_factory=lambda: np.full(2, -np.inf))

    def paint(self, canvas: Canvas, own_id: int, with_ids: bool) -> None:
        """Paint them, and the silhouettes among them into the ids."""
        image, ids = canvas.image, canvas.ids
        for outline, colour, thickness, role in zip(
            self.outlines, self.colours, self.thickness_px, self.roles, strict=True
        ):
            if thickness == 0:
                cv2.fillConvexPoly(image, outline, colour, cv2.LINE_AA, SHIFT)
            else:
                cv2.polylines(image, [outline], True, colour, thickness, cv2.LINE_AA, SHIFT)
            if with_ids and role != PAINT:
                value = own_id if role == OWN else PROP
                if thickness == 0:
                    cv2.fillConvexPoly(ids, outline, value, cv2.LINE_8, SHIFT)
                else:
                    cv2.polylines(ids, [outline], True, value, thickness, cv2.LINE_8, SHIFT)


@dataclass
class _Parts:
    """Polygons of many figures, before they are handed to each."""

    owners: NDArray[np.int64]
    points: Array
    sizes: NDArray[np.int64]
    colours: Array
    strokes_px: Array
    roles: NDArray[np.uint8]
    depths: Array
    cut: dict[int, Array]


def _local_sun(light: Light, heading_rad: float) -> Array:
    cos, sin = np.cos(heading_rad), np.sin(heading_rad)
    x, y, z = light.sun_direction
    return np.array([cos * x + sin * y, cos * y - sin * x, z])


def _turned(points: Array, cos: Array, sin: Array) -> tuple[Array, Array, Array]:
    x, y = points[..., 0], points[..., 1]
    return cos * x - sin * y, sin * x + cos * y, points[..., 2]


def _mesh_parts(figures: list[Figure], camera: Camera, light: Light, sun: Array) -> _Parts | None:
    owners = [index for index, figure in enumerate(figures) if figure.mesh is not None]
    if not owners:
        return None
    meshes = [figures[index].mesh for index in owners]
    turn = np.array([figures[index].turn_rad for index in owners])
    place = np.array([(figures[index].forward_m, figures[index].left_m) for index in owners])
    faces = np.repeat(np.arange(len(owners)), [len(mesh.sizes) for mesh in meshes if mesh])
    cos, sin = np.cos(turn), np.sin(turn)

    normals = np.concatenate([mesh.normals for mesh in meshes if mesh])
    forward, left, up = _turned(normals, cos[faces], sin[faces])
    outward = np.stack([forward, left, up], axis=-1)
    centres = np.concatenate([mesh.centres for mesh in meshes if mesh])
    forward, left, up = _turned(centres, cos[faces], sin[faces])
    middle = np.stack([forward + place[faces, 0], left + place[faces, 1], up - camera.z_m], axis=-1)
    towards = (outward * middle).sum(axis=1) < 0.0
    seen = towards | np.concatenate([mesh.two_sided for mesh in meshes if mesh])
    outward = np.where(towards[:, None], outward, -outward)
    distance = np.sqrt((middle * middle).sum(axis=1))

    sizes = np.concatenate([mesh.sizes for mesh in meshes if mesh])
    vertices = np.concatenate([mesh.vertices for mesh in meshes if mesh])
    kept = np.repeat(seen, sizes)
    vertices, sizes, faces = vertices[kept], sizes[seen], faces[seen]
    owner = np.repeat(faces, sizes)
    forward, left, up = _turned(vertices, cos[owner], sin[owner])
    optical = np.stack(
        camera.to_optical(forward + place[owner, 0], left + place[owner, 1], up - camera.z_m), axis=-1
    )

    colours = np.concatenate([mesh.colours for mesh in meshes if mesh])[seen]
    glow = np.concatenate([mesh.glow for mesh in meshes if mesh])[seen]
    sunny = np.clip(outward[seen] @ sun, 0.0, 1.0)
    gains = light.ambient * (0.8 + 0.2 * outward[seen, 2:3]) + light.sun * sunny[:, None]
    gains = gains + (1.0 - gains) * glow[:, None]
    haze = light.haze_share(distance[seen])[:, None] * (1.0 - 0.5 * glow[:, None])
    colours = colours * gains * (1.0 - haze) + light.haze * haze
    strokes = np.concatenate([mesh.strokes_m for mesh in meshes if mesh])[seen]
    points, cut = _flattened(optical, sizes, camera)
    return _Parts(
        owners=np.array(owners)[faces],
        points=points,
        sizes=sizes,
        colours=colours,
        strokes_px=strokes * camera.focal_px / np.maximum(distance[seen], 0.5),
        roles=np.concatenate([mesh.roles for mesh in meshes if mesh])[seen],
        depths=distance[seen],
        cut=cut,
    )


def _flattened(optical: Array, sizes: NDArray[np.int64], camera: Camera) -> tuple[Array, dict[int, Array]]:
    """Return pixels of all vertices, and those of the polygons that the near plane cuts."""
    column, row = camera.pixels(optical[:, 0], optical[:, 1], np.maximum(optical[:, 2], NEAR_M))
    cut: dict[int, Array] = {}
    behind = optical[:, 2] < NEAR_M
    if behind.any():
        starts = np.cumsum(sizes) - sizes
        for index in np.flatnonzero(np.add.reduceat(behind, starts)):
            rest = clip_near(optical[starts[index] : starts[index] + sizes[index]])
            across, down = camera.pixels(rest[:, 0], rest[:, 1], rest[:, 2])
            cut[int(index)] = np.stack([across, down], axis=-1)
    return np.stack([column, row], axis=-1), cut


def _limb_parts(figures: list[Figure], camera: Camera, light: Light, sun: Array) -> _Parts | None:
    owners = [index for index, figure in enumerate(figures) if figure.limbs is not None]
    if not owners:
        return None
    bodies = [figures[index].limbs for index in owners]
    turn = np.array([figures[index].turn_rad for index in owners])
    place = np.array([(figures[index].forward_m, figures[index].left_m) for index in owners])
    owner = np.repeat(np.arange(len(owners)), [len(body.roles) for body in bodies if body])
    ends = np.concatenate([body.ends_m for body in bodies if body])
    radii = np.concatenate([body.radii_m for body in bodies if body])
    forward, left, up = _turned(ends, np.cos(turn)[owner][:, None], np.sin(turn)[owner][:, None])
    forward, left = forward + place[owner, 0][:, None], left + place[owner, 1][:, None]
    right, down, depth = camera.to_optical(forward, left, up - camera.z_m)
    kept = (depth > NEAR_M + radii).all(axis=1)
    if not kept.any():
        return None
    owner, depth, radii = owner[kept], depth[kept], radii[kept]
    column, row = camera.pixels(right[kept], down[kept], depth)
    size = radii * camera.focal_px / depth
    # Two half circles, each turned away from the other end.
    angle = np.arctan2(row[:, 1] - row[:, 0], column[:, 1] - column[:, 0])[:, None]
    one, two = angle + np.pi + _HALF_TURN, angle + _HALF_TURN
    points = np.empty((len(owner), 2 * len(_HALF_TURN), 2))
    half = len(_HALF_TURN)
    points[:, :half, 0] = column[:, :1] + size[:, :1] * np.cos(one)
    points[:, :half, 1] = row[:, :1] + size[:, :1] * np.sin(one)
    points[:, half:, 0] = column[:, 1:] + size[:, 1:] * np.cos(two)
    points[:, half:, 1] = row[:, 1:] + size[:, 1:] * np.sin(two)

    # A limb is lit like a cylinder of whose faces half look up and half to the camera's side of the sun.
    distance = depth.mean(axis=1)
    facing = np.array([-0.75, 0.0, 0.66])
    side = float(np.clip(facing @ sun, 0.0, 1.0))
    haze = light.haze_share(distance)[:, None]
    colours = np.concatenate([body.colours for body in bodies if body])[kept]
    colours = colours * (light.ambient * 0.9 + light.sun * side) * (1.0 - haze) + light.haze * haze
    return _Parts(
        owners=np.array(owners)[owner],
        points=points.reshape(-1, 2),
        sizes=np.full(len(owner), points.shape[1]),
        colours=colours,
        strokes_px=np.zeros(len(owner)),
        roles=np.concatenate([body.roles for body in bodies if body])[kept],
        depths=distance,
        cut={},
    )


def _hand_out(parts: _Parts, figures: list[Figure], strokes: list[Strokes], camera: Camera) -> None:
    """Give the polygons that are large enough and in the picture to their figures, in painting order."""
    if not len(parts.sizes):
        return
    starts = np.cumsum(parts.sizes) - parts.sizes
    low = np.minimum.reduceat(parts.points, starts, axis=0)
    high = np.maximum.reduceat(parts.points, starts, axis=0)
    for index, points in parts.cut.items():
        low[index] = points.min(axis=0) if len(points) else np.inf
        high[index] = points.max(axis=0) if len(points) else -np.inf
    inside = (low < [camera.width_px, camera.height_px]).all(axis=1) & (high > -1.0).all(axis=1)
    kept = np.flatnonzero(inside & ((high - low).max(axis=1) > _SMALLEST_PX))
    sorts = np.array([figure.sorts_parts for figure in figures])[parts.owners[kept]]
    kept = kept[np.lexsort((np.where(sorts, -parts.depths[kept], 0.0), parts.owners[kept]))]
    points = fixed(parts.points)
    colours = np.clip(parts.colours, 0.0, 255.0).tolist()
    thickness = (
        np.where(parts.strokes_px > 0.0, np.maximum(np.rint(parts.strokes_px), 1), 0).astype(int).tolist()
    )
    begins, sizes, owners = starts.tolist(), parts.sizes.tolist(), parts.owners.tolist()
    roles = parts.roles.tolist()
    for index in kept.tolist():
        stroke = strokes[owners[index]]
        begin = begins[index]
        outline = points[begin : begin + sizes[index]]
        stroke.outlines.append(fixed(parts.cut[index]) if index in parts.cut else outline)
        stroke.colours.append(colours[index])
        stroke.thickness_px.append(thickness[index])
        stroke.roles.append(roles[index])
        if roles[index] == OWN:
            margin = 0.5 * thickness[index]
            stroke.low_px = np.minimum(stroke.low_px, low[index] - margin)
            stroke.high_px = np.maximum(stroke.high_px, high[index] + margin)


def strokes_of(figures: list[Figure], camera: Camera, light: Light, heading_rad: float) -> list[Strokes]:
    """Return the strokes of every figure.

    Args:
        figures: in any order.
        camera: that sees them.
        light: that falls on them.
        heading_rad: of the camera in the world, as the sun stands still there.
    """
    strokes = [Strokes() for _ in figures]
    sun = _local_sun(light, heading_rad)
    for parts in (_mesh_parts(figures, camera, light, sun), _limb_parts(figures, camera, light, sun)):
        if parts is not None:
            _hand_out(parts, figures, strokes, camera)
    return strokes
