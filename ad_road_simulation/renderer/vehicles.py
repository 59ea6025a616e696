# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Car meshes, and parts common to all vehicles: wheels, colors and lamps.

Meshes are built for a few sizes only and stretched to the requested size; the vehicle's color is
applied later.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ad_road_simulation.renderer.meshes import (
    DECAL,
    Color,
    FaceColor,
    Mesh,
    MeshBuilder,
    Point,
    rectangle_across,
    rectangle_along,
)

BODY: FaceColor = 1.0
TIRE: Color = (32.0, 31.0, 30.0)
RIM: Color = (150.0, 148.0, 145.0)
UNDER: Color = (20.0, 20.0, 20.0)
GLASS: Color = (78.0, 66.0, 54.0)
SCREEN: Color = (122.0, 106.0, 88.0)
PLASTIC: Color = (44.0, 42.0, 40.0)
PLATE: Color = (222.0, 226.0, 228.0)

# Side views from the bottom of the rear bumper over the top to that of the front one, in shares of length
# and height: the body below the windows, and the cabin (rear bottom, rear top, front top, front bottom).
_BODIES = (
    (
        [
            *((-0.49, 0.20), (-0.50, 0.42), (-0.485, 0.63), (-0.30, 0.66)),
            *((0.22, 0.64), (0.43, 0.55), (0.49, 0.42), (0.495, 0.20)),
        ],
        [(-0.40, 0.64), (-0.24, 0.985), (0.04, 0.985), (0.24, 0.635)],
    ),
    (
        [
            *((-0.49, 0.19), (-0.50, 0.40), (-0.49, 0.60), (-0.40, 0.63)),
            *((0.26, 0.62), (0.44, 0.54), (0.49, 0.40), (0.495, 0.19)),
        ],
        [(-0.485, 0.60), (-0.40, 0.985), (0.06, 0.985), (0.30, 0.61)],
    ),
    (
        [
            *((-0.49, 0.20), (-0.50, 0.40), (-0.495, 0.60), (-0.40, 0.63)),
            *((0.24, 0.63), (0.45, 0.58), (0.49, 0.44), (0.495, 0.20)),
        ],
        [(-0.49, 0.60), (-0.44, 0.985), (0.04, 0.985), (0.23, 0.62)],
    ),
)


@dataclass(frozen=True)
class Lit:
    """Which lamps of a vehicle are lit.

    Attributes:
        is_braking: the brake lights.
        night: head and tail lights.
    """

    is_braking: bool
    night: bool

    @property
    def rear(self) -> tuple[Color, float]:
        """Color and glow of the rear lamps."""
        if self.is_braking:
            return (70.0, 60.0, 255.0), 1.0
        return ((40.0, 34.0, 200.0), 0.8) if self.night else ((30.0, 26.0, 150.0), 0.15)

    @property
    def front(self) -> tuple[Color, float]:
        """Color and glow of the headlights."""
        return ((235.0, 250.0, 255.0), 1.0) if self.night else ((232.0, 236.0, 238.0), 0.2)


def add_tires(build: MeshBuilder, at_m: list[float], radius_m: float, half_m: float, inner_m: float) -> None:
    """Add the fronts and backs of the tires, which are visible below the bumpers."""
    for x in at_m:
        for side in (-1.0, 1.0):
            low, high = sorted((side * inner_m, side * half_m))
            build.box((x - radius_m * 0.3, low, 0.0), (x + radius_m * 0.3, high, radius_m * 1.4), TIRE)


def add_wheels(build: MeshBuilder, at_m: list[float], radius_m: float, half_m: float) -> None:
    """Add arch, tire and rim on both sides."""
    for x in at_m:
        for side in (-1.0, 1.0):
            middle = (x, side * half_m, radius_m * 1.05)
            build.disc(middle, radius_m * 1.14, UNDER, role=DECAL, corners=12)
            build.disc((x, side * (half_m + 0.005), radius_m), radius_m, TIRE, corners=16)
            build.disc((x, side * (half_m + 0.01), radius_m), radius_m * 0.66, RIM, role=DECAL, corners=12)
            hub = (x, side * (half_m + 0.015), radius_m)
            build.disc(hub, radius_m * 0.22, PLASTIC, role=DECAL, corners=8)


