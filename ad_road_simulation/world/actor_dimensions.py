# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Random sizes and colors of road users, by kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ad_road_simulation.world.scene import ActorKind

VEHICLE_KINDS: tuple[ActorKind, ...] = ("car", "truck", "bus", "motorcycle")
VEHICLE_SHARES = (0.70, 0.12, 0.07, 0.11)
# Minimum and maximum of length, width and height in m, including a rider where there is one.
_SIZES: dict[ActorKind, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "car": ((3.7, 4.9), (1.68, 1.92), (1.40, 1.75)),
    "truck": ((6.0, 10.0), (2.20, 2.50), (2.70, 3.60)),
    "bus": ((9.5, 12.5), (2.45, 2.55), (2.90, 3.30)),
    "motorcycle": ((2.0, 2.25), (0.75, 0.90), (1.45, 1.70)),
    "bicycle": ((1.65, 1.85), (0.55, 0.65), (1.60, 1.85)),
    "person": ((0.35, 0.45), (0.48, 0.60), (1.45, 1.95)),
}
_PAINTS = (
    (235, 235, 235),
    (200, 200, 205),
    (130, 130, 135),
    (60, 60, 62),
    (25, 25, 28),
    (150, 60, 30),
    (90, 45, 25),
    (40, 40, 160),
    (35, 30, 110),
    (60, 90, 40),
    (50, 140, 190),
    (120, 140, 150),
)
_COATS = (
    (40, 40, 45),
    (110, 60, 40),
    (60, 60, 150),
    (80, 110, 60),
    (150, 150, 160),
    (60, 130, 190),
    (120, 90, 130),
    (200, 200, 190),
)


@dataclass(frozen=True)
class ActorDimensions:
    """Kind, size and color of a road user; fields as in scene.Actor."""

    kind: ActorKind
    length_m: float
    width_m: float
    height_m: float
    color_bgr: tuple[int, int, int]
    seed: int


def random_dimensions(rng: np.random.Generator, kind: ActorKind | None = None) -> ActorDimensions:
    """Return random dimensions of a kind; None draws a vehicle kind with VEHICLE_SHARES."""
    if kind is None:
        kind = VEHICLE_KINDS[int(rng.choice(len(VEHICLE_KINDS), p=VEHICLE_SHARES))]
    u = rng.uniform(0.0, 1.0, 4)
    length, width, height = (
        low + part * (high - low) for part, (low, high) in zip(u[:3], _SIZES[kind], strict=True)
    )
    colors = _COATS if kind in ("person", "bicycle") else _PAINTS
    light = 0.85 + 0.3 * u[3]
    b, g, r = (min(255, int(part * light)) for part in colors[int(rng.integers(len(colors)))])
    seed = int(rng.integers(0, 2**31))
    return ActorDimensions(kind, float(length), float(width), float(height), (b, g, r), seed)
