# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trajectories to nav_msgs/Path and TwistStamped, and back."""

from __future__ import annotations

import math

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, TwistStamped
from nav_msgs.msg import Path

from ad_compressed_perception.core.errors import ResultError
from ad_compressed_perception.core.results import Trajectory


def to_path(trajectory: Trajectory, stamp: Time, frame_id: str) -> Path:
    """Return the points as poses in ``frame_id`` (x forward, y left), stamped like the source."""
    path = Path()
    path.header.stamp = stamp
    path.header.frame_id = frame_id
    for (x, y), heading in zip(
        trajectory.points_xy_m.tolist(), trajectory.headings_rad.tolist(), strict=True
    ):
        pose = PoseStamped(header=path.header)
        pose.pose.position.x = x
        pose.pose.position.y = y
        pose.pose.orientation.z = math.sin(heading / 2.0)
        pose.pose.orientation.w = math.cos(heading / 2.0)
        path.poses.append(pose)
    return path


def to_command(speed_mps: float, curvature_per_m: float, stamp: Time, frame_id: str) -> TwistStamped:
    """Return speed and yaw rate: ``angular.z = speed * curvature``, left positive (REP-103)."""
    command = TwistStamped()
    command.header.stamp = stamp
    command.header.frame_id = frame_id
    command.twist.linear.x = float(speed_mps)
    command.twist.angular.z = float(speed_mps * curvature_per_m)
    return command


def from_path(path: Path) -> Trajectory:
    """Return the path's points and headings; curvature and speed are not in a Path and become NaN.

    Raises:
        ResultError: a point or heading is not finite.
    """
    points = [(pose.pose.position.x, pose.pose.position.y) for pose in path.poses]
    headings = [2.0 * math.atan2(pose.pose.orientation.z, pose.pose.orientation.w) for pose in path.poses]
    if not (np.isfinite(points).all() and np.isfinite(headings).all()):
        raise ResultError("a path has points or headings that are not finite")
    return Trajectory(
        np.asarray(points, np.float64).reshape(-1, 2),
        np.asarray(headings, np.float64),
        math.nan,
        math.nan,
    )
