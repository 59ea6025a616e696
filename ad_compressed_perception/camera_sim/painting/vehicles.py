# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cars, buses and trucks: bodies of flat faces, with glass, wheels and lamps."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ad_compressed_perception.camera_sim.painting.shapes import PAINT, Colour, Mesh, MeshBuilder, Point

_TYRE: Colour = (32.0, 31.0, 30.0)
_RIM: Colour = (150.0, 148.0, 145.0)
_UNDER: Colour = (22.0, 22.0, 22.0)
_GLASS: Colour = (78.0, 66.0, 54.0)
_SCREEN: Colour = (116.0, 102.0, 86.0)
_PLASTIC: Colour = (44.0, 42.0, 40.0)
_PLATE: Colour = (222.0, 226.0, 228.0)
_HEADLIGHT: Colour = (232.0, 236.0, 238.0)
_TAIL: Colour = (28.0, 26.0, 150.0)
_BRAKE: Colour = (70.0, 60.0, 255.0)

# Side views from the rear bumper's foot over the top to the front's, in shares of length and height: the body
# below the windows, and the four corners of the cabin (rear foot, rear top, front top, front foot).
_BODIES = {
    "saloon": (
        [
            (-0.49, 0.20),
            (-0.50, 0.42),
            (-0.485, 0.63),
            (-0.30, 0.66),
            (0.22, 0.64),
            (0.43, 0.55),
            (0.49, 0.42),
            (0.495, 0.20),
        ],
        [(-0.40, 0.64), (-0.24, 0.985), (0.04, 0.985), (0.24, 0.635)],
    ),
    "hatchback": (
        [
            (-0.49, 0.19),
            (-0.50, 0.40),
            (-0.49, 0.60),
            (-0.40, 0.63),
            (0.26, 0.62),
            (0.44, 0.54),
            (0.49, 0.40),
            (0.495, 0.19),
        ],
        [(-0.485, 0.60), (-0.40, 0.985), (0.06, 0.985), (0.30, 0.61)],
    ),
    "suv": (
        [
            (-0.49, 0.20),
            (-0.50, 0.40),
            (-0.495, 0.60),
            (-0.40, 0.63),
            (0.24, 0.63),
            (0.45, 0.58),
            (0.49, 0.44),
            (0.495, 0.20),
        ],
        [(-0.49, 0.60), (-0.44, 0.985), (0.04, 0.985), (0.23, 0.62)],
    ),
}


def _darker(colour: Colour, gain: float) -> Colour:
    return colour[0] * gain, colour[1] * gain, colour[2] * gain


def _wheels(build: MeshBuilder, at_m: list[float], radius_m: float, half_m: float, inner_m: float) -> None:
    """Add the tyres' fronts and backs, which are seen below the bumpers."""
    for x in at_m:
        for side in (-1.0, 1.0):
            low, high = sorted((side * inner_m, side * half_m))
            build.box((x - radius_m * 0.75, low, 0.0), (x + radius_m * 0.75, high, radius_m * 1.4), _TYRE)


def _wheel_sides(build: MeshBuilder, at_m: list[float], radius_m: float, half_m: float) -> None:
    """Add arch, tyre and rim on both sides."""
    for x in at_m:
        for side in (-1.0, 1.0):
            build.disc((x, side * half_m, radius_m * 1.05), radius_m * 1.14, _UNDER, role=PAINT, corners=12)
            build.disc((x, side * (half_m + 0.005), radius_m), radius_m, _TYRE, corners=16)
            build.disc((x, side * (half_m + 0.01), radius_m), radius_m * 0.66, _RIM, role=PAINT, corners=12)
            build.disc(
                (x, side * (half_m + 0.015), radius_m), radius_m * 0.22, _PLASTIC, role=PAINT, corners=8
            )


def _rear_lamp(is_braking: bool, night: bool) -> tuple[Colour, float]:
    if is_braking:
        return _BRAKE, 1.0
    return ((40.0, 34.0, 200.0), 0.8) if night else (_TAIL, 0.15)


def _front_lamp(night: bool) -> tuple[Colour, float]:
    return ((235.0, 250.0, 255.0), 1.0) if night else (_HEADLIGHT, 0.2)


def _rectangle(x: float, left: float, right: float, low: float, high: float) -> list[Point]:
    return [(x, left, low), (x, right, low), (x, right, high), (x, left, high)]