def _between(corners: list[Point], low: float, high: float, left: float, right: float) -> list[Point]:
    """Return a window, by shares, in a face: bottom left, bottom right, top right, top left."""
    foot_left, foot_right, top_right, top_left = (np.array(corner) for corner in corners)

    def at(across: float, up: float) -> Point:
        foot = foot_left + (foot_right - foot_left) * across
        top = top_left + (top_right - top_left) * across
        x, y, z = (foot + (top - foot) * up).tolist()
        return x, y, z

    return [at(left, low), at(right, low), at(right, high), at(left, high)]


@lru_cache(maxsize=128)
def car(length_m: float, width_m: float, height_m: float, shape: int, lit: Lit) -> Mesh:
    """Return a sedan (shape 0), a hatchback (1) or an off-road car (2)."""
    profile, cabin = _BODIES[shape]
    half, radius = 0.5 * width_m, 0.215 * height_m
    build = MeshBuilder(middle=(0.0, 0.0, 0.4 * height_m))
    axles = [-0.295 * length_m, 0.31 * length_m]
    add_tires(build, axles, radius, half - 0.03, half - 0.25)
    end, side = 0.46 * length_m, half * 0.9
    build.box((-end, -side, 0.11 * height_m), (end, side, 0.3 * height_m), UNDER)
    _hull(build, [(x * length_m, z * height_m) for x, z in profile], half, height_m)
    _ends(build, length_m, height_m, half, lit)
    x, low, high = cabin[3][0] * length_m - 0.25, 0.62 * height_m, 0.70 * height_m
    for mirror in (-1.0, 1.0):
        right, left = sorted((mirror * half * 0.95, mirror * (half + 0.08)))
        build.box((x, right, low), (x + 0.12, left, high), 0.8)
    _cabin(build, [(x * length_m, z * height_m) for x, z in cabin], half, height_m)
    # The cabin occludes the mirror of the far side, but not the near one.
    for mirror in (-1.0, 1.0):
        build.decal(rectangle_along(mirror * (half + 0.081), x, x + 0.12, low, high), 0.8)
    add_wheels(build, axles, radius, half)
    return build.mesh()


def _hull(build: MeshBuilder, side: list[tuple[float, float]], half: float, height_m: float) -> None:
    """Add the body below the windows: sides that taper above the waist, and the faces between them."""
    waist = 0.44 * height_m

    def y_at(z: float) -> float:
        return half if z <= waist else half * (1.0 - 0.06 * (z - waist) / (0.2 * height_m))

    for (x0, z0), (x1, z1) in zip(side[:-1], side[1:], strict=True):
        low, high = y_at(z0), y_at(z1)
        build.face([(x0, -low, z0), (x0, low, z0), (x1, high, z1), (x1, -high, z1)], BODY)
    sill = 0.05 * height_m
    for hand in (-1.0, 1.0):
        build.face([(x, hand * y_at(z), z) for x, z in side[1:-1]], BODY)
        lower = [side[0], side[1], side[-2], side[-1]]
        build.face([(x, hand * half, z) for x, z in lower], 0.86)
        # The sill is dark.
        (rear, foot), (front, _) = side[0], side[-1]
        build.decal(rectangle_along(hand * (half + 0.002), rear, front, foot, foot + sill), PLASTIC)


