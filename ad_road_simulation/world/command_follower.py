# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From commands of speed and yaw rate to steering and pedals, as a car's low-level controller does it."""

from __future__ import annotations

import math

from ad_road_simulation.world.ego import VEHICLE, DriveCommand

_GAIN_PER_S = 2.0
"""A command's speed is the one to be reached in about half a second."""
_MAX_ACCEL_MPS2, _MAX_DECEL_MPS2 = 2.5, 8.0
_SILENT_MPS2, _STANDING_MPS2 = -3.0, -1.0
_SLOW_MPS = 0.1


class CommandFollower:
    """Holds the last command; brakes to a stand where none comes."""

    def __init__(self, timeout_s: float = 1.0) -> None:
        """Begin without a command.

        Args:
            timeout_s: after so long without one the car brakes.
        """
        self._timeout_s = timeout_s
        self._age_s = math.inf
        self._speed_mps = 0.0
        self._curvature_per_m = 0.0

    @property
    def has_begun(self) -> bool:
        """Whether any command has come at all."""
        return math.isfinite(self._age_s)

    @property
    def is_silent(self) -> bool:
        """Whether no command has come for too long."""
        return self._age_s > self._timeout_s

    def take(self, speed_mps: float, yaw_rate_radps: float) -> bool:
        """Take a command; False, and nothing taken, where it is not finite.

        The curvature is yaw rate over speed. A command to stand says nothing of it: the wheels stay.
        """
        if not (math.isfinite(speed_mps) and math.isfinite(yaw_rate_radps)):
            return False
        self._age_s = 0.0
        self._speed_mps = max(0.0, speed_mps)
        if speed_mps > _SLOW_MPS:
            self._curvature_per_m = yaw_rate_radps / speed_mps
        return True

    def command(self, dt_s: float, speed_mps: float) -> DriveCommand:
        """Return what to do for the next dt_s at the speed driven."""
        self._age_s += dt_s
        steering = math.atan(VEHICLE.wheelbase_m * self._curvature_per_m)
        if self.is_silent:
            return DriveCommand(steering, _SILENT_MPS2)
        accel = _GAIN_PER_S * (self._speed_mps - speed_mps)
        if self._speed_mps <= _SLOW_MPS:
            accel = min(accel, _STANDING_MPS2)
        return DriveCommand(steering, min(max(accel, -_MAX_DECEL_MPS2), _MAX_ACCEL_MPS2))
