# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Steering and acceleration commands from plans: path tracker, speed controller and stop state machine."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.driving.path_tracker import (
    Pose,
    SpeedController,
    TrackerCommand,
    TrackerSettings,
    dense_path,
    pursuit_curvature,
    transform_points,
)
from ad_compressed_perception.driving.speed_profile import (
    RULES,
    SpeedRules,
    allowed_speed_mps,
    speed_profile,
)
from ad_compressed_perception.driving.stop_state_machine import (
    StopAction,
    StopObservation,
    StopRules,
    StopStateMachine,
)

_HOLD_MPS2 = -2.0
_PREVIEW_S = 0.3
_STEPS, _STEP_S = 20, 0.15

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Plan:
    """A trajectory with pose, time and speed at which its image was taken."""

    trajectory: Trajectory
    pose: Pose
    time_s: float
    path_xy_m: Array
    times_s: Array
    speeds_mps: Array
    release_mps: Array


class Driver:
    """Follows the newest plan and compensates for its age by odometry.

    Use one instance per drive; it keeps the integrator and the state of stops.
    """

    def __init__(
        self,
        settings: TrackerSettings | None = None,
        stops: StopRules | None = None,
        rules: SpeedRules = RULES,
    ) -> None:
        """Start without a plan: until the first one arrives, steering and acceleration are zero."""
        self._settings = settings or TrackerSettings()
        self._rules = rules
        self._stops = StopStateMachine(stops)
        self._speed = SpeedController(self._settings)
        self._plan: _Plan | None = None

    def accept(self, trajectory: Trajectory, pose: Pose, time_s: float, speed_mps: float) -> None:
        """Follow a new plan from now on.

        A planner that outputs steering only gives no speeds: its path is driven at the trajectory's speed,
        slower in bends.

        Args:
            trajectory: planned, in base_link at the time of its image.
            pose: of base_link at that time, from odometry.
            time_s: that time.
            speed_mps: vehicle speed at that time.
        """
        bend = _max_curvature(trajectory)
        times = np.arange(_STEPS + 1, dtype=np.float64) * _STEP_S
        if trajectory.speeds_mps is not None and math.isfinite(trajectory.step_s):
            times = np.arange(len(trajectory.speeds_mps) + 1, dtype=np.float64) * trajectory.step_s
            speeds = trajectory.speeds_mps
        else:
            rules = replace(self._rules, cruise_mps=trajectory.speed_mps)
            speeds = speed_profile(speed_mps, math.inf, bend, _STEPS, _STEP_S, rules)[1]
        release = speed_profile(
            speed_mps, self._stops.rules.release_clear_m, bend, len(times) - 1, float(times[1]), self._rules
        )[1]
        self._plan = _Plan(
            trajectory,
            pose,
            time_s,
            dense_path(trajectory, beyond_m=2.0 * self._settings.look_ahead_max_m),
            times,
            np.concatenate([[speed_mps], speeds]),
            np.concatenate([[speed_mps], release]),
        )

    def command(self, pose: Pose, speed_mps: float, time_s: float, dt_s: float) -> TrackerCommand:
        """Return the command for the next dt_s.

        Args:
            pose: current pose of base_link, from odometry.
            speed_mps: current vehicle speed.
            time_s: current time, on the plans' clock.
            dt_s: time since the last command.
        """
        plan = self._plan
        if plan is None:
            return TrackerCommand(0.0, 0.0)
        path = transform_points(plan.path_xy_m, plan.pose, pose)
        curvature = pursuit_curvature(path, self._settings.look_ahead_m(speed_mps))
        limit = self._settings.max_steering_rad
        steering = float(np.clip(math.atan(self._settings.wheelbase_m * curvature), -limit, limit))
        moved_m = float(transform_points(np.zeros((1, 2)), pose, plan.pose)[0, 0])
        observation = StopObservation(
            plan.trajectory.stop_probability,
            plan.trajectory.proceed_after_stop_probability,
            plan.trajectory.clear_distance_m - moved_m,
        )
        action = self._stops.step(dt_s, speed_mps, observation)
        return TrackerCommand(
            steering, self._acceleration(plan, action, speed_mps, time_s - plan.time_s, dt_s)
        )

    def _acceleration(
        self, plan: _Plan, action: StopAction, speed_mps: float, age_s: float, dt_s: float
    ) -> float:
        if action is StopAction.HOLD:
            self._speed.reset()
            return _HOLD_MPS2
        if age_s > plan.times_s[-1]:
            # The plan is older than its horizon: brake.
            return -self._rules.comfort_decel_mps2
        speeds = plan.release_mps if action is StopAction.RELEASE else plan.speeds_mps
        target, next_target = np.interp([age_s, age_s + _PREVIEW_S], plan.times_s, speeds).tolist()
        slope = (next_target - target) / _PREVIEW_S
        if action is StopAction.APPROACH:
            allowed = allowed_speed_mps(self._stops.clear_distance_m, self._rules)
            if allowed < target:
                target, slope = allowed, min(slope, -self._rules.comfort_decel_mps2)
        return self._speed.step(target, speed_mps, slope, dt_s)


def _max_curvature(trajectory: Trajectory) -> float:
    """Return the largest curvature of a path in 1/m: at its start, and the means over five equal parts."""
    points = np.concatenate([np.zeros((1, 2)), trajectory.points_xy_m])
    headings = np.unwrap(np.concatenate([np.zeros(1), trajectory.headings_rad]))
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    first = abs(trajectory.curvature_per_m) if math.isfinite(trajectory.curvature_per_m) else 0.0
    if arc[-1] < 1.0:
        return first
    knots = np.linspace(0.0, arc[-1], 6)
    turned = np.abs(np.diff(np.interp(knots, arc, headings)))
    return max(first, float(np.max(turned)) / float(knots[1]))
