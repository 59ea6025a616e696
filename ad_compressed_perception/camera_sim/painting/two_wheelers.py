# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bicycles and motorcycles with their riders, of one size and stretched to the size asked for."""

from __future__ import annotations

from functools import lru_cache
from math import cos, pi, sin

from ad_compressed_perception.camera_sim.painting.people import rider
from ad_compressed_perception.camera_sim.painting.shapes import (
    PAINT,
    Colour,
    Limbs,
    Mesh,
    MeshBuilder,
    Point,
    rectangle_across,
)
from ad_compressed_perception.camera_sim.painting.vehicles import BODY, PLASTIC, PLATE, RIM, TYRE, Lit

BICYCLE_M = (1.75, 0.60, 1.72)
"""Length, width and height of the bicycle with its rider."""
MOTORCYCLE_M = (2.1, 0.80, 1.58)
PEDAL_STEPS = 16
PEDAL_TURN_M = 5.0
"""Way that a bicycle goes while its pedals turn once."""

_FRAMES = ((52.0, 44.0, 160.0), (150.0, 90.0, 40.0), (60.0, 60.0, 60.0), (70.0, 130.0, 60.0))
_HELMETS = ((60.0, 60.0, 220.0), (230.0, 230.0, 230.0), (44.0, 42.0, 42.0))
_LEATHERS = ((52.0, 46.0, 44.0), (60.0, 60.0, 70.0), (70.0, 54.0, 40.0))


def _axles(length_m: float, radius_m: float) -> tuple[float, float]:
    return -0.5 * length_m + radius_m, 0.5 * length_m - radius_m


@lru_cache(maxsize=16)
def bicycle(frame: int) -> Mesh:
    """Return a bicycle without its rider; there are four colours of frames."""
    length, radius = BICYCLE_M[0], 0.19 * BICYCLE_M[0]
    rear, front = _axles(length, radius)
    build = MeshBuilder()
    for x in (rear, front):
        build.disc((x, 0.0, radius), radius - 0.02, TYRE, stroke_m=0.045, two_sided=True, corners=18)
        build.disc((x, 0.0, radius), 0.05, RIM, two_sided=True, corners=8)
        # From behind, a wheel is an upright bar.
        build.face(rectangle_across(x, -0.02, 0.02, 0.0, 2.0 * radius), TYRE, two_sided=True)
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
    build.face(back, (40.0, 30.0, 210.0), glow=0.5, role=PAINT, two_sided=True)
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
    for x in (rear, front):
        build.box((x - radius * 0.7, -0.07, 0.0), (x + radius * 0.7, 0.07, radius * 1.9), TYRE)
        for side in (-1.0, 1.0):
            build.disc((x, side * 0.075, radius), radius, TYRE, corners=16)
            build.disc((x, side * 0.08, radius), radius * 0.55, RIM, role=PAINT, corners=12)
    metal: Colour = (58.0, 56.0, 54.0)
    build.box((rear + 0.5 * radius, -0.14, radius * 0.7), (front - radius, 0.14, radius * 1.7), metal)
    build.box((rear - 0.6 * radius, -0.13, radius * 2.1), (rear + 1.5 * radius, 0.13, radius * 2.6), PLASTIC)
    build.box((rear + 1.4 * radius, -0.17, radius * 1.7), (front - 0.9 * radius, 0.17, radius * 2.9), BODY)
    build.box((front - 0.9 * radius, -0.16, radius * 2.1), (front - 0.3 * radius, 0.16, radius * 3.1), BODY)
    tail, glow = lit.rear
    x = rear - 0.62 * radius
    build.paint(rectangle_across(x, -0.1, 0.1, radius * 2.2, radius * 2.5), tail, glow=glow)
    build.face(rectangle_across(x, -0.1, 0.1, radius * 1.5, radius * 1.95), PLATE)
    head, glow = lit.front
    eye = (front - 0.28 * radius, 0.0, radius * 2.6)
    build.disc(eye, 0.1, head, along="x", glow=max(glow, 0.5), role=PAINT)
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
