# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Type and name of each task's result; every target of the benchmark has the same ones."""

from __future__ import annotations

from typing import Any

from nav_msgs.msg import Path
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray

RESULTS: dict[str, tuple[str, Any]] = {
    "planning": ("trajectory", Path),
    "detection": ("detections", Detection2DArray),
    "segmentation": ("mask", Image),
}
LATEST_IMAGE = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""As the package's nodes subscribe to a camera."""


def image_topic(transport: str) -> tuple[Any, str]:
    """Return type and relative name of the image topic of a transport, "raw" or "compressed"."""
    return (CompressedImage, "image/compressed") if transport == "compressed" else (Image, "image")
