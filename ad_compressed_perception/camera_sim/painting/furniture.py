# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Traffic lights, stop signs and street lamps."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ad_compressed_perception.camera_sim.painting.shapes import (
    FOREIGN,
    OWN,
    PAINT,
    Colour,
    Limbs,
    Mesh,
    MeshBuilder,
    Point,
    limbs,
)
from ad_compressed_perception.camera_sim.scene import LightState

HEAD_WIDTH_M, HEAD_HEIGHT_M, HEAD_DEPTH_M = 0.40, 1.05, 0.28
SIGN_WIDTH_M = 0.75
LENS_M = 0.13
LIT: dict[LightState, Colour] = {
    "red": (48.0, 40.0, 255.0),
    "yellow": (40.0, 205.0, 255.0),
    "green": (150.0, 255.0, 60.0),
}
_UNLIT: dict[LightState, Colour] = {
    "red": (24.0, 22.0, 58.0),
    "yellow": (20.0, 44.0, 54.0),
    "green": (30.0, 44.0, 20.0),
}
_LENS_UP_M: dict[LightState, float] = {"red": 0.33, "yellow": 0.0, "green": -0.33}
_POLE: Colour = (112.0, 112.0, 108.0)


def lens_up_m(state: LightState) -> float:
    """Return how far a lens lies above the middle of its head."""
    return _LENS_UP_M[state]


@lru_cache(maxsize=64)
def traffic_light(height_m: float, state: LightState, labelled: bool) -> Mesh:
    """Return a signal head; it looks along x. Without a label it is like any other thing."""
    half, top, low = 0.5 * HEAD_WIDTH_M, height_m + 0.5 * HEAD_HEIGHT_M, height_m - 0.5 * HEAD_HEIGHT_M
    build = MeshBuilder(role=FOREIGN)
    depth = 0.5 * HEAD_DEPTH_M
    # The backplate with its light rim; seen from both sides.
    build.middle = (0.0, 0.0, height_m)
    rim = _panel(-depth + 0.01, half + 0.11, low - 0.11, top + 0.11)
    build.face(rim, (206.0, 210.0, 212.0), two_sided=True, role=OWN if labelled else FOREIGN)
    build.face(_panel(-depth + 0.015, half + 0.08, low - 0.08, top + 0.08), (30.0, 30.0, 28.0), role=PAINT)
    build.face(_panel(-depth, half + 0.11, low - 0.11, top + 0.11), (52.0, 54.0, 52.0), role=PAINT)
    build.role = OWN if labelled else FOREIGN
    build.box((-depth, -half, low), (depth, half, top), (38.0, 38.0, 36.0))
    build.middle = (0.0, 0.0, height_m)
    for name, up in _LENS_UP_M.items():
        centre = (depth + 0.01, 0.0, height_m + up)
        build.disc(centre, LENS_M + 0.025, (16.0, 16.0, 16.0), along="x", role=PAINT, corners=12)
        is_lit = name == state
        build.disc(
            centre,
            LENS_M,
            LIT[name] if is_lit else _UNLIT[name],
            along="x",
            role=PAINT,
            glow=1.0 if is_lit else 0.0,
        )
        if is_lit:
            # The bright middle of the lamp: paler, as the sensor runs full there.
            pale = tuple(min(255.0, 0.45 * value + 140.0) for value in LIT[name])
            build.disc(centre, LENS_M * 0.55, (pale[0], pale[1], pale[2]), along="x", role=PAINT, glow=1.0)
        # A visor keeps the sun off every lens.
        z = height_m + up + LENS_M + 0.02
        hood: list[Point] = [
            (depth, -0.15, z),
            (depth, 0.15, z),
            (depth + 0.18, 0.13, z),
            (depth + 0.18, -0.13, z),
        ]
        build.face(hood, (30.0, 30.0, 28.0), role=PAINT, two_sided=True)
    return build.mesh()


def _panel(x: float, half: float, low: float, top: float) -> list[Point]:
    return [(x, -half, low), (x, half, low), (x, half, top), (x, -half, top)]


def light_pole(foot_m: tuple[float, float], height_m: float) -> Limbs:
    """Return the pole, and the arm to a head that hangs beside it; the foot is in the head's frame."""
    x, y = foot_m
    away = float(np.hypot(x, y))
    top = height_m + 0.75
    parts: list[tuple[Point, Point, float, float, Colour]] = [((x, y, 0.0), (x, y, top), 0.09, 0.07, _POLE)]
    if away > 0.3:
        parts.append(((x, y, top - 0.1), (-0.15, 0.0, top - 0.1), 0.06, 0.045, _POLE))
        parts.append(((-0.15, 0.0, top - 0.1), (-0.15, 0.0, height_m), 0.035, 0.035, _POLE))
    return limbs(parts, FOREIGN)


