# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Low-level vehicle controller: speed and yaw rate commands to steering angle and acceleration."""

from __future__ import annotations

import math

from ad_compressed_perception.driving.limits import MAX_SPEED_MPS
from ad_road_simulation.world.ego import VEHICLE, DriveCommand

_GAIN_PER_S = 2.0
"""The commanded speed is reached in about half a second."""
_MAX_ACCEL_MPS2, _MAX_DECEL_MPS2 = 2.5, 8.0
_SILENT_MPS2, _STANDING_MPS2 = -3.0, -1.0
_SLOW_MPS = 0.1


class CommandFollower:
    """Holds the last command; brakes to a standstill when no command arrives."""

    def __init__(self, timeout_s: float = 1.0) -> None:
        """Start without a command.

        Args:
            timeout_s: the car brakes after this time without a command.
        """
        self._timeout_s = timeout_s
        self._age_s = math.inf
        self._speed_mps = 0.0
        self._curvature_per_m = 0.0

    @property
    def has_begun(self) -> bool:
        """Whether any command has been received."""
        return math.isfinite(self._age_s)

    @property
    def is_silent(self) -> bool:
        """Whether no command has been received within the timeout."""
        return self._age_s > self._timeout_s

    def take(self, speed_mps: float, yaw_rate_radps: float) -> bool:
        """Accept a command; return False and ignore it where it is not finite or faster than any car.

        The curvature is yaw rate over speed. A command to stand does not define it: it keeps its value.
        """
        if not (abs(speed_mps) <= MAX_SPEED_MPS and math.isfinite(yaw_rate_radps)):
            return False
        self._age_s = 0.0
        self._speed_mps = max(0.0, speed_mps)
        if speed_mps > _SLOW_MPS:
            self._curvature_per_m = yaw_rate_radps / speed_mps
        return True

    def command(self, dt_s: float, speed_mps: float) -> DriveCommand:
        """Return the drive command of the next dt_s at the current speed."""
        self._age_s += dt_s
        steering = math.atan(VEHICLE.wheelbase_m * self._curvature_per_m)
        if self.is_silent:
            return DriveCommand(steering, _SILENT_MPS2)
        accel = _GAIN_PER_S * (self._speed_mps - speed_mps)
        if self._speed_mps <= _SLOW_MPS:
            accel = min(accel, _STANDING_MPS2)
        return DriveCommand(steering, min(max(accel, -_MAX_DECEL_MPS2), _MAX_ACCEL_MPS2))
