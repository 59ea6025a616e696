# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Steps of the ROS clock against the monotonic one. No clock is read: both times are arguments."""

from __future__ import annotations

LEAST_STEP_MS = 10.0
"""Least step of a real clock that is one: reading two clocks one after the other takes less."""
SLEW = 1e-3
"""Change that is none, per time passed: clocks are set gently by up to 500 ppm."""
LEAST_SIMULATED_STEP_MS = 1000.0
FASTEST_SIMULATION = 20.0
IN_FLIGHT_S = 10.0
"""No frame is longer on its way: one that comes later with a stamp of before a step is an old one."""


class ClockSteps:
    """Finds out when a clock was set.

    Ages are differences of the ROS clock and of a stamp by it. After a step, a frame that was stamped before
    has an age that is wrong by it; durations by the monotonic clock are right all the time.
    """

    def __init__(self) -> None:
        """Begin without a reading."""
        self._before: tuple[int, float, bool] | None = None
        self._stepped_at_ns = 0
        self._stepped_at_s = -float("inf")

    def step_ms(self, ros_ns: int, monotonic_s: float, *, is_simulated: bool) -> float:
        """Return by how much the clock was set since the last call; 0 where it was not.

        Args:
            ros_ns: the clock now; 0 where it has not come yet.
            monotonic_s: the monotonic clock at the same moment.
            is_simulated: it is /clock's, which may stand still or run at another rate: it steps where it goes
                back, or ahead by more than a second beyond 20 times real time.
        """
        before, self._before = self._before, (ros_ns, monotonic_s, is_simulated)
        if before is None or not before[0] or not ros_ns or before[2] != is_simulated:
            return 0.0
        went_ms, passed_ms = (ros_ns - before[0]) / 1e6, (monotonic_s - before[1]) * 1e3
        if is_simulated:
            beyond_ms = went_ms - FASTEST_SIMULATION * passed_ms
            step_ms = went_ms if went_ms < 0.0 or beyond_ms > LEAST_SIMULATED_STEP_MS else 0.0
        else:
            step_ms = went_ms - passed_ms
            step_ms = step_ms if abs(step_ms) > LEAST_STEP_MS + SLEW * passed_ms else 0.0
        if step_ms:
            self._stepped_at_ns, self._stepped_at_s = ros_ns, monotonic_s
        return step_ms

    def is_before_step(self, stamp_ns: int) -> bool:
        """Whether a stamp is of the time before a step ahead that was just now: its age is wrong.

        After a step back such a stamp lies in the future, and its age is below 0.
        """
        before = self._before
        is_recent = before is not None and before[1] - self._stepped_at_s < IN_FLIGHT_S
        return is_recent and stamp_ns < self._stepped_at_ns
