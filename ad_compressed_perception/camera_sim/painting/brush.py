# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""All shapes of all figures at once: projected, lit, faded by the haze, and cut into brush strokes."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.camera_sim.camera import NEAR_M, Camera
from ad_compressed_perception.camera_sim.painting.canvas import PROP, SHIFT, Canvas, Outline, clip_near, fixed
from ad_compressed_perception.camera_sim.painting.figures import Figure
from ad_compressed_perception.camera_sim.painting.light import Light
from ad_compressed_perception.camera_sim.painting.shapes import OWN, PAINT

Array = NDArray[np.float64]

_HALF_TURN = np.linspace(-np.pi / 2, np.pi / 2, 6)
# Smaller faces are left out, and limbs thinner than this that belong to somebody's silhouette.
_SMALLEST_PX, _SMALLEST_PAINT_PX, _THINNEST_PX = 0.9, 2.5, 0.4


@dataclass
class Strokes:
    """Polygons of one figure in the picture, in painting order.

    Attributes:
        polygons: vertices, colour, thickness in pixels (0 for filled ones) and role of each.
        left_px, top_px, right_px, foot_px: around the OWN ones, not clipped to the picture.
    """

    polygons: list[tuple[Outline, list[float], int, int]] = field(default_factory=list)
    left_px: float = np.inf
    top_px: float = np.inf
    right_px: float = -np.inf
    foot_px: float = -np.inf

    def paint(self, canvas: Canvas, own_id: int, with_ids: bool) -> None:
        """Paint them, and the silhouettes among them into the ids."""
        image, ids = canvas.image, canvas.ids
        for outline, colour, thickness, role in self.polygons:
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
    """Polygons of many figures, before they are handed to each.

    Attributes:
        owners: (P,) indices of figures.
        points: (V, 2) pixels, polygon after polygon.
        sizes: (P,) vertices of each.
        colours: (P, 3) as they appear.
        strokes_px: (P,) thickness, 0 for filled ones.
        roles: (P,) as in shapes.
        depths: (P,) to sort by.
        cut: pixels of polygons that the near plane cuts.
    """

    owners: NDArray[np.int64]
    points: Array
    sizes: NDArray[np.int64]
    colours: Array
    strokes_px: Array
    roles: NDArray[np.uint8]
    depths: Array
    cut: dict[int, Array]


class _Frames:
    """Frames of some figures: from their own coordinates to the camera's."""

    def __init__(self, figures: list[Figure], counts: list[int], camera: Camera) -> None:
        """Gather the figures' places; ``counts`` says how many shapes each has."""
        places = [figure.place for figure in figures]
        table = np.array(
            [(p.forward_m, p.left_m, p.turn_rad, *f.stretch) for p, f in zip(places, figures, strict=True)]
        )
        self.owner = np.repeat(np.arange(len(figures)), counts)
        self._place, self.stretch = table[:, :2], table[:, 3:]
        self._cos, self._sin = np.cos(table[:, 2]), np.sin(table[:, 2])
        self._up_m = camera.z_m
        self.colours = np.array([figure.colour for figure in figures])

    def turned(self, vectors: Array, owner: NDArray[np.int64]) -> Array:
        """Return (N, 3) directions along base_link's axes."""
        cos, sin = self._cos[owner], self._sin[owner]
        x, y = vectors[:, 0], vectors[:, 1]
        return np.stack([cos * x - sin * y, sin * x + cos * y, vectors[:, 2]], axis=-1)

    def placed(self, points: Array, owner: NDArray[np.int64]) -> Array:
        """Return (N, 3) forward, left and up from the camera."""
        moved = self.turned(points * self.stretch[owner], owner)
        moved[:, :2] += self._place[owner]
        moved[:, 2] -= self._up_m
        return moved


