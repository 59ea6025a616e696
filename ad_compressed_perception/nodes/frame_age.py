# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How old a frame is when it arrives, by the ROS clock, which is compared with the monotonic one."""

from __future__ import annotations

import math
import time
from typing import Any

from rclpy.node import Node

from ad_compressed_perception.metrics.clock_steps import ClockSteps

_SAME_MOMENT_S = 1e-3
_READINGS = 3


class FrameAge:
    """Ages of frames; one that was stamped before the clock was set has none.

    Attributes:
        step_ms: by how much the clock was set since the frame before; 0 where it was not.
    """

    def __init__(self, node: Node, *, by_publish_time: bool) -> None:
        """Count from the frames' stamps, or from the time at which the middleware sent them."""
        self._node, self._by_publish_time = node, by_publish_time
        self._steps = ClockSteps()
        self.step_ms = 0.0

    def of(self, stamp_ns: int, info: Any) -> float:
        """Return a frame's age, ms; NaN where it is not known. ``info``: of the message."""
        clock: Any = self._node.get_clock()
        is_simulated = bool(clock.ros_time_is_active) and not self._by_publish_time
        for _ in range(_READINGS):
            before_s = time.perf_counter()
            now_ns = time.time_ns() if self._by_publish_time else int(clock.now().nanoseconds)
            # Where another thread ran between the readings, they are of two moments.
            is_one_moment = time.perf_counter() - before_s < _SAME_MOMENT_S
            if is_one_moment:
                break
        self.step_ms = (
            self._steps.step_ms(now_ns, before_s, is_simulated=is_simulated) if is_one_moment else 0.0
        )
        sent_ns = stamp_ns
        if self._by_publish_time:
            sent_ns = 0 if info is None else int(info["source_timestamp"])
        # A zero stamp was never set, a zero clock has not arrived yet: the age is unknown, not huge.
        if not sent_ns or not now_ns or self._steps.is_before_step(sent_ns):
            return math.nan
        return (now_ns - sent_ns) / 1e6
