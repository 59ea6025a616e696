# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A Python started from a bare shell finds ROS 2, its messages and its middleware."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import rclpy
from sensor_msgs.msg import CompressedImage
from vision_msgs.msg import Detection2DArray
rclpy.init()
node = rclpy.create_node("probe")
for kind in (CompressedImage, Detection2DArray):
    node.create_publisher(kind, f"~/{kind.__name__}", 1).publish(kind())
node.destroy_node()
rclpy.shutdown()
"""


@pytest.mark.ros
@pytest.mark.skipif("ROS_DISTRO" in os.environ, reason="a sourced ROS 2 needs its whole environment")
@pytest.mark.parametrize("kept", [(), ("_ROS_WHEELS_BOOTSTRAP_COMPLETE",), ("AMENT_PREFIX_PATH",)])
def test_publishes_with_a_cleaned_environment(kept: tuple[str, ...]) -> None:
    """Half of the environment inherited (the guard without the library path) must not matter."""
    pytest.importorskip("rclpy")
    names = ("HOME", "PATH", "ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE", *kept)
    environ = {name: os.environ[name] for name in names if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