def _mesh_parts(figures: list[Figure], camera: Camera, light: Light, sun: Array) -> _Parts | None:
    drawn = [(index, figure, figure.mesh) for index, figure in enumerate(figures) if figure.mesh is not None]
    if not drawn:
        return None
    meshes = [mesh for _, _, mesh in drawn]
    frames = _Frames([figure for _, figure, _ in drawn], [len(mesh.sizes) for mesh in meshes], camera)
    owner = frames.owner
    # A stretched plane's normal is stretched the other way.
    outward = frames.turned(np.concatenate([mesh.normals for mesh in meshes]) / frames.stretch[owner], owner)
    outward /= np.sqrt((outward * outward).sum(axis=1) + 1e-12)[:, None]
    middle = frames.placed(np.concatenate([mesh.centres for mesh in meshes]), owner)
    towards = (outward * middle).sum(axis=1) < 0.0
    seen = towards | np.concatenate([mesh.two_sided for mesh in meshes])
    distance = np.sqrt((middle * middle).sum(axis=1))
    roles = np.concatenate([mesh.roles for mesh in meshes])
    extents_px = (
        np.concatenate([mesh.extents_m for mesh in meshes]) * camera.focal_px / np.maximum(distance, 0.5)
    )
    glow = np.concatenate([mesh.glow for mesh in meshes])
    # What shines is seen even where it is small.
    seen &= extents_px > np.where((roles == PAINT) & (glow < 0.5), _SMALLEST_PAINT_PX, _SMALLEST_PX)
    sizes = np.concatenate([mesh.sizes for mesh in meshes])
    vertices = np.concatenate([mesh.vertices for mesh in meshes])[np.repeat(seen, sizes)]
    towards, outward, middle, distance = towards[seen], outward[seen], middle[seen], distance[seen]
    owner, sizes = owner[seen], sizes[seen]
    outward = np.where(towards[:, None], outward, -outward)

    placed = frames.placed(vertices, np.repeat(owner, sizes))
    optical = np.stack(camera.to_optical(placed[:, 0], placed[:, 1], placed[:, 2]), axis=-1)
    colours = np.concatenate([mesh.colours for mesh in meshes])[seen]
    colours = (
        colours + np.concatenate([mesh.own_share for mesh in meshes])[seen, None] * frames.colours[owner]
    )
    glow = glow[seen]
    gains = light.shade(outward, sun)
    gains += light.headlights(middle)[:, None]
    gains += (1.0 - gains) * glow[:, None]
    haze = (light.haze_share(distance) * (1.0 - 0.5 * glow))[:, None]
    points, cut = _flattened(optical, sizes, camera)
    strokes = np.concatenate([mesh.strokes_m for mesh in meshes])[seen]
    return _Parts(
        owners=np.array([index for index, _, _ in drawn])[owner],
        points=points,
        sizes=sizes,
        colours=colours * gains * (1.0 - haze) + light.haze * haze,
        strokes_px=strokes * camera.focal_px / np.maximum(distance, 0.5),
        roles=roles[seen],
        depths=distance,
        cut=cut,
    )


def _flattened(optical: Array, sizes: NDArray[np.int64], camera: Camera) -> tuple[Array, dict[int, Array]]:
    """Return pixels of all vertices, and those of the polygons that the near plane cuts."""
    column, row = camera.pixels(optical[:, 0], optical[:, 1], np.maximum(optical[:, 2], NEAR_M))
    cut: dict[int, Array] = {}
    behind = optical[:, 2] < NEAR_M
    if behind.any():
        starts = np.cumsum(sizes) - sizes
        for index in np.flatnonzero(np.add.reduceat(behind, starts)).tolist():
            rest = clip_near(optical[starts[index] : starts[index] + sizes[index]])
            across, down = camera.pixels(rest[:, 0], rest[:, 1], rest[:, 2])
            cut[index] = np.stack([across, down], axis=-1)
    return np.stack([column, row], axis=-1), cut


def _limb_parts(figures: list[Figure], camera: Camera, light: Light, sun: Array) -> _Parts | None:
    drawn = [
        (index, figure, figure.limbs) for index, figure in enumerate(figures) if figure.limbs is not None
    ]
    if not drawn:
        return None
    bodies = [body for _, _, body in drawn]
    frames = _Frames([figure for _, figure, _ in drawn], [len(body.roles) for body in bodies], camera)
    owner = frames.owner
    ends = np.concatenate([body.ends_m for body in bodies]).reshape(-1, 3)
    placed = frames.placed(ends, np.repeat(owner, 2))
    right, down, depth = camera.to_optical(*(placed[:, axis].reshape(-1, 2) for axis in range(3)))
    radii = np.concatenate([body.radii_m for body in bodies]) * frames.stretch[owner, 2:]
    roles = np.concatenate([body.roles for body in bodies])
    kept = (depth > NEAR_M + radii).all(axis=1)
    kept &= (radii.max(axis=1) * camera.focal_px > _THINNEST_PX * depth[:, 0]) | (roles != OWN)
    if not kept.any():
        return None
    owner, depth, radii = owner[kept], depth[kept], radii[kept]
    column, row = camera.pixels(right[kept], down[kept], depth)
    size = radii * camera.focal_px / depth
    # Two half circles, each turned away from the other end.
    angle = np.arctan2(row[:, 1] - row[:, 0], column[:, 1] - column[:, 0])[:, None]
    around = np.concatenate([angle + np.pi + _HALF_TURN, angle + _HALF_TURN], axis=1)
    half = len(_HALF_TURN)
    points = np.stack(
        [
            np.repeat(column, half, axis=1) + np.repeat(size, half, axis=1) * np.cos(around),
            np.repeat(row, half, axis=1) + np.repeat(size, half, axis=1) * np.sin(around),
        ],
        axis=-1,
    )
    # A limb is lit like a face that looks half up and half at the camera.
    gains = light.shade(np.array([[-0.75, 0.0, 0.66]]), sun)
    distance = depth.mean(axis=1)
    haze = light.haze_share(distance)[:, None]
    colours = np.concatenate([body.colours for body in bodies])[kept]
    colours = (
        colours + np.concatenate([body.own_share for body in bodies])[kept, None] * frames.colours[owner]
    )
    return _Parts(
        owners=np.array([index for index, _, _ in drawn])[owner],
        points=points.reshape(-1, 2),
        sizes=np.full(len(owner), 2 * half),
        colours=colours * gains * (1.0 - haze) + light.haze * haze,
        strokes_px=np.zeros(len(owner)),
        roles=roles[kept],
        depths=distance,
        cut={},
    )


