# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Vectorized projection, lighting, haze and rasterization of the polygons of all scene objects."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.renderer.framebuffer import (
    SHIFT,
    UNLABELED_ID,
    Framebuffer,
    Outline,
    clip_near,
    fixed,
)
from ad_road_simulation.renderer.lighting import Light
from ad_road_simulation.renderer.meshes import (
    BASE_SHARE,
    CENTER,
    COLOR,
    DECAL,
    EXTENT_M,
    GLOW,
    LABELED,
    LIMB_BASE_SHARE,
    LIMB_COLOR,
    LIMB_ENDS_M,
    LIMB_RADII_M,
    LIMB_ROLE,
    NORMAL,
    ROLE,
    SIZE,
    STROKE_M,
    TWO_SIDED,
)
from ad_road_simulation.renderer.sprites import SceneObject
from ad_road_simulation.world.camera import NEAR_M, Camera

Array = NDArray[np.float64]

_HALF_TURN = np.linspace(-np.pi / 2, np.pi / 2, 6)
# Smaller faces are omitted, and thinner limbs that belong to a labeled silhouette.
_SMALLEST_PX, _SMALLEST_DECAL_PX, _THINNEST_PX = 0.9, 2.5, 0.4


@dataclass(slots=True)
class RasterPolygons:
    """Polygons of one scene object in the image, in drawing order.

    Attributes:
        polygons: vertices, color, thickness in pixels (0 for filled ones) and role of each.
        left_px, top_px, right_px, foot_px: bounds of the LABELED ones, not clipped to the image.
    """

    polygons: list[tuple[Outline, tuple[float, ...], int, int]] = field(default_factory=list)
    left_px: float = np.inf
    top_px: float = np.inf
    right_px: float = -np.inf
    foot_px: float = -np.inf

    def draw(self, framebuffer: Framebuffer, own_id: int, with_ids: bool) -> None:
        """Draw them into the image, and all but decals into the ids."""
        image, ids, smooth, hard = framebuffer.image, framebuffer.ids, cv2.LINE_AA, cv2.LINE_8
        fill, line = cv2.fillConvexPoly, cv2.polylines
        for outline, color, thickness, role in self.polygons:
            if thickness == 0:
                fill(image, outline, color, smooth, SHIFT)
            else:
                line(image, [outline], True, color, thickness, smooth, SHIFT)
            if with_ids and role != DECAL:
                value = own_id if role == LABELED else UNLABELED_ID
                if thickness == 0:
                    fill(ids, outline, value, hard, SHIFT)
                else:
                    line(ids, [outline], True, value, thickness, hard, SHIFT)


@dataclass
class _Parts:
    """Polygons of many scene objects, before they are assigned to each.

    Attributes:
        owners: (P,) indices of objects.
        points: (2, V) columns and rows in pixels, polygon after polygon.
        sizes: (P,) vertices of each.
        colors: (3, P) in the image.
        strokes_px: (P,) thickness, 0 for filled ones.
        roles: (P,) as in meshes.
        layers: (P,) lower layers of an object are drawn first.
        depths: (P,) sort key.
        cut: (2, N) pixels of polygons clipped at the near plane, by their index.
    """

    owners: NDArray[np.int64]
    points: Array
    sizes: NDArray[np.int64]
    colors: Array
    strokes_px: Array
    roles: Array
    layers: NDArray[np.int64]
    depths: Array
    cut: dict[int, Array]


def _joined(faces: _Parts, limbs: _Parts) -> _Parts:
    """Return both concatenated; limbs are not clipped at the near plane."""
    return _Parts(
        owners=np.concatenate([faces.owners, limbs.owners]),
        points=np.concatenate([faces.points, limbs.points], axis=1),
        sizes=np.concatenate([faces.sizes, limbs.sizes]),
        colors=np.concatenate([faces.colors, limbs.colors], axis=1),
        strokes_px=np.concatenate([faces.strokes_px, limbs.strokes_px]),
        roles=np.concatenate([faces.roles, limbs.roles]),
        layers=np.concatenate([faces.layers, limbs.layers]),
        depths=np.concatenate([faces.depths, limbs.depths]),
        cut=faces.cut,
    )