def _between(corners: list[Point], low: float, high: float, left: float, right: float) -> list[Point]:
    """Return a window in a face of four corners: foot left, foot right, top right, top left, by shares."""
    foot_left, foot_right, top_right, top_left = (np.array(corner) for corner in corners)

    def at(across: float, up: float) -> Point:
        foot = foot_left + (foot_right - foot_left) * across
        top = top_left + (top_right - top_left) * across
        x, y, z = foot + (top - foot) * up
        return float(x), float(y), float(z)

    return [at(left, low), at(right, low), at(right, high), at(left, high)]


@lru_cache(maxsize=256)
def car(
    length_m: float, width_m: float, height_m: float, colour: Colour, seed: int, is_braking: bool, night: bool
) -> Mesh:
    """Return a saloon, a hatchback or an off-road car, by the seed."""
    profile, cabin = _BODIES[("saloon", "hatchback", "suv")[seed % 3]]
    half = 0.5 * width_m
    build = MeshBuilder(middle=(0.0, 0.0, 0.4 * height_m))
    radius = 0.215 * height_m
    axles = [-0.295 * length_m, 0.31 * length_m]
    _wheels(build, axles, radius, half - 0.03, half - 0.25)
    build.box(
        (-0.46 * length_m, -half * 0.9, 0.11 * height_m),
        (0.46 * length_m, half * 0.9, 0.3 * height_m),
        _UNDER,
    )
    side = [(x * length_m, z * height_m) for x, z in profile]
    _hull(build, side, half, colour, height_m)
    _lower_trim(build, side, length_m, height_m, half, is_braking, night)
    _cabin(build, cabin, length_m, height_m, half, colour)
    for mirror in (-1.0, 1.0):
        x = cabin[3][0] * length_m - 0.25
        low, high = sorted((mirror * half * 0.97, mirror * (half + 0.13)))
        build.box((x, low, 0.62 * height_m), (x + 0.12, high, 0.70 * height_m), _darker(colour, 0.8))
    _wheel_sides(build, axles, radius, half)
    return build.mesh()


def _hull(
    build: MeshBuilder, side: list[tuple[float, float]], half: float, colour: Colour, height_m: float
) -> None:
    """Add the body below the windows: sides that lean in above the waist, and the faces between them."""
    waist = 0.44 * height_m

    def y_at(z: float) -> float:
        return half if z <= waist else half * (1.0 - 0.06 * (z - waist) / (0.2 * height_m))

    for (x0, z0), (x1, z1) in zip(side[:-1], side[1:], strict=True):
        low, high = y_at(z0), y_at(z1)
        build.face([(x0, -low, z0), (x0, low, z0), (x1, high, z1), (x1, -high, z1)], colour)
    back, front = side[1], side[-2]
    above = [back, *[point for point in side[2:-2]], front]
    for hand in (-1.0, 1.0):
        build.face([(x, hand * y_at(z), z) for x, z in above], colour)
        lower = [side[0], back, front, side[-1]]
        build.face([(x, hand * half, z) for x, z in lower], _darker(colour, 0.86))
        # The sill takes no light.
        sill = [side[0], (side[0][0], side[0][1] + 0.05 * height_m)]
        sill += [(side[-1][0], side[-1][1] + 0.05 * height_m), side[-1]]
        build.face([(x, hand * (half + 0.002), z) for x, z in sill], _PLASTIC, role=PAINT)


