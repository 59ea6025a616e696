# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A short history of odometry, with extrapolation to a given time."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from threading import Lock

from ad_compressed_perception.driving.limits import check_odometry
from ad_compressed_perception.driving.path_tracker import Pose

MAX_AGE_S = 0.5
"""Odometry is not extrapolated over more than this."""
_KEPT = 256


@dataclass(frozen=True)
class Odometry:
    """Pose and motion of the vehicle at a time.

    Attributes:
        time_s: on the clock of the frames' stamps.
        pose: of base_link.
        speed_mps: along the heading.
        yaw_rate_radps: left positive.
    """

    time_s: float
    pose: Pose
    speed_mps: float
    yaw_rate_radps: float


class OdometryLog:
    """Keeps the last 256 odometry entries and returns the state at any time near one; thread-safe."""

    def __init__(self) -> None:
        """Start empty."""
        self._entries: deque[Odometry] = deque(maxlen=_KEPT)
        self._lock = Lock()
        self.is_in_use = False
        """Whether any odometry came, valid or not: then a plan without it is not driven."""

    def add(self, entry: Odometry) -> None:
        """Add an entry; one that is older than the last means that the clock was reset: it clears the log.

        Raises:
            DataError: it is not finite or beyond the limits of driving.limits; the log is unchanged.
        """
        self.is_in_use = True
        check_odometry(entry.pose.x_m, entry.pose.y_m, entry.speed_mps, entry.yaw_rate_radps)
        with self._lock:
            if self._entries and entry.time_s < self._entries[-1].time_s:
                self._entries.clear()
            self._entries.append(entry)

    def at(self, time_s: float) -> Odometry | None:
        """Return the state at a time, extrapolated on an arc from the nearest entry; None if too far."""
        with self._lock:
            entries = list(self._entries)
        index = bisect_left([entry.time_s for entry in entries], time_s)
        near = entries[max(0, index - 1) : index + 1]
        if not near:
            return None
        entry = min(near, key=lambda one: abs(one.time_s - time_s))
        dt_s = time_s - entry.time_s
        if abs(dt_s) > MAX_AGE_S:
            return None
        turned, driven = entry.yaw_rate_radps * dt_s, entry.speed_mps * dt_s
        middle = entry.pose.heading_rad + 0.5 * turned
        pose = Pose(
            entry.pose.x_m + driven * math.cos(middle),
            entry.pose.y_m + driven * math.sin(middle),
            entry.pose.heading_rad + turned,
        )
        return Odometry(time_s, pose, entry.speed_mps, entry.yaw_rate_radps)
