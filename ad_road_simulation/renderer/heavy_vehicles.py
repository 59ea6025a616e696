# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bus and truck meshes, in a few sizes and independent of the vehicle's color, as the cars in vehicles.py."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ad_road_simulation.renderer.meshes import (
    Color,
    FaceColor,
    Mesh,
    MeshBuilder,
    rectangle_across,
    rectangle_along,
)
from ad_road_simulation.renderer.vehicles import (
    BODY,
    GLASS,
    PLASTIC,
    PLATE,
    RIM,
    SCREEN,
    UNDER,
    Lit,
    add_tires,
    add_wheels,
)


@lru_cache(maxsize=32)
def bus(length_m: float, width_m: float, height_m: float, lit: Lit) -> Mesh:
    """Return a city bus with a band of windows, doors on its right and a destination display."""
    half, end, radius = 0.5 * width_m, 0.5 * length_m, 0.16 * height_m
    build = MeshBuilder(middle=(0.0, 0.0, 0.5 * height_m))
    axles = [-0.27 * length_m, 0.33 * length_m]
    add_tires(build, axles, radius, half - 0.05, half - 0.4)
    build.box((-end, -half, 0.11 * height_m), (end, half, height_m), BODY)
    glass, shine = ((84.0, 158.0, 194.0), 0.8) if lit.night else (GLASS, 0.0)
    low, high = 0.42 * height_m, 0.84 * height_m
    edges = np.linspace(-end * 0.95, end * 0.95, max(3, int(length_m / 1.6)) + 1).tolist()
    for hand in (-1.0, 1.0):
        y = hand * (half + 0.01)
        build.decal(rectangle_along(y, -end, end, 0.11 * height_m, 0.19 * height_m), PLASTIC)
        build.decal(rectangle_along(y, -end, end, 0.36 * height_m, 0.385 * height_m), 0.6)
        build.decal(rectangle_along(y, edges[0], edges[-1], low, high), PLASTIC)
        y = hand * (half + 0.02)
        for x0, x1 in zip(edges[:-1], edges[1:], strict=True):
            build.decal(rectangle_along(y, x0 + 0.05, x1 - 0.05, low + 0.06, high - 0.06), glass, glow=shine)
        doors = (0.42 * length_m, 0.02 * length_m) if hand < 0.0 else ()
        for x in doors:
            build.decal(rectangle_along(y * 1.004, x - 0.65, x + 0.65, 0.12 * height_m, high + 0.05), PLASTIC)
            for leaf in (-0.6, 0.02):
                pane = rectangle_along(y * 1.008, x + leaf, x + leaf + 0.58, 0.14 * height_m, high)
                build.decal(pane, glass, glow=shine)
    _bus_ends(build, half, end, height_m, (glass, shine), lit)
    add_wheels(build, axles, radius, half)
    return build.mesh()


def _bus_ends(
    build: MeshBuilder, half: float, end: float, height_m: float, glass: tuple[Color, float], lit: Lit
) -> None:
    front, rear = end + 0.01, -end - 0.01

    def put(
        x: float, right: float, left: float, low: float, high: float, color: FaceColor, glow: float = 0.0
    ) -> None:
        build.decal(
            rectangle_across(x, right * half, left * half, low * height_m, high * height_m), color, glow=glow
        )

    put(front, -0.94, 0.94, 0.36, 0.84, glass[0] if lit.night else SCREEN, 0.5 * glass[1])
    put(front + 0.01, -0.02, 0.02, 0.36, 0.84, PLASTIC)
    put(front + 0.01, -0.7, 0.7, 0.86, 0.95, UNDER)
    put(front + 0.02, -0.5, 0.55, 0.88, 0.93, (40.0, 150.0, 250.0), 0.9)
    put(front, -1.0, 1.0, 0.11, 0.17, PLASTIC)
    put(front + 0.01, -0.2, 0.2, 0.18, 0.23, PLATE)
    put(rear, -0.8, 0.8, 0.55, 0.84, *glass)
    put(rear, -0.7, 0.7, 0.24, 0.44, PLASTIC)
    put(rear, -0.5, 0.5, 0.87, 0.94, UNDER)
    put(rear, -1.0, 1.0, 0.11, 0.17, PLASTIC)
    put(rear - 0.01, -0.25, 0.25, 0.18, 0.23, PLATE)
    for hand in (-1.0, 1.0):
        put(rear - 0.01, hand * 0.82, hand * 0.97, 0.24, 0.42, *lit.rear)
        put(front + 0.01, hand * 0.6, hand * 0.94, 0.2, 0.27, *lit.front)


