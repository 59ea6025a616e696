# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Meshes in meters, of flat faces and capsules (limbs), for everything except ground and sky."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Point = tuple[float, float, float]
Color = tuple[float, float, float]
FaceColor = Color | float
"""A fixed color in BGR, or a factor on the object's own color."""

DECAL, LABELED, UNLABELED = 0, 1, 2
"""Role of a face in the ground truth: on a surface, of a labeled silhouette, or of an unlabeled solid."""


NORMAL, CENTER, COLOR = slice(0, 3), slice(3, 6), slice(6, 9)
BASE_SHARE, GLOW, ROLE, STROKE_M, EXTENT_M, TWO_SIDED, SIZE = range(9, 16)
"""Rows of Mesh.faces."""
LIMB_COLOR, LIMB_BASE_SHARE, LIMB_ROLE, LIMB_RADII_M, LIMB_ENDS_M = (
    slice(0, 3),
    3,
    4,
    slice(5, 7),
    slice(7, 13),
)
"""Rows of Limbs.table."""


@dataclass(frozen=True)
class Mesh:
    """Faces of one object in its own frame: x forward, y left, z up, origin on the ground below its middle.

    All face attributes are in one table, so that the meshes of an image are concatenated in one operation.

    Attributes:
        vertices: (3, V), face after face.
        faces: (16, P) in drawing order: NORMAL, outwards; CENTER; COLOR, BGR, black where the object's own
            is used; BASE_SHARE, factor on the object's own color; GLOW, 0 for faces lit by sun and sky, 1
            for emissive ones; ROLE, DECAL, LABELED or UNLABELED; STROKE_M, 0 for filled faces, else the
            thickness of the outline that is drawn instead; EXTENT_M, longest side of the bounding box;
            TWO_SIDED, 1 for faces visible from behind, too; SIZE, number of vertices.
    """

    vertices: Array
    faces: Array


@dataclass(frozen=True)
class Limbs:
    """Tapered capsules, each the hull of two spheres, in the frame of a mesh.

    Attributes:
        table: (13, C): LIMB_COLOR, BGR, black where the object's own is used; LIMB_BASE_SHARE, factor on
            the object's own color; LIMB_ROLE, DECAL, LABELED or UNLABELED; LIMB_RADII_M of the two spheres;
            LIMB_ENDS_M, their centers: x of both, y of both, z of both.
    """

    table: Array


def _split(face_colors: Sequence[FaceColor]) -> tuple[Array, Array]:
    """Return (N, 3) fixed colors and (N,) factors on the object's own color."""
    colors = np.array(
        [(0.0, 0.0, 0.0) if isinstance(color, float) else color for color in face_colors], np.float64
    )
    return colors, np.array([color if isinstance(color, float) else 0.0 for color in face_colors], np.float64)


