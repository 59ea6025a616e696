# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The planner's overlay and the camera_info beside its image topic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ad_road_simulation.world.camera import Camera
from support.models import draw_scene, write_planner
from support.ros import Recorder, image_message, node_process

rclpy = pytest.importorskip("rclpy")
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from ad_compressed_perception.messages.camera import to_camera_info  # noqa: E402
from ad_compressed_perception.nodes.camera_calibration import info_topic  # noqa: E402

STAMP_NS = 5 * 10**9


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("/front/image_raw", "/front/camera_info"),
        ("/front/image_raw/compressed", "/front/camera_info"),
        ("/car/front/image_rect", "/car/front/camera_info"),
        ("/image", "/camera_info"),
    ],
)
def test_camera_info_is_the_sibling_of_the_image(image: str, expected: str) -> None:
    """As image_transport's camera subscriber looks for it."""
    assert info_topic(image) == expected


@pytest.mark.ros
def test_the_path_is_drawn_as_camera_info_says(tmp_path: Path, ros_context: object) -> None:
    """The same frame, before and after: failed before, as the lens was always assumed."""
    recorder = Recorder(ros_context)
    model = write_planner(tmp_path / "model")
    recorder.listen("/planning/overlay", Image)
    overlays = recorder.received["/planning/overlay"]
    camera = recorder.node.create_publisher(Image, "/front/image_raw", 1)
    infos = recorder.node.create_publisher(CameraInfo, "/front/camera_info", 1)
    message = image_message(draw_scene(0), STAMP_NS)
    size = message.width, message.height
    narrow = to_camera_info(Camera(*size).matrix * np.array([[4.0], [4.0], [1.0]]), *size, Header())
    uncalibrated = CameraInfo(width=size[0], height=size[1])

    def drawn() -> bytes:
        overlays.clear()
        recorder.wait_for(lambda: overlays, lambda: camera.publish(message))
        return bytes(overlays[-1].data)

    arguments = ["-p", f"model:={model}", "-r", "image:=/front/image_raw"]
    with node_process("planning_node", *arguments, log=tmp_path / "log") as process:
        assumed = drawn()
        for _ in range(3):
            infos.publish(uncalibrated)
        assert drawn() == assumed
        recorder.wait_for(lambda: drawn() != assumed, lambda: infos.publish(narrow))
        # It has what it needs, and no longer takes each of them.
        recorder.wait_for(lambda: infos.get_subscription_count() == 0)
        assert process.stop() == 0
    recorder.close()