_FORWARD, _LEFT, _COS, _SIN, _STRETCH, _COLOR = 0, 1, 2, 3, slice(4, 7), slice(7, 10)
"""Rows of the objects' frames."""


def _frames_of(objects: list[SceneObject]) -> Array:
    """Return the (10, F) frames of objects: position, rotation, stretch and color."""
    rows = [
        (f.pose.forward_m, f.pose.left_m, f.pose.yaw_rad, f.pose.yaw_rad, *f.stretch, *f.color)
        for f in objects
    ]
    frames = np.array(rows).T.copy()
    np.cos(frames[_COS], out=frames[_COS])
    np.sin(frames[_SIN], out=frames[_SIN])
    return frames


def _rotated(frames: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """Rotate coordinates from (10, N) object frames to base_link's axes."""
    cos, sin = frames[_COS], frames[_SIN]
    return cos * x - sin * y, sin * x + cos * y


def _to_camera(frames: Array, points: Array, camera: Camera) -> tuple[Array, Array, Array]:
    """Transform (3, N) points of (10, N) object frames to forward, left and up from the camera."""
    x, y, z = points * frames[_STRETCH]
    x, y = _rotated(frames, x, y)
    x += frames[_FORWARD]
    y += frames[_LEFT]
    z -= camera.z_m
    return x, y, z


def _owners_of(tables: list[tuple[int, Array]]) -> NDArray[np.int64]:
    """Return the owner of each column of the concatenated tables, given the tables' owners."""
    return np.repeat([index for index, _ in tables], [table.shape[1] for _, table in tables])


def _mesh_parts(
    objects: list[SceneObject], all_frames: Array, camera: Camera, light: Light, sun: Array
) -> _Parts | None:
    meshes = [item.mesh for item in objects if item.mesh is not None]
    if not meshes:
        return None
    owner = _owners_of([(index, f.mesh.faces) for index, f in enumerate(objects) if f.mesh is not None])
    faces, frames = np.concatenate([mesh.faces for mesh in meshes], axis=1), all_frames.take(owner, axis=1)
    # Outward normals, centers of the faces and their distances.
    where = np.empty((7, len(owner)))
    # Normals transform by the inverse of the stretch.
    outward = faces[NORMAL] / frames[_STRETCH]
    where[0], where[1] = _rotated(frames, outward[0], outward[1])
    where[2] = outward[2]
    where[3], where[4], where[5] = _to_camera(frames, faces[CENTER], camera)
    nx, ny, nz, x, y, z, distance = where
    np.sqrt(x * x + y * y + z * z, out=distance)
    facing = nx * x + ny * y + nz * z
    # Emissive faces are drawn even where they are small.
    least_px = np.where((faces[ROLE] == DECAL) & (faces[GLOW] < 0.5), _SMALLEST_DECAL_PX, _SMALLEST_PX)
    seen = (facing < 0.0) | (faces[TWO_SIDED] > 0.0)
    seen &= faces[EXTENT_M] * camera.focal_px / np.maximum(distance, 0.5) > least_px
    vertices = np.concatenate([mesh.vertices for mesh in meshes], axis=1)
    vertices = vertices[:, np.repeat(seen, faces[SIZE].astype(np.int64))]
    kept = np.flatnonzero(seen)
    faces, where, color = (table.take(kept, axis=1) for table in (faces, where, frames[_COLOR]))
    owner, sizes = owner[kept], faces[SIZE].astype(np.int64)
    normals, distance = where[:3], where[6]
    length = np.sqrt((normals * normals).sum(axis=0) + 1e-12)
    # Two-sided faces may face away.
    normals /= np.where(facing[kept] < 0.0, length, -length)

    in_camera = _to_camera(all_frames.take(np.repeat(owner, sizes), axis=1), vertices, camera)
    points, cut = _projected(camera.to_optical(*in_camera), sizes, camera)
    glow = faces[GLOW]
    gains = light.shade(normals.T, sun).T
    if light.night > 0.0:
        gains += light.headlights(where[3:6].T)
    gains += (1.0 - gains) * glow
    haze = light.haze_share(distance) * (1.0 - 0.5 * glow)
    own = faces[COLOR] + faces[BASE_SHARE] * color
    return _Parts(
        owners=owner,
        points=points,
        sizes=sizes,
        colors=own * gains * (1.0 - haze) + light.haze[:, None] * haze,
        strokes_px=faces[STROKE_M] * camera.focal_px / np.maximum(distance, 0.5),
        roles=faces[ROLE],
        layers=np.ones(len(owner), np.int64),
        depths=distance,
        cut=cut,
    )


def _projected(
    optical: tuple[Array, Array, Array], sizes: NDArray[np.int64], camera: Camera
) -> tuple[Array, dict[int, Array]]:
    """Return pixels of all vertices, and of the polygons clipped at the near plane."""
    right, down, depth = optical
    cut: dict[int, Array] = {}
    behind = depth < NEAR_M
    if behind.any():
        starts = np.cumsum(sizes) - sizes
        for index in np.flatnonzero(np.logical_or.reduceat(behind, starts)).tolist():
            own = slice(starts[index], starts[index] + sizes[index])
            corners = zip(right[own].tolist(), down[own].tolist(), depth[own].tolist(), strict=True)
            cut[index] = np.array([camera.pixels(*corner) for corner in clip_near(list(corners))]).T
        depth = np.maximum(depth, NEAR_M)
    return np.stack(camera.pixels(right, down, depth)), cut


def _limb_parts(
    objects: list[SceneObject], all_frames: Array, camera: Camera, light: Light, sun: Array
) -> _Parts | None:
    drawn = [(index, f.limbs.table) for index, f in enumerate(objects) if f.limbs is not None]
    if not drawn:
        return None
    owner = _owners_of(drawn)
    limbs, frames = np.concatenate([table for _, table in drawn], axis=1), all_frames.take(owner, axis=1)
    # One row for each end.
    ends = limbs[LIMB_ENDS_M].reshape(3, 2, -1)
    in_camera = _to_camera(frames[:, None], ends, camera)
    right, down, depth = camera.to_optical(*in_camera)
    radii, roles = limbs[LIMB_RADII_M] * frames[6], limbs[LIMB_ROLE]
    kept = (depth > NEAR_M + radii).all(axis=0)
    kept &= (radii.max(axis=0) * camera.focal_px > _THINNEST_PX * depth[0]) | (roles != LABELED)
    chosen = np.flatnonzero(kept)
    if not len(chosen):
        return None
    limbs, color, radii, right, down, depth = (
        table.take(chosen, axis=1) for table in (limbs, frames[_COLOR], radii, right, down, depth)
    )
    owner = owner[chosen]
    column, row = camera.pixels(right, down, depth)
    size = radii * camera.focal_px / depth
    # Two half circles, each facing away from the other end.
    angle = np.arctan2(row[1] - row[0], column[1] - column[0])[:, None]
    around = np.concatenate([angle + np.pi + _HALF_TURN, angle + _HALF_TURN], axis=1)
    half = len(_HALF_TURN)
    column, row, size = (np.repeat(table.T, half, axis=1) for table in (column, row, size))
    points = np.stack([column + size * np.cos(around), row + size * np.sin(around)])
    # A limb is lit like a face whose normal is halfway between up and the camera.
    gains = light.shade(np.array([[-0.75, 0.0, 0.66]]), sun).T
    distance = depth.mean(axis=0)
    haze = light.haze_share(distance)
    own = limbs[LIMB_COLOR] + limbs[LIMB_BASE_SHARE] * color
    return _Parts(
        owners=owner,
        points=points.reshape(2, -1),
        sizes=np.full(len(owner), 2 * half),
        colors=own * gains * (1.0 - haze) + light.haze[:, None] * haze,
        strokes_px=np.zeros(len(owner)),
        roles=limbs[LIMB_ROLE],
        layers=np.array([0 if item.limbs_first else 2 for item in objects])[owner],
        depths=distance,
        cut={},
    )


def _assign_polygons(
    parts: _Parts, objects: list[SceneObject], rasters: list[RasterPolygons], camera: Camera
) -> None:
    """Assign the polygons that are large enough and in the image to their objects, in drawing order."""
    starts = np.cumsum(parts.sizes) - parts.sizes
    low = np.minimum.reduceat(parts.points, starts, axis=1)
    high = np.maximum.reduceat(parts.points, starts, axis=1)
    for index, points in parts.cut.items():
        low[:, index] = points.min(axis=-1, initial=np.inf)
        high[:, index] = points.max(axis=-1, initial=-np.inf)
    kept = (low[0] < camera.width_px) & (low[1] < camera.height_px) & (high[0] > -1.0) & (high[1] > -1.0)
    wide, tall = high - low
    kept &= np.maximum(wide, tall) > np.where(parts.roles == DECAL, 1.2, 0.7)
    chosen = np.flatnonzero(kept)
    if not len(chosen):
        return
    owners = parts.owners[chosen]
    nearness = np.where(np.array([item.depth_sorted for item in objects])[owners], -parts.depths[chosen], 0.0)
    chosen = chosen[np.lexsort((nearness, parts.layers[chosen], owners))]
    vertices = np.ascontiguousarray(fixed(parts.points).T)
    begins, owners, strokes_px = starts[chosen], parts.owners[chosen], parts.strokes_px[chosen]
    roles = parts.roles[chosen].astype(np.int64)
    thickness = np.where(strokes_px > 0.0, np.maximum(np.rint(strokes_px), 1), 0).astype(np.int64)
    ends = (begins + parts.sizes[chosen]).tolist()
    outlines = [vertices[begin:end] for begin, end in zip(begins.tolist(), ends, strict=True)]
    if parts.cut:
        outlines = [
            np.ascontiguousarray(fixed(parts.cut[index]).T) if index in parts.cut else outline
            for index, outline in zip(chosen.tolist(), outlines, strict=True)
        ]
    colors = zip(*parts.colors.take(chosen, axis=1).clip(0.0, 255.0).tolist(), strict=True)
    polygons = list(zip(outlines, colors, thickness.tolist(), roles.tolist(), strict=True))
    firsts = _firsts(owners)
    bounds = [*firsts.tolist(), len(polygons)]
    for owner, first, last in zip(owners[firsts].tolist(), bounds[:-1], bounds[1:], strict=True):
        rasters[owner].polygons = polygons[first:last]
    own = np.flatnonzero(roles == LABELED)
    if len(own):
        margin = 0.5 * thickness[own]
        _set_bounds(rasters, owners[own], low[:, chosen[own]] - margin, high[:, chosen[own]] + margin)


def _firsts(owners: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first index of each owner in sorted, nonempty owners."""
    return np.concatenate([[0], np.flatnonzero(owners[1:] != owners[:-1]) + 1])


def _set_bounds(rasters: list[RasterPolygons], owners: NDArray[np.int64], low: Array, high: Array) -> None:
    """Set the owners' bounds from (2, P) corners of polygons, sorted by owner."""
    firsts = _firsts(owners)
    lefts, tops = np.minimum.reduceat(low, firsts, axis=1).tolist()
    rights, feet = np.maximum.reduceat(high, firsts, axis=1).tolist()
    for owner, left, top, right, foot in zip(owners[firsts].tolist(), lefts, tops, rights, feet, strict=True):
        raster = rasters[owner]
        raster.left_px, raster.top_px, raster.right_px, raster.foot_px = left, top, right, foot


def project_polygons(
    objects: list[SceneObject], camera: Camera, light: Light, sun: Array
) -> list[RasterPolygons]:
    """Return the polygons of every scene object in the image.

    Args:
        objects: in any order.
        camera: of the image.
        light: of the weather.
        sun: (3,) direction to it along base_link's axes.
    """
    rasters = [RasterPolygons() for _ in objects]
    frames = _frames_of(objects)
    made = (
        _mesh_parts(objects, frames, camera, light, sun),
        _limb_parts(objects, frames, camera, light, sun),
    )
    parts = [some for some in made if some is not None and len(some.sizes)]
    if parts:
        _assign_polygons(parts[0] if len(parts) == 1 else _joined(*parts), objects, rasters, camera)
    return rasters