def _hand_out(parts: _Parts, figures: list[Figure], strokes: list[Strokes], camera: Camera) -> None:
    """Give the polygons that are large enough and in the picture to their figures, in painting order."""
    if not len(parts.sizes):
        return
    starts = np.cumsum(parts.sizes) - parts.sizes
    low, high = np.minimum.reduceat(parts.points, starts), np.maximum.reduceat(parts.points, starts)
    for index, points in parts.cut.items():
        low[index] = points.min(axis=0) if len(points) else np.inf
        high[index] = points.max(axis=0) if len(points) else -np.inf
    kept = (low < [camera.width_px, camera.height_px]).all(axis=1) & (high > -1.0).all(axis=1)
    extent = high - low
    kept &= extent.max(axis=1) > np.where(parts.roles == PAINT, 1.2, 0.7)
    chosen = np.flatnonzero(kept)
    if not len(chosen):
        return
    sorts = np.array([figure.sorts_parts for figure in figures])[parts.owners[chosen]]
    if sorts.any():
        chosen = chosen[np.lexsort((np.where(sorts, -parts.depths[chosen], 0.0), parts.owners[chosen]))]
    vertices = fixed(parts.points)
    thickness = np.where(parts.strokes_px > 0.0, np.maximum(np.rint(parts.strokes_px), 1), 0)[chosen]
    begins, owners = starts[chosen], parts.owners[chosen]
    ends = (begins + parts.sizes[chosen]).tolist()
    outlines = [vertices[begin:end] for begin, end in zip(begins.tolist(), ends, strict=True)]
    if parts.cut:
        outlines = [
            fixed(parts.cut[index]) if index in parts.cut else outline
            for index, outline in zip(chosen.tolist(), outlines, strict=True)
        ]
    colours = np.clip(parts.colours[chosen], 0.0, 255.0).tolist()
    roles = parts.roles[chosen]
    polygons = list(zip(outlines, colours, thickness.astype(np.int64).tolist(), roles.tolist(), strict=True))
    firsts = np.flatnonzero(np.diff(owners, prepend=-1)).tolist()
    for first, last in zip(firsts, [*firsts[1:], len(polygons)], strict=True):
        strokes[int(owners[first])].polygons += polygons[first:last]
    own = roles == OWN
    if own.any():
        margin = 0.5 * thickness[own, None]
        _widen(strokes, owners[own], low[chosen[own]] - margin, high[chosen[own]] + margin)


def _widen(strokes: list[Strokes], owners: NDArray[np.int64], low: Array, high: Array) -> None:
    """Take polygons, sorted by their owners, into the owners' rectangles."""
    firsts = np.flatnonzero(np.diff(owners, prepend=-1))
    least, most = np.minimum.reduceat(low, firsts).tolist(), np.maximum.reduceat(high, firsts).tolist()
    for owner, (left, top), (right, foot) in zip(owners[firsts].tolist(), least, most, strict=True):
        stroke = strokes[owner]
        stroke.left_px, stroke.top_px = min(stroke.left_px, left), min(stroke.top_px, top)
        stroke.right_px, stroke.foot_px = max(stroke.right_px, right), max(stroke.foot_px, foot)


def strokes_of(figures: list[Figure], camera: Camera, light: Light, sun: Array) -> list[Strokes]:
    """Return the strokes of every figure.

    Args:
        figures: in any order.
        camera: that sees them.
        light: that falls on them.
        sun: (3,) direction to it along base_link's axes.
    """
    strokes = [Strokes() for _ in figures]
    behind = [Strokes() for _ in figures]
    parts = _mesh_parts(figures, camera, light, sun)
    if parts is not None:
        _hand_out(parts, figures, strokes, camera)
    parts = _limb_parts(figures, camera, light, sun)
    if parts is not None:
        chosen = [
            back if f.paints_limbs_first else own
            for f, back, own in zip(figures, behind, strokes, strict=True)
        ]
        _hand_out(parts, figures, chosen, camera)
    for own, back in zip(strokes, behind, strict=True):
        own.polygons[:0] = back.polygons
    return strokes
