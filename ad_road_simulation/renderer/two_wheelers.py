# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Meshes of bicycles and motorcycles with riders, of one size each, stretched to the requested size."""

from __future__ import annotations

from functools import lru_cache
from math import cos, pi, sin

from ad_road_simulation.renderer.meshes import (
    DECAL,
    Color,
    Limbs,
    Mesh,
    MeshBuilder,
    Point,
    rectangle_across,
)
from ad_road_simulation.renderer.pedestrian_meshes import rider
from ad_road_simulation.renderer.vehicles import BODY, PLASTIC, PLATE, RIM, TIRE, Lit

BICYCLE_M = (1.75, 0.60, 1.72)
"""Length, width and height of the bicycle with its rider."""
MOTORCYCLE_M = (2.1, 0.80, 1.58)
PEDAL_STEPS = 16
PEDAL_TURN_M = 5.0
"""Distance traveled per turn of the pedals."""

_FRAMES = ((52.0, 44.0, 160.0), (150.0, 90.0, 40.0), (60.0, 60.0, 60.0), (70.0, 130.0, 60.0))
METAL: Color = (86.0, 84.0, 82.0)
_HELMETS = ((60.0, 60.0, 220.0), (230.0, 230.0, 230.0), (44.0, 42.0, 42.0))
_LEATHERS = ((52.0, 46.0, 44.0), (60.0, 60.0, 70.0), (70.0, 54.0, 40.0))


def _axles(length_m: float, radius_m: float) -> tuple[float, float]:
    return -0.5 * length_m + radius_m, 0.5 * length_m - radius_m


@lru_cache(maxsize=16)
def bicycle(frame: int) -> Mesh:
    """Return a bicycle without its rider; frame is the index of one of four colors."""
    length, radius = BICYCLE_M[0], 0.19 * BICYCLE_M[0]
    rear, front = _axles(length, radius)
    build = MeshBuilder()
    for x in (rear, front):
        build.disc((x, 0.0, radius), radius - 0.02, TIRE, stroke_m=0.045, two_sided=True, corners=18)
        build.disc((x, 0.0, radius), 0.05, RIM, two_sided=True, corners=8)
        # The wheel as seen from behind: an upright bar.
        build.face(rectangle_across(x, -0.02, 0.02, 0.0, 2.0 * radius), TIRE, two_sided=True)
    crank = (rear + 0.45 * (front - rear), 0.0, radius * 0.9)
    saddle = (rear + 0.32 * (front - rear), 0.0, radius * 2.55)
    head = (front - 0.12 * length, 0.0, radius * 2.5)
    bars = (front - 0.15 * length, 0.0, radius * 2.9)
    hubs: tuple[Point, Point] = ((rear, 0.0, radius), (front, 0.0, radius))
    for first, second in (
        (hubs[0], crank),
        (hubs[0], saddle),
        (crank, saddle),
        (crank, head),
        (saddle, head),
    ):
        build.face([first, second, first], _FRAMES[frame], stroke_m=0.035, two_sided=True)
    build.face([hubs[1], bars, hubs[1]], _FRAMES[frame], stroke_m=0.035, two_sided=True)
    ends: list[Point] = [(bars[0], -0.27, bars[2]), (bars[0], 0.27, bars[2])]
    build.face([*ends, ends[0]], PLASTIC, stroke_m=0.03, two_sided=True)
    back = rectangle_across(rear - 0.02, -0.04, 0.04, radius * 2.0, radius * 2.2)
    build.face(back, (40.0, 30.0, 210.0), glow=0.5, role=DECAL, two_sided=True)
    return build.mesh()


@lru_cache(maxsize=1024)
def cyclist(variant: int, step: int) -> Limbs:
    """Return the bicycle's rider, the pedals in one of PEDAL_STEPS positions."""
    length, _, height = BICYCLE_M
    radius = 0.19 * length
    rear, front = _axles(length, radius)
    seat = (rear + 0.30 * (front - rear), 0.0, radius * 2.7)
    crank_x, crank_z = rear + 0.45 * (front - rear), radius * 0.9
    turn = -2.0 * pi * step / PEDAL_STEPS
    across, up = 0.17 * cos(turn), 0.17 * sin(turn)
    pedals = ((crank_x + across, 0.11, crank_z + up), (crank_x - across, -0.11, crank_z - up))
    helmet = _HELMETS[variant % 3] if variant % 4 else None
    grip = (front - 0.14 * length, 0.24, radius * 3.0)
    return rider(seat, grip, pedals, (height - seat[2]) / 0.47, variant, 1.0, helmet)