@dataclass
class MeshBuilder:
    """Collects faces; they are drawn in the order in which they are added.

    Attributes:
        middle: a point inside; normals point away from it.
        role: of the faces added next.
    """

    middle: Point = (0.0, 0.0, 0.0)
    role: int = LABELED
    _faces: list[Array] = field(default_factory=list)
    _normals: list[Array] = field(default_factory=list)
    _colors: list[FaceColor] = field(default_factory=list)
    _rest: list[tuple[float, int, float, bool]] = field(default_factory=list)

    def face(
        self,
        points: Sequence[Point] | Array,
        color: FaceColor,
        *,
        glow: float = 0.0,
        role: int | None = None,
        stroke_m: float = 0.0,
        two_sided: bool = False,
    ) -> None:
        """Add a flat convex face of three or more points, in order around it."""
        vertices = np.asarray(points, np.float64)
        # Newell's method: valid for every flat polygon, also where its first corners are collinear.
        following = np.roll(vertices, -1, axis=0)
        normal = np.cross(vertices, following).sum(axis=0)
        normal = normal / max(float(np.linalg.norm(normal)), 1e-12)
        if float(normal @ (vertices.mean(axis=0) - np.asarray(self.middle))) < 0.0:
            normal = -normal
        self._faces.append(vertices)
        self._normals.append(normal)
        self._colors.append(color)
        self._rest.append((glow, self.role if role is None else role, stroke_m, two_sided))

    def decal(self, points: Sequence[Point] | Array, color: FaceColor, *, glow: float = 0.0) -> None:
        """Add a face that lies on another one and does not extend the silhouette."""
        self.face(points, color, glow=glow, role=DECAL)

    def box(self, low: Point, high: Point, color: FaceColor) -> None:
        """Add an upright box without its underside."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        kept, self.middle = self.middle, ((x0 + x1) / 2, (y0 + y1) / 2, (z0 + z1) / 2)
        for x in (x0, x1):
            self.face([(x, y0, z0), (x, y1, z0), (x, y1, z1), (x, y0, z1)], color)
        for y in (y0, y1):
            self.face([(x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1)], color)
        self.face([(x0, y0, z1), (x0, y1, z1), (x1, y1, z1), (x1, y0, z1)], color)
        self.middle = kept

    def prism(
        self, profile: Sequence[tuple[float, float]], half: float, color: FaceColor, side: FaceColor
    ) -> None:
        """Extrude a convex side view, points of x and z, across from -half to half.

        Args:
            profile: in order around it.
            half: half of the width.
            color: of the faces between the sides.
            side: color of the two sides.
        """
        kept = self.middle
        self.middle = (
            sum(x for x, _ in profile) / len(profile),
            0.0,
            sum(z for _, z in profile) / len(profile),
        )
        for (x0, z0), (x1, z1) in zip(profile, [*profile[1:], profile[0]], strict=True):
            self.face([(x0, -half, z0), (x0, half, z0), (x1, half, z1), (x1, -half, z1)], color)
        for y in (-half, half):
            self.face([(x, y, z) for x, z in profile], side)
        self.middle = kept

    def disc(
        self,
        middle: Point,
        radius_m: float,
        color: FaceColor,
        *,
        along: str = "y",
        corners: int = 14,
        role: int | None = None,
        glow: float = 0.0,
        stroke_m: float = 0.0,
        two_sided: bool = False,
    ) -> None:
        """Add a disc, or a ring where stroke_m is given, whose axis is x or y."""
        turn = np.arange(corners) * (2.0 * np.pi / corners)
        points = np.tile(np.asarray(middle, np.float64), (corners, 1))
        points[:, 0 if along == "y" else 1] += radius_m * np.cos(turn)
        points[:, 2] += radius_m * np.sin(turn)
        self.face(points, color, role=role, glow=glow, stroke_m=stroke_m, two_sided=two_sided)

    def mesh(self) -> Mesh:
        """Return the mesh of all added faces."""
        colors, base_share = _split(self._colors)
        centers = np.stack([face.mean(axis=0) for face in self._faces])
        extents = [float(np.ptp(face, axis=0).max()) for face in self._faces]
        glow, roles, strokes, two_sided = np.array(self._rest, np.float64).T
        sizes = [float(len(face)) for face in self._faces]
        columns = (
            np.stack(self._normals),
            centers,
            colors,
            base_share,
            glow,
            roles,
            strokes,
            extents,
            two_sided,
            sizes,
        )
        return Mesh(np.concatenate(self._faces).T.copy(), np.column_stack(columns).T.copy())


Part = tuple[Point, Point, float, float, FaceColor]
"""A limb: first end, second end, radius at the first, radius at the second, color."""


def limbs(parts: Sequence[Part], role: int = LABELED) -> Limbs:
    """Return limbs of parts."""
    colors, base_share = _split([color for *_, color in parts])
    ends = np.array([(first, second) for first, second, _, _, _ in parts], np.float64)
    radii = np.array([(one, two) for _, _, one, two, _ in parts], np.float64)
    roles = np.full(len(parts), role)
    flat_ends = ends.transpose(0, 2, 1).reshape(-1, 6)
    return Limbs(np.column_stack([colors, base_share, roles, radii, flat_ends]).T.copy())


def rectangle_across(x: float, right: float, left: float, low: float, high: float) -> list[Point]:
    """Return an upright rectangle that faces forward or back."""
    return [(x, right, low), (x, left, low), (x, left, high), (x, right, high)]


def rectangle_along(y: float, rear: float, front: float, low: float, high: float) -> list[Point]:
    """Return an upright rectangle that faces to a side."""
    return [(rear, y, low), (front, y, low), (front, y, high), (rear, y, high)]
