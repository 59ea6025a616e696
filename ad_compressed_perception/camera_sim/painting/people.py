# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""People on foot and on two wheels: round limbs on joints that move with the distance travelled."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ad_compressed_perception.camera_sim.painting.shapes import (
    PAINT,
    Colour,
    Limbs,
    Mesh,
    MeshBuilder,
    Point,
    limbs,
)

_SKIN = ((150.0, 178.0, 218.0), (112.0, 142.0, 190.0), (62.0, 84.0, 122.0), (168.0, 190.0, 226.0))
_HAIR = ((28.0, 32.0, 40.0), (40.0, 62.0, 92.0), (90.0, 140.0, 178.0), (110.0, 110.0, 112.0))
_TROUSERS = (
    (92.0, 64.0, 44.0),
    (48.0, 46.0, 46.0),
    (110.0, 122.0, 134.0),
    (60.0, 74.0, 84.0),
    (36.0, 34.0, 70.0),
)
_SHOE: Colour = (38.0, 36.0, 40.0)
_TYRE: Colour = (34.0, 33.0, 32.0)

_Part = tuple[Point, Point, float, float, Colour]


def _darker(colour: Colour, gain: float) -> Colour:
    return colour[0] * gain, colour[1] * gain, colour[2] * gain


def _leg(hip: Point, thigh_rad: float, knee_rad: float, height_m: float, colour: Colour) -> list[_Part]:
    """Return thigh, shin and shoe; angles are forward from straight down, the knee's bends backwards."""
    x, y, z = hip
    thigh, shin = 0.245 * height_m, 0.235 * height_m
    knee = (x + thigh * float(np.sin(thigh_rad)), y, z - thigh * float(np.cos(thigh_rad)))
    lower = thigh_rad - knee_rad
    foot = (knee[0] + shin * float(np.sin(lower)), y, knee[2] - shin * float(np.cos(lower)))
    toe = (foot[0] + 0.085 * height_m, y, max(foot[2] - 0.012 * height_m, 0.02))
    return [
        (hip, knee, 0.052 * height_m, 0.038 * height_m, colour),
        (knee, foot, 0.038 * height_m, 0.027 * height_m, _darker(colour, 0.93)),
        ((foot[0] - 0.01 * height_m, y, foot[2]), toe, 0.024 * height_m, 0.018 * height_m, _SHOE),
    ]


def _arm(
    shoulder: Point, swing_rad: float, bend_rad: float, height_m: float, coat: Colour, skin: Colour
) -> list[_Part]:
    x, y, z = shoulder
    upper, lower = 0.165 * height_m, 0.16 * height_m
    elbow = (x + upper * float(np.sin(swing_rad)), y * 1.08, z - upper * float(np.cos(swing_rad)))
    turn = swing_rad + bend_rad
    hand = (elbow[0] + lower * float(np.sin(turn)), y * 1.06, elbow[2] - lower * float(np.cos(turn)))
    return [
        (shoulder, elbow, 0.034 * height_m, 0.028 * height_m, _darker(coat, 0.92)),
        (elbow, hand, 0.027 * height_m, 0.02 * height_m, _darker(coat, 0.86)),
        (hand, (hand[0], hand[1], hand[2] - 0.03 * height_m), 0.02 * height_m, 0.018 * height_m, skin),
    ]


def _head(neck: Point, height_m: float, skin: Colour, hair: Colour) -> list[_Part]:
    x, y, z = neck
    radius = 0.058 * height_m
    middle = z + 0.085 * height_m
    return [
        ((x, y, z), (x, y, z + 0.04 * height_m), 0.03 * height_m, 0.03 * height_m, _darker(skin, 0.85)),
        (
            (x + 0.004, y, middle - 0.012 * height_m),
            (x + 0.004, y, middle + 0.014 * height_m),
            radius * 0.86,
            radius,
            skin,
        ),
        # Hair: over the top and down the back of the head.
        (
            (x - 0.022 * height_m, y, middle - 0.004 * height_m),
            (x - 0.01 * height_m, y, middle + 0.026 * height_m),
            radius * 0.92,
            radius * 0.98,
            hair,
        ),
    ]