@lru_cache(maxsize=8)
def motorcycle(lit: Lit) -> Mesh:
    """Return a motorcycle without its rider."""
    length, radius = MOTORCYCLE_M[0], 0.155 * MOTORCYCLE_M[0]
    rear, front = _axles(length, radius)
    build = MeshBuilder(middle=(0.0, 0.0, 2.0 * radius))
    tail, head = lit.rear, lit.front
    for x in (rear, front):
        build.box((x - radius * 0.3, -0.06, 0.0), (x + radius * 0.3, 0.06, radius * 1.9), TIRE)
        for side in (-1.0, 1.0):
            build.disc((x, side * 0.065, radius), radius, TIRE, corners=16)
            build.disc((x, side * 0.07, radius), radius * 0.6, RIM, role=DECAL, corners=12)
            build.disc((x, side * 0.075, radius), radius * 0.3, PLASTIC, role=DECAL, corners=10)
    x, z = rear - 0.45 * radius, radius

    def at(*points: tuple[float, float]) -> list[tuple[float, float]]:
        """Return points given in radii, from the rear axle and from the ground."""
        return [(rear + along * radius, up * radius) for along, up in points]

    # Engine, silencer, fork, seat with the tail behind it, tank, fairing: from low to high.
    build.prism(at((1.3, 0.75), (3.1, 0.75), (3.3, 1.3), (3.0, 1.9), (1.5, 1.9)), 0.15, PLASTIC, METAL)
    build.prism(at((-0.3, 0.85), (1.6, 0.7), (1.6, 0.95), (-0.3, 1.2)), 0.17, METAL, RIM)
    reach = (front - rear) / radius
    build.prism(
        at((reach - 0.12, 1.0), (reach + 0.12, 1.0), (reach - 0.7, 2.9), (reach - 0.95, 2.9)), 0.09, RIM, RIM
    )
    build.prism(at((-0.8, 2.45), (0.3, 1.95), (1.9, 2.0), (1.9, 2.4), (-0.8, 2.75)), 0.11, 0.8, BODY)
    build.prism(at((1.5, 2.1), (3.3, 1.9), (3.5, 2.6), (2.9, 2.95), (1.8, 2.5)), 0.15, BODY, 0.9)
    build.prism(at((3.1, 2.1), (3.9, 2.2), (4.1, 2.7), (3.5, 3.3), (3.2, 3.2)), 0.16, 0.9, BODY)
    x = rear - 0.82 * radius
    build.decal(rectangle_across(x, -0.09, 0.09, z * 2.5, z * 2.72), tail[0], glow=tail[1])
    build.face(rectangle_across(x + 0.02, -0.1, 0.1, z * 1.75, z * 2.2), PLATE)
    build.disc(
        (rear + 4.12 * radius, 0.0, z * 2.65), 0.09, head[0], along="x", glow=max(head[1], 0.5), role=DECAL
    )
    return build.mesh()


@lru_cache(maxsize=128)
def motorcyclist(variant: int) -> Limbs:
    """Return the motorcycle's rider, in leather and with a helmet."""
    length, _, height = MOTORCYCLE_M
    radius = 0.155 * length
    rear, front = _axles(length, radius)
    seat = (rear + radius, 0.0, radius * 2.75)
    rest = rear + 1.6 * radius
    feet = ((rest, 0.2, radius * 0.9), (rest, -0.2, radius * 0.9))
    grip = (front - 0.9 * radius, 0.3, radius * 3.2)
    size = (height - seat[2]) / 0.46
    return rider(seat, grip, feet, size, variant, _LEATHERS[variant % 3], _HELMETS[(variant // 3) % 3])
