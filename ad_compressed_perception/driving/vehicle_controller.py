# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Speed and curvature commands computed from trajectories and odometry."""

from __future__ import annotations

import math

import numpy as np

from ad_compressed_perception.core.errors import ResultError
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.driving.driver import Driver
from ad_compressed_perception.driving.limits import check_command
from ad_compressed_perception.driving.odometry import MAX_AGE_S, OdometryLog
from ad_compressed_perception.driving.path_tracker import (
    TrackerSettings,
    dense_path,
    pursuit_curvature,
)

AHEAD_S = 0.5
"""The commanded speed is the one due after this time, about the response time of a vehicle."""
_MAX_STEP_S = 0.5


class VehicleController:
    """Computes a command for each trajectory; keeps the state of stops from frame to frame."""

    def __init__(self, wheelbase_m: float) -> None:
        """Start a drive with a vehicle of this wheelbase in meters."""
        self.odometry = OdometryLog()
        self._settings = TrackerSettings(wheelbase_m=wheelbase_m)
        self._driver = Driver(self._settings)
        self._last_s = math.nan

    def command(self, trajectory: Trajectory, frame_s: float, now_s: float) -> tuple[float, float]:
        """Return (speed in m/s, curvature in 1/m, left positive) for a new trajectory.

        With odometry the path is transformed to the vehicle's current pose, the stop state machine is active
        and the speed is controlled. Where odometry never came, the plan's own speed and path are commanded;
        where it came but none is valid at the frame's stamp, there is no command. A planner that outputs
        steering only keeps its nominal speed and its arc.

        Args:
            trajectory: planned.
            frame_s: stamp of its image.
            now_s: current time on the same clock.

        Raises:
            ResultError: no valid odometry though it is in use, or a command that is not finite or beyond
                the limits of driving.limits.
        """
        speed_mps, curvature_per_m = self._command(trajectory, frame_s, now_s)
        check_command(speed_mps, curvature_per_m)
        return speed_mps, curvature_per_m

    def _command(self, trajectory: Trajectory, frame_s: float, now_s: float) -> tuple[float, float]:
        if trajectory.speeds_mps is None or not math.isfinite(trajectory.step_s):
            return trajectory.speed_mps, trajectory.curvature_per_m
        taken = self.odometry.at(frame_s)
        now = self.odometry.at(max(now_s, frame_s)) or taken
        if taken is None or now is None:
            if self.odometry.is_in_use:
                raise ResultError(
                    f"no command: odometry is in use, but none is valid within {MAX_AGE_S:g} s of the frame"
                )
            return self._plan_alone(trajectory)
        step_s = frame_s - self._last_s
        self._last_s = frame_s
        self._driver.accept(trajectory, taken.pose, frame_s, taken.speed_mps)
        command = self._driver.command(
            now.pose, now.speed_mps, now.time_s, step_s if 0.0 < step_s < _MAX_STEP_S else _MAX_STEP_S / 5.0
        )
        speed = max(0.0, now.speed_mps + AHEAD_S * command.accel_mps2)
        return speed, math.tan(command.steering_rad) / self._settings.wheelbase_m

    def _plan_alone(self, trajectory: Trajectory) -> tuple[float, float]:
        speeds = trajectory.speeds_mps
        assert speeds is not None
        times = np.arange(1, len(speeds) + 1) * trajectory.step_s
        speed = float(np.interp(AHEAD_S, times, speeds))
        path = dense_path(trajectory, beyond_m=2.0 * self._settings.look_ahead_max_m)
        return speed, pursuit_curvature(path, self._settings.look_ahead_m(trajectory.speed_mps))
