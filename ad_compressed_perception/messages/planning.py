# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trajectories to serialized nav_msgs/Path and TwistStamped, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Path

from ad_compressed_perception.core.errors import ResultError
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.messages.cdr import EXAMPLE, CdrWriter

__all__ = ["Path", "TwistStamped", "examples", "from_path", "serialize_command", "serialize_path"]


def serialize_path(trajectory: Trajectory, stamp: Any, frame_id: str) -> bytes:
    """Return the points as nav_msgs/Path in ``frame_id`` (x forward, y left), stamped like the source."""
    rows = zip(trajectory.points_xy_m.tolist(), trajectory.headings_rad.tolist(), strict=True)
    message = CdrWriter(stamp, frame_id)
    message.numbers("I", len(trajectory.headings_rad))
    for (x, y), heading in rows:
        message.same_header()
        message.numbers("d", x, y, 0.0, 0.0, 0.0, math.sin(heading / 2.0), math.cos(heading / 2.0))
    return bytes(message)


def serialize_command(speed_mps: float, curvature_per_m: float, stamp: Any, frame_id: str) -> bytes:
    """Return a TwistStamped, ``angular.z = speed * curvature``, left positive (REP-103)."""
    message = CdrWriter(stamp, frame_id)
    message.numbers("d", speed_mps, 0.0, 0.0, 0.0, 0.0, speed_mps * curvature_per_m)
    return bytes(message)


def examples() -> dict[type, bytes]:
    """Return a message of each type that is written here, to compare with the installed types."""
    one, stamp, frame_id = Trajectory(np.ones((1, 2)), np.ones(1), 0.0, 0.0), EXAMPLE.stamp, EXAMPLE.frame_id
    return {
        Path: serialize_path(one, stamp, frame_id),
        TwistStamped: serialize_command(1.0, 1.0, stamp, frame_id),
    }


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
