# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pure pursuit along a planned path and a PI controller of its speed.

Pure pursuit after R. C. Coulter, Implementation of the Pure Pursuit Path Tracking Algorithm,
CMU-RI-TR-92-01, 1992; the speed's integrator stops at the limits (conditional integration, K. Astrom
and T. Hagglund, PID Controllers, 1995, section 3.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import Trajectory

_STEP_M = 0.25
_SAME_PLACE_M = 1e-3

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pose:
    """Pose of base_link in the odometry frame; heading counter-clockwise from the x axis."""

    x_m: float
    y_m: float
    heading_rad: float


@dataclass(frozen=True)
class TrackerCommand:
    """Steering angle of the road wheels (left positive) and longitudinal acceleration."""

    steering_rad: float
    accel_mps2: float


@dataclass(frozen=True)
class TrackerSettings:
    """Parameters of path and speed tracking; the defaults fit a mid-size sedan.

    Attributes:
        wheelbase_m: front to rear axle.
        max_steering_rad: largest angle of the road wheels, to either side.
        look_ahead_s: time ahead of the goal point at the current speed,
        look_ahead_min_m, look_ahead_max_m: limits of its distance.
        speed_gain_per_s, speed_integral_per_s2: of the PI controller.
        max_accel_mps2, max_decel_mps2: limits of the command, both positive.
    """

    wheelbase_m: float = 2.85
    max_steering_rad: float = 0.6
    look_ahead_s: float = 0.7
    look_ahead_min_m: float = 4.0
    look_ahead_max_m: float = 12.0
    speed_gain_per_s: float = 1.2
    speed_integral_per_s2: float = 0.15
    max_accel_mps2: float = 2.0
    max_decel_mps2: float = 7.0

    def look_ahead_m(self, speed_mps: float) -> float:
        """Return the distance of the goal point at a speed."""
        return float(np.clip(self.look_ahead_s * speed_mps, self.look_ahead_min_m, self.look_ahead_max_m))


def transform_points(points_xy_m: Array, planned_at: Pose, now: Pose) -> Array:
    """Transform (N, 2) points from base_link at one pose to base_link at another pose.

    A trajectory is planned from the pose at which its image was taken. The car has moved by the time the
    plan is ready; the points are corrected by odometry:
    ``p' = R(-heading') (R(heading) p + t - t')``.

    Args:
        points_xy_m: (N, 2) in base_link at ``planned_at``.
        planned_at: the pose at which the image was taken.
        now: the pose to transform them to.
    """
    turn = planned_at.heading_rad - now.heading_rad
    cosine, sine = math.cos(turn), math.sin(turn)
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    dx, dy = planned_at.x_m - now.x_m, planned_at.y_m - now.y_m
    cosine, sine = math.cos(now.heading_rad), math.sin(now.heading_rad)
    shift = np.array([cosine * dx + sine * dy, -sine * dx + cosine * dy])
    return np.asarray(points_xy_m @ rotation.T + shift)


def dense_path(trajectory: Trajectory, beyond_m: float) -> Array:
    """Return (N, 2) points 0.25 m apart from base_link along a trajectory and beyond its end.

    A trajectory that brakes is short, and one that stands still has no length: beyond its last point the
    path continues as an arc of the trajectory's curvature, so that the steering angle is kept.

    Args:
        trajectory: planned.
        beyond_m: length past its end.
    """
    points = np.concatenate([np.zeros((1, 2)), trajectory.points_xy_m])
    headings = np.concatenate([np.zeros(1), trajectory.headings_rad])
    lengths = np.hypot(*np.diff(points, axis=0).T)
    keep = np.concatenate([[True], lengths > _SAME_PLACE_M])
    points, headings = points[keep], headings[keep]
    curvature = trajectory.curvature_per_m if math.isfinite(trajectory.curvature_per_m) else 0.0
    ahead = np.arange(0.0, beyond_m + _STEP_M, _STEP_M)
    middle = headings[-1] + curvature * (ahead[:-1] + 0.5 * _STEP_M)
    steps = np.stack([np.cos(middle), np.sin(middle)], axis=1) * _STEP_M
    beyond = points[-1] + np.cumsum(steps, axis=0)
    return np.concatenate([_smooth(points, headings), beyond])


def _smooth(points: Array, headings_rad: Array) -> Array:
    """Return points about 0.25 m apart: cubic Hermite curves between (N, 2) points with (N,) headings.

    A path sampled in time has points up to 2 m apart; straight chords would cut the bend.
    """
    tangents = np.stack([np.cos(headings_rad), np.sin(headings_rad)], axis=1)
    lengths = np.hypot(*np.diff(points, axis=0).T)
    counts = np.ceil(lengths / _STEP_M).astype(np.int64)
    # By curve point: the segment it lies on, and its number there from 1.
    segment = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(1, len(segment) + 1) - np.repeat(np.cumsum(counts) - counts, counts)
    u = (number / counts[segment])[:, None]
    rise = u * u * (3.0 - 2.0 * u)
    curve = (
        points[segment] * (1.0 - rise)
        + points[segment + 1] * rise
        + lengths[segment, None] * u * (1.0 - u) * ((1.0 - u) * tangents[segment] - u * tangents[segment + 1])
    )
    return np.concatenate([points[:1], curve])


def pursuit_curvature(path_xy_m: Array, look_ahead_m: float) -> float:
    """Return the curvature of the arc from base_link to the path's point at the look-ahead distance.

    With the goal point (x, y) at distance L the arc that is tangent to the car's axis has curvature
    ``2 y / L^2`` (Coulter 1992). The goal is the first point of the path, counted from its point nearest
    to the car, that is at least L away; the last one where none is.

    Args:
        path_xy_m: (N, 2) in base_link, close together.
        look_ahead_m: L.
    """
    distance = np.hypot(path_xy_m[:, 0], path_xy_m[:, 1])
    nearest = int(np.argmin(distance))
    far = np.flatnonzero(distance[nearest:] >= look_ahead_m)
    index = nearest + int(far[0]) if far.size else len(distance) - 1
    goal = path_xy_m[index]
    if far.size and far[0] > 0:
        # Interpolated between two points, so that the goal does not jump from one to the next.
        before = path_xy_m[index - 1]
        share = (look_ahead_m - distance[index - 1]) / (distance[index] - distance[index - 1])
        goal = before + share * (goal - before)
    squared = float(goal @ goal)
    return 2.0 * float(goal[1]) / squared if squared > _SAME_PLACE_M else 0.0


class SpeedController:
    """A PI controller of the speed with feed-forward; its integrator stops while the command is limited."""

    def __init__(self, settings: TrackerSettings) -> None:
        """Start with a zero integrator."""
        self._settings = settings
        self._integral_mps2 = 0.0

    def step(self, target_mps: float, speed_mps: float, feed_forward_mps2: float, dt_s: float) -> float:
        """Return the acceleration in m/s^2 for the next dt_s.

        Args:
            target_mps: current speed of the plan.
            speed_mps: current vehicle speed.
            feed_forward_mps2: current acceleration of the plan.
            dt_s: time since the last step.
        """
        settings = self._settings
        error = target_mps - speed_mps
        free = feed_forward_mps2 + settings.speed_gain_per_s * error + self._integral_mps2
        limited = float(np.clip(free, -settings.max_decel_mps2, settings.max_accel_mps2))
        if limited == free or (limited - free) * error > 0.0:
            self._integral_mps2 += settings.speed_integral_per_s2 * error * dt_s
        return limited

    def reset(self) -> None:
        """Reset the integrator: the car stands, or is about to."""
        self._integral_mps2 = 0.0
