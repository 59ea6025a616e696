# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Meshes of traffic lights, stop signs and street lamps."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ad_road_simulation.renderer.meshes import (
    DECAL,
    LABELED,
    UNLABELED,
    Color,
    Limbs,
    Mesh,
    MeshBuilder,
    Part,
    Point,
    limbs,
    rectangle_across,
)
from ad_road_simulation.world.scene import LightState

LIT: dict[LightState, Color] = {
    "red": (48.0, 40.0, 255.0),
    "yellow": (40.0, 205.0, 255.0),
    "green": (150.0, 255.0, 60.0),
}
LENS_UP_M: dict[LightState, float] = {"red": 0.33, "yellow": 0.0, "green": -0.33}
"""Height of a lens above the center of its head."""

_UNLIT: dict[LightState, Color] = {
    "red": (24.0, 22.0, 58.0),
    "yellow": (20.0, 44.0, 54.0),
    "green": (30.0, 44.0, 20.0),
}
_HEAD_WIDTH_M, _HEAD_HEIGHT_M, _HEAD_DEPTH_M = 0.40, 1.05, 0.28
_RIM_M, _PLATE_M = 0.11, 0.08
_LENS_M = 0.13
_SIGN_WIDTH_M = 0.75
_POLE: Color = (112.0, 112.0, 108.0)
_BLACK: Color = (30.0, 30.0, 28.0)


@lru_cache(maxsize=64)
def traffic_light(height_m: float, state: LightState, labeled: bool) -> Mesh:
    """Return a signal head that faces along x; without a label it is an unlabeled solid."""
    role = LABELED if labeled else UNLABELED
    half, low, top = 0.5 * _HEAD_WIDTH_M, height_m - 0.5 * _HEAD_HEIGHT_M, height_m + 0.5 * _HEAD_HEIGHT_M
    depth = 0.5 * _HEAD_DEPTH_M
    build = MeshBuilder(role=role)
    # The backplate's light rim and dark field; from behind it is gray.
    build.middle = (-1.0, 0.0, height_m)
    build.face(_plate(-depth, half, low, top, _RIM_M), (206.0, 210.0, 212.0))
    build.decal(_plate(-depth + 0.005, half, low, top, _PLATE_M), _BLACK)
    build.box((-depth, -half, low), (depth, half, top), (38.0, 38.0, 36.0))
    build.middle = (1.0, 0.0, height_m)
    build.face(_plate(-depth - 0.005, half, low, top, _RIM_M), (58.0, 60.0, 58.0))
    build.middle = (-1.0, 0.0, height_m)
    for name, up in LENS_UP_M.items():
        center = (depth + 0.01, 0.0, height_m + up)
        build.disc(center, _LENS_M + 0.025, (16.0, 16.0, 16.0), along="x", role=DECAL, corners=12)
        is_lit = name == state
        color = LIT[name] if is_lit else _UNLIT[name]
        build.disc(center, _LENS_M, color, along="x", role=DECAL, glow=1.0 if is_lit else 0.0)
        if is_lit:
            # The center is paler, as the sensor saturates there.
            blue, green, red = (min(255.0, 0.45 * value + 140.0) for value in LIT[name])
            build.disc(center, 0.5 * _LENS_M, (blue, green, red), along="x", role=DECAL, glow=1.0)
        # A visor above every lens.
        z, tip = height_m + up + _LENS_M + 0.02, depth + 0.18
        hood: list[Point] = [(depth, -0.15, z), (depth, 0.15, z), (tip, 0.13, z), (tip, -0.13, z)]
        build.face(hood, _BLACK, role=DECAL, two_sided=True)
    return build.mesh()


def _plate(x: float, half: float, low: float, top: float, margin: float) -> list[Point]:
    return rectangle_across(x, -half - margin, half + margin, low - margin, top + margin)


BEHIND_M = 0.3
"""Distance of poles, and of the ends of their arms, behind the heads."""


def light_pole(tip: tuple[float, float], height_m: float) -> Limbs:
    """Return a pole with an arm to a point above a head, or without an arm where the head is at the pole.

    Args:
        tip: of the arm, in the pole's frame.
        height_m: of the head's middle.
    """
    x, y = tip
    if float(np.hypot(x, y)) < 0.3:
        return limbs([((0.0, 0.0, 0.0), (0.0, 0.0, height_m + 0.6), 0.09, 0.07, _POLE)], UNLABELED)
    top, arm = height_m + 0.75, height_m + 0.65
    parts: list[Part] = [((0.0, 0.0, 0.0), (0.0, 0.0, top), 0.10, 0.08, _POLE)]
    parts.append(((0.0, 0.0, arm), (x, y, arm), 0.06, 0.045, _POLE))
    parts.append(((x, y, arm), (x, y, height_m), 0.035, 0.035, _POLE))
    return limbs(parts, UNLABELED)