def _lower_trim(
    build: MeshBuilder,
    side: list[tuple[float, float]],
    length_m: float,
    height_m: float,
    half: float,
    is_braking: bool,
    night: bool,
) -> None:
    """Add bumpers, plates and lamps to both ends."""
    rear, front = -0.502 * length_m, 0.497 * length_m
    bumper = (0.20 * height_m, 0.30 * height_m)
    build.face(_rectangle(rear - 0.005, -half * 0.98, half * 0.98, *bumper), _PLASTIC, role=PAINT)
    build.face(
        _rectangle(front + 0.005, -half * 0.98, half * 0.98, 0.2 * height_m, 0.26 * height_m),
        _PLASTIC,
        role=PAINT,
    )
    build.face(
        _rectangle(front + 0.006, -half * 0.62, half * 0.62, 0.27 * height_m, 0.42 * height_m),
        _PLASTIC,
        role=PAINT,
    )
    build.face(_rectangle(front + 0.008, -0.26, 0.26, 0.29 * height_m, 0.36 * height_m), _PLATE, role=PAINT)
    build.face(_rectangle(rear - 0.008, -0.26, 0.26, 0.36 * height_m, 0.43 * height_m), _PLATE, role=PAINT)
    tail, tail_glow = _rear_lamp(is_braking, night)
    head, head_glow = _front_lamp(night)
    for hand in (-1.0, 1.0):
        outer, inner = hand * half * 0.97, hand * half * 0.66
        build.face(
            _rectangle(rear - 0.01, inner, outer, 0.46 * height_m, 0.585 * height_m),
            tail,
            glow=tail_glow,
            role=PAINT,
        )
        build.face(
            _rectangle(front + 0.01, inner, outer, 0.40 * height_m, 0.485 * height_m),
            head,
            glow=head_glow,
            role=PAINT,
        )
        # The lamps run round the corners.
        for x, low, high, colour, glow in (
            (rear, 0.46, 0.57, tail, 0.7 * tail_glow),
            (front, 0.41, 0.475, head, 0.7 * head_glow),
        ):
            inwards = x - np.sign(x) * 0.045 * length_m
            y = hand * (half + 0.004)
            corners = [(x * 0.985, y, low * height_m), (inwards, y, low * height_m)]
            corners += [(inwards, y, high * height_m), (x * 0.985, y, high * height_m)]
            build.face(corners, colour, glow=glow, role=PAINT)


def _cabin(
    build: MeshBuilder,
    cabin: list[tuple[float, float]],
    length_m: float,
    height_m: float,
    half: float,
    colour: Colour,
) -> None:
    """Add pillars, roof and glass."""
    foot, top = half * 0.94, half * 0.76
    (x0, z0), (x1, z1), (x2, z2), (x3, z3) = [(x * length_m, z * height_m) for x, z in cabin]
    build.middle = (0.5 * (x0 + x3), 0.0, 0.5 * (z0 + z1))
    rear: list[Point] = [(x0, -foot, z0), (x0, foot, z0), (x1, top, z1), (x1, -top, z1)]
    front: list[Point] = [(x3, -foot, z3), (x3, foot, z3), (x2, top, z2), (x2, -top, z2)]
    build.face(rear, colour)
    build.face(_between(rear, 0.12, 0.88, 0.08, 0.92), _GLASS, role=PAINT)
    build.face(front, colour)
    build.face(_between(front, 0.04, 0.93, 0.05, 0.95), _SCREEN, role=PAINT)
    for hand in (-1.0, 1.0):
        wall: list[Point] = [
            (x0, hand * foot, z0),
            (x3, hand * foot, z3),
            (x2, hand * top, z2),
            (x1, hand * top, z1),
        ]
        build.face(wall, colour)
        build.face(_between(wall, 0.10, 0.88, 0.08, 0.50), _GLASS, role=PAINT)
        build.face(_between(wall, 0.10, 0.88, 0.53, 0.93), _GLASS, role=PAINT)
    build.face([(x1, -top, z1), (x1, top, z1), (x2, top, z2), (x2, -top, z2)], colour)
    # A roof arches a little above its edges.
    arch = 0.015 * height_m
    for x, end in ((x1, -1.0), (x2, 1.0)):
        rise = [
            (x, -top, z1),
            (x, top, z1),
            (x - end * 0.1, top * 0.6, z1 + arch),
            (x - end * 0.1, -top * 0.6, z1 + arch),
        ]
        build.face(rise, colour)