# Letters of the stop sign as strokes in a box 1 wide and 2 high.
_LETTERS: dict[str, list[tuple[float, float]]] = {
    "S": [
        (0.95, 1.7),
        (0.7, 2.0),
        (0.3, 2.0),
        (0.05, 1.75),
        (0.05, 1.3),
        (0.95, 0.7),
        (0.95, 0.25),
        (0.7, 0.0),
        (0.3, 0.0),
        (0.05, 0.3),
    ],
    "T": [(0.0, 2.0), (1.0, 2.0), (0.5, 2.0), (0.5, 0.0)],
    "O": [
        (0.3, 0.0),
        (0.05, 0.4),
        (0.05, 1.6),
        (0.3, 2.0),
        (0.7, 2.0),
        (0.95, 1.6),
        (0.95, 0.4),
        (0.7, 0.0),
        (0.3, 0.0),
    ],
    "P": [(0.05, 0.0), (0.05, 2.0), (0.7, 2.0), (0.95, 1.75), (0.95, 1.25), (0.7, 1.0), (0.05, 1.0)],
}


@lru_cache(maxsize=16)
def stop_sign(height_m: float, labelled: bool) -> tuple[Mesh, Limbs]:
    """Return a stop sign looking along x, its middle at the height given, and its post."""
    build = MeshBuilder(middle=(-1.0, 0.0, height_m), role=OWN if labelled else FOREIGN)
    # Across the flats 0.75 m; corners at 22.5 degrees off the axes.
    radius = 0.5 * SIGN_WIDTH_M / float(np.cos(np.pi / 8))
    turn = np.pi / 8 + np.arange(8) * (np.pi / 4)

    def octagon(share: float, x: float) -> list[Point]:
        return [
            (x, radius * share * float(np.cos(a)), height_m + radius * share * float(np.sin(a))) for a in turn
        ]

    build.face(octagon(1.0, 0.04), (232.0, 234.0, 236.0))
    build.face(octagon(0.93, 0.045), (44.0, 34.0, 190.0), role=PAINT)
    wide, gap, tall = 0.105, 0.045, 0.115
    start = 0.5 * (4 * wide + 3 * gap)
    for index, letter in enumerate("STOP"):
        left = start - index * (wide + gap)
        points = [(0.05, left - x * wide, height_m + (z - 1.0) * tall) for x, z in _LETTERS[letter]]
        # There and back, as outlines are closed.
        build.face(
            points + points[-2:0:-1], (236.0, 238.0, 240.0), stroke_m=0.032, role=PAINT, two_sided=False
        )
    build.middle = (1.0, 0.0, height_m)
    build.face(octagon(1.0, 0.035), (136.0, 136.0, 134.0))
    post = limbs(
        [((0.0, 0.0, 0.0), (0.0, 0.0, height_m + 0.2), 0.035, 0.035, (130.0, 130.0, 128.0))], FOREIGN
    )
    return build.mesh(), post


@lru_cache(maxsize=32)
def street_lamp(height_m: float, reach_m: float, night: bool) -> tuple[Mesh, Limbs]:
    """Return a lamp whose arm reaches along x, over the road."""
    bend = min(0.9, 0.12 * height_m)
    pole = limbs(
        [
            ((0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 0.11, 0.09, _POLE),
            ((0.0, 0.0, 1.0), (0.0, 0.0, height_m - bend), 0.075, 0.055, _POLE),
            ((0.0, 0.0, height_m - bend), (0.5 * reach_m, 0.0, height_m), 0.05, 0.045, _POLE),
            ((0.5 * reach_m, 0.0, height_m), (reach_m, 0.0, height_m), 0.04, 0.04, _POLE),
        ],
        FOREIGN,
    )
    build = MeshBuilder(role=FOREIGN)
    build.box(
        (reach_m - 0.35, -0.14, height_m - 0.06),
        (reach_m + 0.35, 0.14, height_m + 0.08),
        (120.0, 120.0, 118.0),
    )
    build.middle = (reach_m, 0.0, height_m + 1.0)
    glass: Colour = (170.0, 225.0, 255.0) if night else (205.0, 208.0, 206.0)
    z = height_m - 0.07
    build.face(
        [
            (reach_m - 0.3, -0.11, z),
            (reach_m + 0.3, -0.11, z),
            (reach_m + 0.3, 0.11, z),
            (reach_m - 0.3, 0.11, z),
        ],
        glass,
        glow=1.0 if night else 0.3,
        role=PAINT,
    )
    return build.mesh(), pole