def pedestrian(height_m: float, coat: Colour, seed: int, speed_mps: float, phase_m: float) -> Limbs:
    """Return somebody on foot; the legs swing once in about 0.85 of the height."""
    skin, hair = _SKIN[seed % len(_SKIN)], _HAIR[(seed // 4) % len(_HAIR)]
    trousers = _TROUSERS[(seed // 3) % len(_TROUSERS)]
    swing = float(np.clip(speed_mps / 1.4, 0.0, 1.6)) * 0.42 if abs(speed_mps) > 0.1 else 0.06
    turn = 2.0 * np.pi * phase_m / (0.85 * height_m)
    left, right = swing * float(np.sin(turn)), -swing * float(np.sin(turn))
    # The knee bends while its leg is brought forward.
    bend_left = swing * (0.25 + 1.1 * max(0.0, float(np.cos(turn))))
    bend_right = swing * (0.25 + 1.1 * max(0.0, -float(np.cos(turn))))
    hip_z = 0.515 * height_m - 0.03 * height_m * (1.0 - float(np.cos(left)))
    hip, shoulder = 0.052 * height_m, 0.105 * height_m
    shoulder_z = hip_z + 0.295 * height_m
    parts = _leg((0.0, hip, hip_z), left, bend_left, height_m, trousers)
    parts += _leg((0.0, -hip, hip_z), right, bend_right, height_m, _darker(trousers, 0.9))
    chest = shoulder_z - 0.03 * height_m
    for side in (-1.0, 1.0):
        parts.append(
            (
                (0.0, side * 0.045 * height_m, hip_z),
                (0.0, side * 0.062 * height_m, chest),
                0.062 * height_m,
                0.06 * height_m,
                coat,
            )
        )
    if seed % 3 == 0:
        # A long coat hangs over the hips.
        for side in (-1.0, 1.0):
            parts.append(
                (
                    (0.0, side * 0.05 * height_m, hip_z - 0.1 * height_m),
                    (0.0, side * 0.045 * height_m, hip_z),
                    0.068 * height_m,
                    0.066 * height_m,
                    _darker(coat, 0.95),
                )
            )
    if seed % 5 == 1:
        parts.append(
            (
                (-0.1 * height_m, 0.0, hip_z + 0.06 * height_m),
                (-0.09 * height_m, 0.0, chest),
                0.075 * height_m,
                0.07 * height_m,
                _darker(_TROUSERS[seed % 5], 1.1),
            )
        )
    parts += _arm(
        (0.0, shoulder, shoulder_z - 0.02 * height_m), right * 0.8, 0.2 + 0.3 * swing, height_m, coat, skin
    )
    parts += _arm(
        (0.0, -shoulder, shoulder_z - 0.02 * height_m), left * 0.8, 0.2 + 0.3 * swing, height_m, coat, skin
    )
    parts += _head((0.01 * height_m, 0.0, shoulder_z), height_m, skin, hair)
    return limbs(parts)


def _rider(
    seat: Point,
    grip_m: tuple[float, float, float],
    pedal: tuple[Point, Point],
    size_m: float,
    coat: Colour,
    seed: int,
    helmet: Colour | None,
) -> Limbs:
    """Return somebody sitting: hips on the seat, hands at the grips, feet on pedals or rests."""
    skin = _SKIN[seed % len(_SKIN)]
    trousers = _TROUSERS[(seed // 3) % len(_TROUSERS)]
    lean = 0.35
    x, _, z = seat
    back = 0.3 * size_m
    shoulder_x, shoulder_z = x + back * float(np.sin(lean)), z + back * float(np.cos(lean))
    parts: list[_Part] = []
    for side, foot in zip((1.0, -1.0), pedal, strict=True):
        hip = (x, side * 0.05 * size_m, z)
        reach = np.array([foot[0] - hip[0], foot[2] - hip[2]])
        span = min(float(np.hypot(*reach)), 0.47 * size_m)
        # The knee, from the triangle of thigh and shin, lies forward of the line from hip to foot.
        out = float(np.sqrt(max(0.0, (0.24 * size_m) ** 2 - (span / 2) ** 2)))
        along = reach / max(float(np.hypot(*reach)), 1e-6)
        knee = (
            hip[0] + along[0] * span / 2 - along[1] * out,
            side * 0.075 * size_m,
            hip[2] + along[1] * span / 2 + along[0] * out,
        )
        parts.append((hip, knee, 0.052 * size_m, 0.038 * size_m, trousers))
        parts.append((knee, foot, 0.037 * size_m, 0.027 * size_m, _darker(trousers, 0.9)))
        parts.append(
            (foot, (foot[0] + 0.08 * size_m, foot[1], foot[2] - 0.01), 0.024 * size_m, 0.018 * size_m, _SHOE)
        )
    for side in (-1.0, 1.0):
        parts.append(
            (
                (x, side * 0.045 * size_m, z),
                (shoulder_x, side * 0.06 * size_m, shoulder_z - 0.03),
                0.06 * size_m,
                0.058 * size_m,
                coat,
            )
        )
    for side in (-1.0, 1.0):
        shoulder = (shoulder_x, side * 0.1 * size_m, shoulder_z - 0.03)
        hand = (grip_m[0], side * grip_m[1], grip_m[2])
        elbow = (
            0.5 * (shoulder[0] + hand[0]) - 0.02,
            side * 0.14 * size_m,
            0.5 * (shoulder[2] + hand[2]) - 0.07 * size_m,
        )
        parts.append((shoulder, elbow, 0.033 * size_m, 0.028 * size_m, _darker(coat, 0.92)))
        parts.append((elbow, hand, 0.027 * size_m, 0.022 * size_m, _darker(coat, 0.85)))
    hair = helmet if helmet is not None else _HAIR[(seed // 4) % len(_HAIR)]
    parts += _head((shoulder_x + 0.03 * size_m, 0.0, shoulder_z), size_m, skin, hair)
    return limbs(parts)


@lru_cache(maxsize=64)
def _bicycle_mesh(length_m: float, colour: Colour) -> Mesh:
    radius = 0.19 * length_m
    front, rear = 0.5 * length_m - radius, -0.5 * length_m + radius
    build = MeshBuilder()
    for x in (rear, front):
        build.disc((x, 0.0, radius), radius - 0.02, _TYRE, stroke_m=0.045, two_sided=True, corners=18)
        build.disc((x, 0.0, radius), 0.05, (120.0, 120.0, 120.0), two_sided=True, corners=8)
    crank = (rear + 0.45 * (front - rear), 0.0, radius * 0.9)
    seat = (rear + 0.32 * (front - rear), 0.0, radius * 2.55)
    head = (front - 0.12 * length_m, 0.0, radius * 2.5)
    for first, second in (
        ((rear, 0.0, radius), crank),
        ((rear, 0.0, radius), seat),
        (crank, seat),
        (crank, head),
        (seat, head),
        ((front, 0.0, radius), (front - 0.15 * length_m, 0.0, radius * 2.9)),
    ):
        build.face([first, second, first], colour, stroke_m=0.035, two_sided=True)
    # From behind, wheels are upright bars.
    for x in (rear, front):
        build.face(
            [(x, -0.02, 0.0), (x, 0.02, 0.0), (x, 0.02, 2 * radius), (x, -0.02, 2 * radius)],
            _TYRE,
            two_sided=True,
        )
    bar = front - 0.15 * length_m
    build.face(
        [(bar, -0.27, radius * 2.95), (bar, 0.27, radius * 2.95), (bar, -0.27, radius * 2.95)],
        _SHOE,
        stroke_m=0.03,
        two_sided=True,
    )
    build.face(
        [
            (rear - 0.02, -0.04, radius * 2),
            (rear - 0.02, 0.04, radius * 2),
            (rear - 0.02, 0.04, radius * 2.2),
            (rear - 0.02, -0.04, radius * 2.2),
        ],
        (40.0, 30.0, 210.0),
        glow=0.5,
        role=PAINT,
    )
    return build.mesh()


def bicycle(length_m: float, height_m: float, coat: Colour, seed: int, phase_m: float) -> tuple[Mesh, Limbs]:
    """Return a bicycle and its rider, whose feet go round once in 5 m."""
    frame = ((52.0, 44.0, 160.0), (150.0, 90.0, 40.0), (60.0, 60.0, 60.0), (70.0, 130.0, 60.0))[seed % 4]
    radius = 0.19 * length_m
    front, rear = 0.5 * length_m - radius, -0.5 * length_m + radius
    seat = (rear + 0.30 * (front - rear), 0.0, radius * 2.7)
    crank_x, crank_z = rear + 0.45 * (front - rear), radius * 0.9
    turn = 2.0 * np.pi * phase_m / 5.0
    across, up = 0.17 * float(np.cos(turn)), 0.17 * float(np.sin(turn))
    pedals = ((crank_x + across, 0.11, crank_z + up), (crank_x - across, -0.11, crank_z - up))
    size = max(1.2, (height_m - seat[2]) / 0.48)
    helmet = ((60.0, 60.0, 220.0), (230.0, 230.0, 230.0))[seed % 2] if seed % 3 else None
    grip = (front - 0.14 * length_m, 0.24, radius * 3.0)
    return _bicycle_mesh(length_m, frame), _rider(seat, grip, pedals, size, coat, seed, helmet)


@lru_cache(maxsize=64)
def _motorcycle_mesh(length_m: float, colour: Colour, is_braking: bool, night: bool) -> Mesh:
    radius = 0.155 * length_m
    front, rear = 0.5 * length_m - radius, -0.5 * length_m + radius
    build = MeshBuilder(middle=(0.0, 0.0, 2.0 * radius))
    for x in (rear, front):
        build.box((x - radius * 0.7, -0.07, 0.0), (x + radius * 0.7, 0.07, radius * 1.9), _TYRE)
        for side in (-1.0, 1.0):
            build.disc((x, side * 0.075, radius), radius, _TYRE, corners=16)
            build.disc((x, side * 0.08, radius), radius * 0.55, (150.0, 150.0, 150.0), role=PAINT, corners=12)
    build.box(
        (rear + 0.5 * radius, -0.14, radius * 0.7),
        (front - 1.0 * radius, 0.14, radius * 1.7),
        (58.0, 56.0, 54.0),
    )
    build.box(
        (rear - 0.6 * radius, -0.13, radius * 2.1),
        (rear + 1.5 * radius, 0.13, radius * 2.6),
        (40.0, 38.0, 38.0),
    )
    build.box((rear + 1.4 * radius, -0.17, radius * 1.7), (front - 0.9 * radius, 0.17, radius * 2.9), colour)
    build.box((front - 0.9 * radius, -0.16, radius * 2.1), (front - 0.3 * radius, 0.16, radius * 3.1), colour)
    tail = ((60.0, 50.0, 255.0), 1.0) if is_braking else ((36.0, 30.0, 180.0), 0.7 if night else 0.2)
    x = rear - 0.62 * radius
    build.face(
        [(x, -0.1, radius * 2.2), (x, 0.1, radius * 2.2), (x, 0.1, radius * 2.5), (x, -0.1, radius * 2.5)],
        tail[0],
        glow=tail[1],
        role=PAINT,
    )
    build.face(
        [(x, -0.1, radius * 1.5), (x, 0.1, radius * 1.5), (x, 0.1, radius * 1.95), (x, -0.1, radius * 1.95)],
        (220.0, 224.0, 226.0),
    )
    x = front - 0.28 * radius
    build.disc(
        (x, 0.0, radius * 2.6), 0.1, (235.0, 250.0, 255.0), along="x", glow=1.0 if night else 0.5, role=PAINT
    )
    return build.mesh()


def motorcycle(
    length_m: float, height_m: float, colour: Colour, seed: int, is_braking: bool, night: bool
) -> tuple[Mesh, Limbs]:
    """Return a motorcycle and its rider under a helmet."""
    radius = 0.155 * length_m
    front, rear = 0.5 * length_m - radius, -0.5 * length_m + radius
    seat = (rear + 1.0 * radius, 0.0, radius * 2.75)
    rest = rear + 1.6 * radius
    feet = ((rest, 0.2, radius * 0.9), (rest, -0.2, radius * 0.9))
    size = max(1.2, (height_m - seat[2]) / 0.46)
    leather = ((52.0, 46.0, 44.0), (60.0, 60.0, 70.0), (70.0, 54.0, 40.0))[seed % 3]
    helmet = ((40.0, 40.0, 210.0), (225.0, 225.0, 225.0), (40.0, 38.0, 38.0))[seed % 3]
    rider = _rider(seat, (front - 0.9 * radius, 0.3, radius * 3.2), feet, size, leather, seed, helmet)
    return _motorcycle_mesh(length_m, colour, is_braking, night), rider