# Letters of the stop sign as strokes in a box 1 wide and 2 high.
_LETTERS: dict[str, list[tuple[float, float]]] = {
    "S": [
        *((0.95, 1.7), (0.7, 2.0), (0.3, 2.0), (0.05, 1.75), (0.05, 1.3)),
        *((0.95, 0.7), (0.95, 0.25), (0.7, 0.0), (0.3, 0.0), (0.05, 0.3)),
    ],
    "T": [(0.0, 2.0), (1.0, 2.0), (0.5, 2.0), (0.5, 0.0)],
    "O": [
        *((0.3, 0.0), (0.05, 0.4), (0.05, 1.6), (0.3, 2.0), (0.7, 2.0)),
        *((0.95, 1.6), (0.95, 0.4), (0.7, 0.0), (0.3, 0.0)),
    ],
    "P": [(0.05, 0.0), (0.05, 2.0), (0.7, 2.0), (0.95, 1.75), (0.95, 1.25), (0.7, 1.0), (0.05, 1.0)],
}


@lru_cache(maxsize=16)
def stop_sign(height_m: float, labeled: bool) -> tuple[Mesh, Limbs]:
    """Return a stop sign facing along x, its center at the given height, and its post."""
    # Across the flats 0.75 m; corners at 22.5 degrees off the axes.
    radius = 0.5 * _SIGN_WIDTH_M / float(np.cos(np.pi / 8))
    turn = np.pi / 8 + np.arange(8) * (np.pi / 4)
    across, up = (radius * np.cos(turn)).tolist(), (radius * np.sin(turn)).tolist()

    def octagon(share: float, x: float) -> list[Point]:
        return [(x, share * y, height_m + share * z) for y, z in zip(across, up, strict=True)]

    build = MeshBuilder(middle=(-1.0, 0.0, height_m), role=LABELED if labeled else UNLABELED)
    build.face(octagon(1.0, 0.04), (232.0, 234.0, 236.0))
    build.decal(octagon(0.93, 0.045), (44.0, 34.0, 190.0))
    wide, gap, tall = 0.105, 0.045, 0.115
    start = 0.5 * (4 * wide + 3 * gap)
    for index, letter in enumerate("STOP"):
        # The reader faces the sign, so its left is on the right.
        left = index * (wide + gap) - start
        points = [(0.05, left + x * wide, height_m + (z - 1.0) * tall) for x, z in _LETTERS[letter]]
        # Forth and back, as outlines are closed.
        build.face(
            points + points[-2:0:-1], (236.0, 238.0, 240.0), stroke_m=0.032, role=DECAL, two_sided=True
        )
    # Letters are two-sided outlines; from behind the sign's back face covers them.
    build.middle = (1.0, 0.0, height_m)
    build.face(octagon(1.0, 0.035), (136.0, 136.0, 134.0))
    post = limbs([((0.0, 0.0, 0.0), (0.0, 0.0, height_m + 0.2), 0.035, 0.035, _POLE)], UNLABELED)
    return build.mesh(), post


LAMP_M = 7.0
"""Height of the lamp mesh, which is stretched to the requested height."""
LAMP_REACH_M = 1.9


@lru_cache(maxsize=2)
def street_lamp(night: bool) -> tuple[Mesh, Limbs]:
    """Return a street lamp and its pole, whose arm extends along x, over the road."""
    bend = LAMP_M - 0.8
    pole = limbs(
        [
            ((0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 0.11, 0.09, _POLE),
            ((0.0, 0.0, 1.0), (0.0, 0.0, bend), 0.075, 0.055, _POLE),
            ((0.0, 0.0, bend), (0.5 * LAMP_REACH_M, 0.0, LAMP_M), 0.05, 0.045, _POLE),
            ((0.5 * LAMP_REACH_M, 0.0, LAMP_M), (LAMP_REACH_M, 0.0, LAMP_M), 0.04, 0.04, _POLE),
        ],
        UNLABELED,
    )
    build = MeshBuilder(role=UNLABELED)
    near, far = LAMP_REACH_M - 0.35, LAMP_REACH_M + 0.35
    build.box((near, -0.14, LAMP_M - 0.06), (far, 0.14, LAMP_M + 0.08), (120.0, 120.0, 118.0))
    build.middle = (LAMP_REACH_M, 0.0, LAMP_M + 1.0)
    glass: Color = (170.0, 225.0, 255.0) if night else (205.0, 208.0, 206.0)
    z = LAMP_M - 0.07
    pane: list[Point] = [(near, -0.11, z), (far, -0.11, z), (far, 0.11, z), (near, 0.11, z)]
    build.decal(pane, glass, glow=1.0 if night else 0.3)
    return build.mesh(), pole
