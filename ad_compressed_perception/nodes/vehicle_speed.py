# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The vehicle's present speed from odometry."""

from __future__ import annotations

import math
import time

from nav_msgs.msg import Odometry
from rclpy.node import Node

from ad_compressed_perception.nodes.qos import image_qos

_PRESENT_S = 1.0


class VehicleSpeed:
    """Subscribes to odometry; a speed that came more than a second ago is no present one."""

    def __init__(self, node: Node, topic: str) -> None:
        """Subscribe; an empty topic: the speed is not known."""
        self._speed_mps, self._came_s = math.nan, -math.inf
        if topic:
            node.create_subscription(Odometry, topic, self._take, image_qos("best_effort", 1))

    def _take(self, message: Odometry) -> None:
        self._speed_mps, self._came_s = float(message.twist.twist.linear.x), time.monotonic()

    def now(self) -> float | None:
        """Return the speed along the heading, m/s; None where it is not known."""
        is_present = time.monotonic() - self._came_s <= _PRESENT_S
        return self._speed_mps if is_present and math.isfinite(self._speed_mps) else None
