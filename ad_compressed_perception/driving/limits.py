# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Limits of odometry that is used and of commands that are published, so that a broken number drives nothing.

They are those of road vehicles with room to spare: beyond them is an error of unit or of computation.
"""

from __future__ import annotations

from ad_compressed_perception.core.errors import DataError, ResultError

MAX_SPEED_MPS = 100.0
MAX_YAW_RATE_RADPS = 10.0
MAX_POSITION_M = 1e8
"""Coordinates of any Earth-fixed frame are smaller."""
MAX_CURVATURE_PER_M = 20.0
"""A radius of 5 cm: the smallest model car turns wider."""


def check_odometry(x_m: float, y_m: float, speed_mps: float, yaw_rate_radps: float) -> None:
    """Raise DataError, naming the field, where odometry is not finite or beyond the limits."""
    for name, value, limit in (
        ("position x", x_m, MAX_POSITION_M),
        ("position y", y_m, MAX_POSITION_M),
        ("speed", speed_mps, MAX_SPEED_MPS),
        ("yaw rate", yaw_rate_radps, MAX_YAW_RATE_RADPS),
    ):
        if not abs(value) <= limit:  # also where it is NaN
            raise DataError(f"odometry with {name} {value:g} (limit {limit:g}) is not used")


def check_command(speed_mps: float, curvature_per_m: float) -> None:
    """Raise ResultError where a command is not finite or beyond the limits."""
    if not (0.0 <= speed_mps <= MAX_SPEED_MPS and abs(curvature_per_m) <= MAX_CURVATURE_PER_M):
        raise ResultError(
            f"no command: speed {speed_mps:g} m/s and curvature {curvature_per_m:g} 1/m are beyond 0 to "
            f"{MAX_SPEED_MPS:g} m/s and {MAX_CURVATURE_PER_M:g} 1/m"
        )
