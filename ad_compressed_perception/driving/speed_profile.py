# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Speed allowed by the clear distance ahead, and the speed profile from the current speed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SpeedRules:
    """Parameters of a cautious driver who assumes that everything ahead is standing still.

    Attributes:
        cruise_mps: speed on a free straight road.
        comfort_decel_mps2: deceleration from which the allowed speed is computed.
        stop_margin_m: distance kept between the front bumper and the obstacle or stop line.
        max_accel_mps2, max_decel_mps2: limits of the profile.
        lateral_accel_mps2: limit in bends.
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
        rules: parameters of the driver.
    """
    free = max(0.0, clear_distance_m - rules.stop_margin_m)
    return min(rules.cruise_mps, math.sqrt(2.0 * rules.comfort_decel_mps2 * free))


def clear_distance_of(allowed_mps: float, rules: SpeedRules = RULES) -> float:
    """Return the clear distance that corresponds to an allowed speed; inf at cruise speed."""
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

    The speed approaches the minimum of cruise speed, the speed that the remaining clear distance allows and
    the speed that the bend allows (a_lat = v^2 k) with time constant reaction_s, within the limits of
    acceleration.

    Args:
        speed_mps: current speed.
        clear_distance_m: from the front bumper, may be inf.
        curvature_per_m: largest curvature ahead, of either sign.
        steps: number of steps.
        step_s: seconds between them.
        rules: parameters of the driver.
    """
    bend = math.sqrt(rules.lateral_accel_mps2 / max(abs(curvature_per_m), 1e-6))
    distances, speeds = np.zeros(steps), np.zeros(steps)
    speed, driven = max(0.0, speed_mps), 0.0
    for index in range(steps):
        target = min(allowed_speed_mps(clear_distance_m - driven, rules), bend)
        accel = (target - speed) / rules.reaction_s
        accel = min(max(accel, -rules.max_decel_mps2), rules.max_accel_mps2)
        after = max(0.0, speed + accel * step_s)
        driven += 0.5 * (speed + after) * step_s
        speed = after
        distances[index], speeds[index] = driven, speed
    return distances, speeds