@lru_cache(maxsize=64)
def bus(
    length_m: float, width_m: float, height_m: float, colour: Colour, seed: int, is_braking: bool, night: bool
) -> Mesh:
    """Return a city bus with a band of windows, doors on its right and a destination display."""
    half, end = 0.5 * width_m, 0.5 * length_m
    build = MeshBuilder(middle=(0.0, 0.0, 0.5 * height_m))
    radius = 0.16 * height_m
    axles = [-0.27 * length_m, 0.33 * length_m]
    _wheels(build, axles, radius, half - 0.05, half - 0.4)
    build.box((-end, -half, 0.11 * height_m), (end, half, height_m), colour)
    glass = _mixed(_GLASS, (90.0, 190.0, 240.0), 0.75) if night else _GLASS
    shine = 0.8 if night else 0.0
    low, high = 0.42 * height_m, 0.84 * height_m
    panes = max(3, int(length_m / 1.6))
    edges = np.linspace(-end * 0.95, end * 0.95, panes + 1)
    for hand in (-1.0, 1.0):
        y = hand * (half + 0.01)
        build.face(
            [
                (-end, y, 0.11 * height_m),
                (end, y, 0.11 * height_m),
                (end, y, 0.19 * height_m),
                (-end, y, 0.19 * height_m),
            ],
            _PLASTIC,
            role=PAINT,
        )
        build.face(
            [(edges[0], y, low), (edges[-1], y, low), (edges[-1], y, high), (edges[0], y, high)],
            _PLASTIC,
            role=PAINT,
        )
        y = hand * (half + 0.02)
        for x0, x1 in zip(edges[:-1], edges[1:], strict=True):
            build.face(
                [
                    (x0 + 0.05, y, low + 0.06),
                    (x1 - 0.05, y, low + 0.06),
                    (x1 - 0.05, y, high - 0.06),
                    (x0 + 0.05, y, high - 0.06),
                ],
                glass,
                glow=shine,
                role=PAINT,
            )
        if hand < 0.0:
            for x in (0.42 * length_m, 0.02 * length_m):
                for leaf in (-0.6, 0.02):
                    build.face(
                        [
                            (x + leaf, y, 0.13 * height_m),
                            (x + leaf + 0.58, y, 0.13 * height_m),
                            (x + leaf + 0.58, y, high),
                            (x + leaf, y, high),
                        ],
                        glass,
                        glow=shine,
                        role=PAINT,
                    )
    _bus_ends(build, half, end, height_m, glass, shine, is_braking, night)
    _wheel_sides(build, axles, radius, half)
    return build.mesh()


def _bus_ends(
    build: MeshBuilder,
    half: float,
    end: float,
    height_m: float,
    glass: Colour,
    shine: float,
    is_braking: bool,
    night: bool,
) -> None:
    front, rear = end + 0.01, -end - 0.01
    build.face(
        _rectangle(front, -half * 0.94, half * 0.94, 0.36 * height_m, 0.84 * height_m),
        _SCREEN if not night else glass,
        glow=shine * 0.5,
        role=PAINT,
    )
    build.face(
        _rectangle(front + 0.01, -half * 0.7, half * 0.7, 0.86 * height_m, 0.95 * height_m),
        _UNDER,
        role=PAINT,
    )
    build.face(
        _rectangle(front + 0.02, -half * 0.5, half * 0.55, 0.88 * height_m, 0.93 * height_m),
        (40.0, 150.0, 250.0),
        glow=0.9,
        role=PAINT,
    )
    build.face(_rectangle(front, -half, half, 0.11 * height_m, 0.17 * height_m), _PLASTIC, role=PAINT)
    build.face(
        _rectangle(rear, -half * 0.8, half * 0.8, 0.55 * height_m, 0.84 * height_m),
        glass,
        glow=shine,
        role=PAINT,
    )
    build.face(
        _rectangle(rear, -half * 0.7, half * 0.7, 0.24 * height_m, 0.44 * height_m), _PLASTIC, role=PAINT
    )
    build.face(_rectangle(rear, -half, half, 0.11 * height_m, 0.17 * height_m), _PLASTIC, role=PAINT)
    build.face(_rectangle(rear - 0.01, -0.3, 0.3, 0.18 * height_m, 0.23 * height_m), _PLATE, role=PAINT)
    tail, tail_glow = _rear_lamp(is_braking, night)
    head, head_glow = _front_lamp(night)
    for hand in (-1.0, 1.0):
        build.face(
            _rectangle(rear - 0.01, hand * half * 0.82, hand * half * 0.97, 0.24 * height_m, 0.42 * height_m),
            tail,
            glow=tail_glow,
            role=PAINT,
        )
        build.face(
            _rectangle(front + 0.01, hand * half * 0.6, hand * half * 0.94, 0.2 * height_m, 0.27 * height_m),
            head,
            glow=head_glow,
            role=PAINT,
        )


def _mixed(first: Colour, second: Colour, share: float) -> Colour:
    one, two, three = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return one, two, three