@lru_cache(maxsize=64)
def truck(
    length_m: float, width_m: float, height_m: float, shape: int, lit: Lit, is_seen_from_ahead: bool
) -> Mesh:
    """Return a truck: a cab and a cargo box, white (0), gray (1) or in the cab's color (2).

    The nearer of the two is drawn last, so the mesh depends on the side it is seen from.
    """
    half, end = 0.5 * width_m, 0.5 * length_m
    cab = min(2.2, 0.32 * length_m)
    radius = min(0.5, 0.16 * height_m)
    rear, steered = -end + 1.1, end - 0.55 * cab
    axles = [rear, rear + 2.3 * radius, steered] if length_m > 6.5 else [rear, steered]
    build = MeshBuilder(middle=(0.0, 0.0, 0.5 * height_m))
    add_tires(build, axles, radius, half - 0.05, half - 0.45)
    build.box((-end + 0.1, -half * 0.9, radius * 0.9), (end - 0.3, half * 0.9, radius * 2.0), UNDER)
    floor, x = radius * 1.9, end - cab

    def add_load() -> None:
        color: FaceColor = ((216.0, 214.0, 210.0), (186.0, 190.0, 194.0), 0.9)[shape]
        build.box((-end, -half, floor), (x - 0.15, half, height_m), color)
        _truck_load(build, end, x, half, floor, height_m, lit)

    if is_seen_from_ahead:
        add_load()
    _truck_cab(build, x, end, half * 0.95, radius, 0.86 * height_m, lit)
    if not is_seen_from_ahead:
        add_load()
    add_wheels(build, axles, radius, half * 0.97)
    return build.mesh()


def _truck_cab(
    build: MeshBuilder, x: float, end: float, half: float, radius: float, top: float, lit: Lit
) -> None:
    build.box((x, -half, radius * 0.9), (end, half, top), BODY)
    build.middle = (0.5 * (x + end), 0.0, 0.5 * top)
    front, low, high = end + 0.01, 0.55 * top, 0.9 * top
    build.decal(rectangle_across(front, -half * 0.92, half * 0.92, low, high), SCREEN)
    build.decal(
        rectangle_across(front + 0.01, -half * 0.9, half * 0.9, low, low + 0.1 * top), (84.0, 74.0, 62.0)
    )
    build.decal(rectangle_across(front, -half * 0.8, half * 0.8, 0.3 * top, 0.5 * top), PLASTIC)
    for bar in (0.35, 0.4, 0.45):
        build.decal(
            rectangle_across(front + 0.01, -half * 0.75, half * 0.75, bar * top, (bar + 0.012) * top), RIM
        )
    build.decal(rectangle_across(front, -half, half, radius * 0.9, radius * 1.6), PLASTIC)
    build.decal(rectangle_across(front + 0.01, -0.26, 0.26, radius * 1.1, radius * 1.45), PLATE)
    head, glow = lit.front
    for hand in (-1.0, 1.0):
        inner, outer = hand * half * 0.62, hand * half * 0.94
        build.decal(
            rectangle_across(front + 0.01, inner, outer, radius * 1.65, radius * 2.2), head, glow=glow
        )
        y = hand * (half + 0.01)
        build.decal(
            [(x + 0.5, y, low), (end - 0.1, y, low), (end - 0.18, y, high), (x + 0.5, y, high)], GLASS
        )
        right, left = sorted((hand * (half + 0.02), hand * (half + 0.10)))
        build.box((end - 0.15, right, 0.6 * top), (end - 0.05, left, 0.82 * top), PLASTIC)


def _truck_load(
    build: MeshBuilder, end: float, x: float, half: float, floor: float, height_m: float, lit: Lit
) -> None:
    build.middle = (0.5 * (x - end), 0.0, 0.5 * height_m)
    rear = -end - 0.01
    # Doors with their seam and bars, a bumper beneath, a stripe along the sides.
    for y, width in ((-half * 0.55, 0.02), (0.0, 0.03), (half * 0.55, 0.02)):
        build.decal(
            rectangle_across(rear, y - width, y + width, floor + 0.05, height_m - 0.05), (110.0, 110.0, 108.0)
        )
    build.face(rectangle_across(rear, -half, half, floor - 0.35, floor), PLASTIC)
    build.decal(rectangle_across(rear - 0.01, -0.26, 0.26, floor - 0.3, floor - 0.18), PLATE)
    tail, glow = lit.rear
    for hand in (-1.0, 1.0):
        inner, outer = hand * half * 0.68, hand * half * 0.98
        build.decal(rectangle_across(rear - 0.01, inner, outer, floor - 0.28, floor - 0.08), tail, glow=glow)
        y = hand * (half + 0.01)
        low, high = floor + 0.28 * (height_m - floor), floor + 0.42 * (height_m - floor)
        build.decal(rectangle_along(y, -end, x - 0.15, low, high), BODY)
        build.decal(rectangle_along(y, -end + 1.9, x - 0.6, 0.45 * floor, 0.85 * floor), PLASTIC)