def _ends(build: MeshBuilder, length_m: float, height_m: float, half: float, lit: Lit) -> None:
    """Add bumpers, grille, plates and lamps."""
    rear, front = -0.502 * length_m, 0.497 * length_m

    def put(
        x: float, right: float, left: float, low: float, high: float, color: FaceColor, glow: float = 0.0
    ) -> None:
        build.decal(rectangle_across(x, right, left, low * height_m, high * height_m), color, glow=glow)

    wide = half * 0.98
    put(rear - 0.005, -wide, wide, 0.20, 0.30, PLASTIC)
    put(rear - 0.006, -wide, wide, 0.445, 0.452, 0.6)
    put(front + 0.005, -wide, wide, 0.20, 0.26, PLASTIC)
    put(front + 0.006, -half * 0.62, half * 0.62, 0.27, 0.42, PLASTIC)
    put(front + 0.008, -0.26, 0.26, 0.29, 0.36, PLATE)
    put(rear - 0.008, -0.26, 0.26, 0.345, 0.415, PLATE)
    (tail, tail_glow), (head, head_glow) = lit.rear, lit.front
    for hand in (-1.0, 1.0):
        outer, inner = hand * half * 0.97, hand * half * 0.66
        put(rear - 0.01, inner, outer, 0.46, 0.585, tail, tail_glow)
        put(rear - 0.012, inner, hand * half * 0.74, 0.47, 0.51, (210.0, 215.0, 220.0), 0.1)
        put(front + 0.01, inner, outer, 0.40, 0.485, head, head_glow)
        # The lamps wrap around the corners.
        y = hand * (half + 0.004)
        back = rectangle_along(y, rear * 0.985, 0.91 * rear, 0.46 * height_m, 0.57 * height_m)
        build.decal(back, tail, glow=0.7 * tail_glow)
        ahead = rectangle_along(y, 0.91 * front, front * 0.985, 0.41 * height_m, 0.475 * height_m)
        build.decal(ahead, head, glow=0.7 * head_glow)
        for x in (-0.06 * length_m, 0.14 * length_m):
            handle = rectangle_along(y, x - 0.1, x + 0.06, 0.555 * height_m, 0.575 * height_m)
            build.decal(handle, 0.55)


def _cabin(build: MeshBuilder, cabin: list[tuple[float, float]], half: float, height_m: float) -> None:
    """Add pillars, roof and glass."""
    foot, top = half * 0.94, half * 0.76
    (x0, z0), (x1, z1), (x2, z2), (x3, z3) = cabin
    build.middle = (0.5 * (x0 + x3), 0.0, 0.5 * (z0 + z1))
    rear: list[Point] = [(x0, -foot, z0), (x0, foot, z0), (x1, top, z1), (x1, -top, z1)]
    front: list[Point] = [(x3, -foot, z3), (x3, foot, z3), (x2, top, z2), (x2, -top, z2)]
    build.face(rear, BODY)
    build.decal(_between(rear, 0.12, 0.88, 0.08, 0.92), GLASS)
    # The upper half of a rear window reflects the sky.
    build.decal(_between(rear, 0.55, 0.88, 0.10, 0.90), (104.0, 90.0, 76.0))
    build.face(front, BODY)
    build.decal(_between(front, 0.04, 0.93, 0.05, 0.95), SCREEN)
    build.decal(_between(front, 0.04, 0.30, 0.06, 0.94), (84.0, 74.0, 62.0))
    for hand in (-1.0, 1.0):
        foot_y, top_y = hand * foot, hand * top
        wall: list[Point] = [(x0, foot_y, z0), (x3, foot_y, z3), (x2, top_y, z2), (x1, top_y, z1)]
        build.face(wall, BODY)
        build.decal(_between(wall, 0.10, 0.88, 0.08, 0.50), GLASS)
        build.decal(_between(wall, 0.10, 0.88, 0.53, 0.93), GLASS)
    build.face([(x1, -top, z1), (x1, top, z1), (x2, top, z2), (x2, -top, z2)], BODY)
    # A roof arches a little above its edges.
    arch, inner = z1 + 0.015 * height_m, 0.6 * top
    for x, inwards in ((x1, 0.1), (x2, -0.1)):
        rise = [(x, -top, z1), (x, top, z1), (x + inwards, inner, arch), (x + inwards, -inner, arch)]
        build.face(rise, BODY)
