# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The road camera's pose on /tf_static, and in the parameters of the demo."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")
from builtin_interfaces.msg import Time  # noqa: E402

from ad_road_simulation.nodes.road_camera_node import RoadCameraNode  # noqa: E402
from ad_road_simulation.nodes.road_camera_pose import mounting  # noqa: E402
from ad_road_simulation.world.camera import Camera  # noqa: E402
from support.ros import Recorder  # noqa: E402

CONFIG = Path(__file__).resolve().parents[3] / "config"


def test_a_point_of_the_optical_frame_is_where_the_camera_sees_it() -> None:
    """The pose maps optical coordinates to base_link; the camera's own code maps them back."""
    camera = Camera()
    pose = mounting(camera, Time()).transform
    w, x, y, z = (getattr(pose.rotation, axis) for axis in "wxyz")
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    optical = np.array([0.5, -0.25, 8.0])  # right, down, ahead

    ahead, left, up = rotation @ optical

    assert w * w + x * x + y * y + z * z == pytest.approx(1.0)
    assert (pose.translation.x, pose.translation.y, pose.translation.z) == (camera.x_m, 0.0, camera.z_m)
    np.testing.assert_allclose(camera.to_optical(ahead, left, up), optical, atol=1e-12)


def test_the_demo_draws_with_the_mounting_of_its_camera() -> None:
    sections = yaml.safe_load((CONFIG / "demo.yaml").read_text("utf-8"))
    stated = sections["/**/planning"]["ros__parameters"]
    camera = Camera()

    assert stated["camera_height_m"] == camera.z_m
    assert stated["camera_forward_m"] == camera.x_m
    assert stated["camera_pitch_deg"] == pytest.approx(math.degrees(camera.pitch_rad), abs=1e-3)


@pytest.mark.ros
def test_the_pose_is_latched_on_tf_static(ros_context: Any) -> None:
    tf2_msgs = pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed")
    from ad_compressed_perception.nodes.qos import LATCHED_QOS

    node = RoadCameraNode(context=ros_context)
    recorder = Recorder(ros_context)
    recorder.listen("/tf_static", tf2_msgs.TFMessage, LATCHED_QOS)
    poses = recorder.received["/tf_static"]

    recorder.wait_for(lambda: poses)

    assert poses[0].transforms[0].child_frame_id == "camera_front_optical_frame"
    node.destroy_node()
    recorder.close()
