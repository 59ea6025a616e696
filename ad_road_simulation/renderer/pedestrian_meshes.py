# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Articulated meshes of pedestrians and riders, animated by the distance traveled.

Pedestrians are modeled 1 m high and scaled to the requested height; the coat has the person's own color.
"""

from __future__ import annotations

from functools import lru_cache
from math import cos, hypot, pi, sin, sqrt

from ad_road_simulation.renderer.meshes import Color, FaceColor, Limbs, Part, Point, limbs

VARIANTS = 60
"""Number of appearances; seeds that differ by this look alike."""
STEPS = 24
"""Animation phases of one stride, which is two steps."""
STRIDE_M = 0.85
"""Stride length of a person 1 m high."""

_SKIN = ((150.0, 178.0, 218.0), (112.0, 142.0, 190.0), (62.0, 84.0, 122.0), (168.0, 190.0, 226.0))
_HAIR = ((28.0, 32.0, 40.0), (40.0, 62.0, 92.0), (90.0, 140.0, 178.0), (110.0, 110.0, 112.0))
_TROUSERS = (
    (92.0, 64.0, 44.0),
    (48.0, 46.0, 46.0),
    (110.0, 122.0, 134.0),
    (60.0, 74.0, 84.0),
    (36.0, 34.0, 70.0),
)
_SHOE: Color = (38.0, 36.0, 40.0)
_COAT: FaceColor = 1.0


def darker(color: Color, gain: float) -> Color:
    """Return a color multiplied by a gain."""
    return color[0] * gain, color[1] * gain, color[2] * gain


def _leg(hip: Point, thigh_rad: float, knee_rad: float, color: Color) -> list[Part]:
    """Return thigh, shin and shoe; angles are forward from straight down, the knee angle is backwards."""
    x, y, z = hip
    thigh, shin = 0.245, 0.235
    knee = (x + thigh * sin(thigh_rad), y, z - thigh * cos(thigh_rad))
    lower = thigh_rad - knee_rad
    ankle = (knee[0] + shin * sin(lower), y, knee[2] - shin * cos(lower))
    toe = (ankle[0] + 0.085, y, max(ankle[2] - 0.012, 0.02))
    return [
        (hip, knee, 0.052, 0.038, color),
        (knee, ankle, 0.038, 0.027, darker(color, 0.93)),
        ((ankle[0] - 0.01, y, ankle[2]), toe, 0.024, 0.018, _SHOE),
    ]


def _arm(shoulder: Point, swing_rad: float, bend_rad: float, skin: Color) -> list[Part]:
    x, y, z = shoulder
    elbow = (x + 0.165 * sin(swing_rad), y * 1.08, z - 0.165 * cos(swing_rad))
    turn = swing_rad + bend_rad
    hand = (elbow[0] + 0.16 * sin(turn), y * 1.06, elbow[2] - 0.16 * cos(turn))
    return [
        (shoulder, elbow, 0.034, 0.028, 0.90),
        (elbow, hand, 0.027, 0.02, 0.82),
        (hand, (hand[0], hand[1], hand[2] - 0.03), 0.02, 0.018, skin),
    ]


def _head(neck: Point, skin: Color, hair: Color) -> list[Part]:
    x, y, z = neck
    radius, middle = 0.058, z + 0.085
    return [
        ((x, y, z), (x, y, z + 0.04), 0.03, 0.03, darker(skin, 0.85)),
        ((x + 0.004, y, middle - 0.012), (x + 0.004, y, middle + 0.014), radius * 0.86, radius, skin),
        # Hair: over the top and down the back of the head.
        ((x - 0.022, y, middle - 0.004), (x - 0.01, y, middle + 0.026), radius * 0.92, radius * 0.98, hair),
    ]


def step_of(height_m: float, phase_m: float) -> int:
    """Return the animation phase after a distance traveled."""
    return int(phase_m / (STRIDE_M * height_m) * STEPS) % STEPS


@lru_cache(maxsize=4096)
def pedestrian(variant: int, pace: int, step: int) -> Limbs:
    """Return a pedestrian.

    Args:
        variant: below VARIANTS.
        pace: 0 standing to 4 running.
        step: animation phase, below STEPS.
    """
    skin, hair = _SKIN[variant % len(_SKIN)], _HAIR[(variant // 4) % len(_HAIR)]
    trousers = _TROUSERS[variant % len(_TROUSERS)]
    swing, turn = (0.05, 0.24, 0.40, 0.52, 0.62)[pace], 2.0 * pi * (step + 0.5) / STEPS
    left, right = swing * sin(turn), -swing * sin(turn)
    # The knee bends while its leg is brought forward.
    bend_left, bend_right = (
        swing * (0.25 + 1.1 * max(0.0, cos(turn))),
        swing * (0.25 + 1.1 * max(0.0, -cos(turn))),
    )
    hip_z = 0.515 - 0.25 * (1.0 - cos(left))
    shoulder_z = hip_z + 0.295
    chest = shoulder_z - 0.03
    parts = _leg((0.0, 0.052, hip_z), left, bend_left, trousers)
    parts += _leg((0.0, -0.052, hip_z), right, bend_right, darker(trousers, 0.9))
    for side in (-1.0, 1.0):
        parts.append(((0.0, side * 0.045, hip_z), (0.0, side * 0.062, chest), 0.062, 0.06, _COAT))
        if variant % 3 == 0:
            # A long coat hangs over the hips.
            parts.append(((0.0, side * 0.05, hip_z - 0.1), (0.0, side * 0.045, hip_z), 0.068, 0.066, 0.93))
    if variant % 5 == 1:
        bag = darker(_TROUSERS[(variant + 2) % 5], 1.2)
        parts.append(((-0.09, 0.0, hip_z + 0.07), (-0.08, 0.0, chest - 0.01), 0.07, 0.065, bag))
    bend = 0.2 + 0.3 * swing
    parts += _arm((0.0, 0.105, shoulder_z - 0.02), right * 0.8, bend, skin)
    parts += _arm((0.0, -0.105, shoulder_z - 0.02), left * 0.8, bend, skin)
    parts += _head((0.01, 0.0, shoulder_z), skin, hair)
    return limbs(parts)


def rider(
    seat: Point,
    grip: Point,
    feet: tuple[Point, Point],
    size_m: float,
    variant: int,
    coat: float | Color,
    helmet: Color | None,
) -> Limbs:
    """Return a rider.

    Args:
        seat: position of the hips.
        grip: position of the left hand; the right one is mirrored.
        feet: left and right.
        size_m: body height.
        variant: below VARIANTS.
        coat: fixed color, or a factor on the object's own color.
        helmet: its color, None without one.
    """
    skin, trousers = _SKIN[variant % len(_SKIN)], _TROUSERS[variant % len(_TROUSERS)]
    x, _, z = seat
    shoulder_x, shoulder_z = x + 0.3 * size_m * sin(0.35), z + 0.3 * size_m * cos(0.35)
    shade: FaceColor = 0.88 if isinstance(coat, float) else darker(coat, 0.88)
    parts: list[Part] = []
    for side, foot in zip((1.0, -1.0), feet, strict=True):
        hip = (x, side * 0.05 * size_m, z)
        across, down = foot[0] - x, foot[2] - z
        away = max(hypot(across, down), 1e-6)
        span = min(away, 0.47 * size_m)
        # The knee, from the triangle of thigh and shin, lies forward of the line from hip to foot.
        out = sqrt(max(0.0, (0.24 * size_m) ** 2 - (span / 2) ** 2))
        along = (across / away, down / away)
        knee = (
            x + along[0] * span / 2 - along[1] * out,
            side * 0.075 * size_m,
            z + along[1] * span / 2 + along[0] * out,
        )
        parts.append((hip, knee, 0.052, 0.038, trousers))
        parts.append((knee, foot, 0.037, 0.027, darker(trousers, 0.9)))
        parts.append((foot, (foot[0] + 0.08 * size_m, foot[1], foot[2] - 0.01), 0.024, 0.018, _SHOE))
    for side in (-1.0, 1.0):
        hip = (x, side * 0.045 * size_m, z)
        parts.append((hip, (shoulder_x, side * 0.06 * size_m, shoulder_z - 0.03), 0.06, 0.058, coat))
        shoulder = (shoulder_x, side * 0.1 * size_m, shoulder_z - 0.03)
        hand = (grip[0], side * grip[1], grip[2])
        elbow_z = 0.5 * (shoulder[2] + hand[2]) - 0.07 * size_m
        elbow = (0.5 * (shoulder[0] + hand[0]) - 0.02, side * 0.14 * size_m, elbow_z)
        parts.append((shoulder, elbow, 0.033, 0.028, shade))
        parts.append((elbow, hand, 0.027, 0.022, shade))
    # Radii so far are shares of the body height; the head is that of a person 1 m high.
    scaled = [(one, two, first * size_m, second * size_m, color) for one, two, first, second, color in parts]
    neck = (shoulder_x + 0.03 * size_m, 0.0, shoulder_z)
    for one, two, first, second, color in _head((0.0, 0.0, 0.0), skin, helmet or _HAIR[(variant // 4) % 4]):
        ends = [(neck[0] + e[0] * size_m, e[1], neck[2] + e[2] * size_m) for e in (one, two)]
        scaled.append((ends[0], ends[1], first * size_m, second * size_m, color))
    return limbs(scaled)
