# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How fast to go: what the clear distance ahead allows, and the profile that follows from the speed now."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SpeedRules:
    """The rules of a cautious driver who takes everything ahead to be standing still.

    Attributes:
        cruise_mps: on a free straight road.
        comfort_decel_mps2: braking that the allowed speed is made of.
        stop_margin_m: left between the front bumper and what one stops for.
        max_accel_mps2, max_decel_mps2: of the profile.
        lateral_accel_mps2: in bends.
        reaction_s: time constant of the approach to the allowed speed.
    """

    cruise_mps: float = 12.0
    comfort_decel_mps2: float = 2.0
    stop_margin_m: float = 2.0
    max_accel_mps2: float = 1.5
    max_decel_mps2: float = 6.0
    lateral_accel_mps2: float = 2.5
    reaction_s: float = 0.4


RULES = SpeedRules()


def allowed_speed_mps(clear_distance_m: float, rules: SpeedRules = RULES) -> float:
    """Return sqrt(2 b (D - margin)): the speed from which comfortable braking b ends at the margin.

    Args:
        clear_distance_m: D, from the front bumper to the obstacle or stop line; inf where there is none.
        rules: the driver's.
    """
    free = max(0.0, clear_distance_m - rules.stop_margin_m)
    return min(rules.cruise_mps, math.sqrt(2.0 * rules.comfort_decel_mps2 * free))


def clear_distance_of(allowed_mps: float, rules: SpeedRules = RULES) -> float:
    """Return the clear distance that an allowed speed stands for; inf at cruise speed."""
    if allowed_mps >= rules.cruise_mps:
        return float("inf")
    return rules.stop_margin_m + max(0.0, allowed_mps) ** 2 / (2.0 * rules.comfort_decel_mps2)


def speed_profile(
    speed_mps: float,
    clear_distance_m: float,
    curvature_per_m: float,
    steps: int,
    step_s: float,
    rules: SpeedRules = RULES,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (steps,) distances driven and (steps,) speeds at step_s, 2 step_s, ... from now.

    The speed goes to the least of cruise speed, of what the remaining clear distance allows and of what
    the bend allows (a_lat = v^2 k) with time constant reaction_s, within the acceleration limits.

    Args:
        speed_mps: now.
        clear_distance_m: from the front bumper, may be inf.
        curvature_per_m: sharpest curvature of the way ahead, of either sign.
        steps: how many.
        step_s: seconds between them.
        rules: the driver's.
    """
    bend = math.sqrt(rules.lateral_accel_mps2 / max(abs(curvature_per_m), 1e-6))
    distances, speeds = np.zeros(steps), np.zeros(steps)
    speed, driven = max(0.0, speed_mps), 0.0
    for index in range(steps):
        wanted = min(allowed_speed_mps(clear_distance_m - driven, rules), bend)
        accel = (wanted - speed) / rules.reaction_s
        accel = min(max(accel, -rules.max_decel_mps2), rules.max_accel_mps2)
        after = max(0.0, speed + accel * step_s)
        driven += 0.5 * (speed + after) * step_s
        speed = after
        distances[index], speeds[index] = driven, speed
    return distances, speeds