@lru_cache(maxsize=64)
def truck(
    length_m: float,
    width_m: float,
    height_m: float,
    colour: Colour,
    seed: int,
    is_braking: bool,
    night: bool,
    is_seen_from_ahead: bool,
) -> Mesh:
    """Return a lorry: a coloured cab, and behind it a box, light or of the cab's colour by the seed.

    The nearer of the two is painted last, so the mesh depends on the side that it is seen from.
    """
    half, end = 0.5 * width_m, 0.5 * length_m
    cab = min(2.2, 0.32 * length_m)
    load = [(216.0, 214.0, 210.0), (188.0, 192.0, 196.0), _mixed(colour, (230.0, 230.0, 230.0), 0.35)][
        seed % 3
    ]
    radius = min(0.5, 0.16 * height_m)
    axles = (
        [-end + 1.0, -end + 1.0 + 2.3 * radius, end - 0.55 * cab]
        if length_m > 6.5
        else [-end + 1.2, end - 0.6 * cab]
    )
    build = MeshBuilder(middle=(0.0, 0.0, 0.5 * height_m))
    _wheels(build, axles, radius, half - 0.05, half - 0.45)
    build.box((-end + 0.1, -half * 0.9, radius * 0.9), (end - 0.3, half * 0.9, radius * 2.0), _UNDER)
    floor = radius * 1.9
    cab_top, x = 0.86 * height_m, end - cab

    def add_load() -> None:
        build.box((-end, -half, floor), (x - 0.15, half, height_m), load)
        _truck_load(build, end, x, half, floor, height_m, colour, is_braking, night)

    if is_seen_from_ahead:
        add_load()
    _truck_cab(build, x, end, half * 0.95, radius, cab_top, colour, night)
    if not is_seen_from_ahead:
        add_load()
    _wheel_sides(build, axles, radius, half * 0.97)
    return build.mesh()


def _truck_cab(
    build: MeshBuilder,
    x: float,
    end: float,
    half: float,
    radius: float,
    top: float,
    colour: Colour,
    night: bool,
) -> None:
    build.box((x, -half, radius * 0.9), (end, half, top), colour)
    build.middle = (0.5 * (x + end), 0.0, 0.5 * top)
    front = end + 0.01
    low, high = 0.55 * top, 0.9 * top
    build.face(_rectangle(front, -half * 0.92, half * 0.92, low, high), _SCREEN, role=PAINT)
    build.face(_rectangle(front, -half * 0.8, half * 0.8, 0.3 * top, 0.5 * top), _PLASTIC, role=PAINT)
    build.face(_rectangle(front, -half, half, radius * 0.9, radius * 1.6), _PLASTIC, role=PAINT)
    build.face(_rectangle(front + 0.01, -0.26, 0.26, radius * 1.1, radius * 1.45), _PLATE, role=PAINT)
    head, glow = _front_lamp(night)
    for hand in (-1.0, 1.0):
        build.face(
            _rectangle(front + 0.01, hand * half * 0.62, hand * half * 0.94, radius * 1.65, radius * 2.2),
            head,
            glow=glow,
            role=PAINT,
        )
        y = hand * (half + 0.01)
        pane = [(x + 0.5, y, low), (end - 0.1, y, low), (end - 0.18, y, high), (x + 0.5, y, high)]
        build.face(pane, _GLASS, role=PAINT)
        mirror_low, mirror_high = sorted((hand * (half + 0.05), hand * (half + 0.25)))
        build.box((end - 0.15, mirror_low, 0.6 * top), (end - 0.05, mirror_high, 0.82 * top), _PLASTIC)


def _truck_load(
    build: MeshBuilder,
    end: float,
    x: float,
    half: float,
    floor: float,
    height_m: float,
    colour: Colour,
    is_braking: bool,
    night: bool,
) -> None:
    build.middle = (0.5 * (x - end), 0.0, 0.5 * height_m)
    rear = -end - 0.01
    # Doors with their seam and bars, a bumper beneath, a stripe along the sides.
    for y in (-half * 0.5, 0.0, half * 0.5):
        build.face(
            _rectangle(rear, y - 0.02, y + 0.02, floor + 0.1, height_m - 0.1),
            (120.0, 120.0, 118.0),
            role=PAINT,
        )
    build.face(_rectangle(rear, -half, half, floor - 0.35, floor), _PLASTIC)
    build.face(_rectangle(rear - 0.01, -0.26, 0.26, floor - 0.3, floor - 0.18), _PLATE, role=PAINT)
    tail, glow = _rear_lamp(is_braking, night)
    for hand in (-1.0, 1.0):
        build.face(
            _rectangle(rear - 0.01, hand * half * 0.68, hand * half * 0.98, floor - 0.28, floor - 0.08),
            tail,
            glow=glow,
            role=PAINT,
        )
        y = hand * (half + 0.01)
        low, high = floor + 0.28 * (height_m - floor), floor + 0.42 * (height_m - floor)
        build.face(
            [(-end, y, low), (x - 0.15, y, low), (x - 0.15, y, high), (-end, y, high)], colour, role=PAINT
        )
