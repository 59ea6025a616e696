# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An imported binary segmenter and an imported planner of waypoints in their nodes, over the wire."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Path as PathMessage
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from ad_compressed_perception.importing.import_model import import_model
from ad_compressed_perception.nodes.planning_node import PlanningNode
from ad_compressed_perception.nodes.segmentation_node import SegmentationNode
from support.decoder_models import MODELS
from support.models import draw_scene
from support.ros import Recorder, as_ns, image_message

pytestmark = pytest.mark.ros
STAMP_NS = 1_479_425_491_191_381_351


@pytest.fixture
def recorder(ros_context: Any) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


@pytest.fixture
def start(ros_context: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def make(kind: Any, name: str) -> Any:
        given = MODELS[name]
        import_model(given.write(tmp_path / "given"), tmp_path / "model", given.request())
        overrides = [Parameter("model", value=str(tmp_path / "model"))]
        node = kind(context=ros_context, parameter_overrides=overrides)
        made.append(node)
        assert node.autostart()
        return node

    yield make
    for node in made:
        node.close()
        node.destroy_node()


def test_a_binary_segmenter_publishes_its_mask(start: Any, recorder: Recorder) -> None:
    start(SegmentationNode, "one channel of logits")
    recorder.listen("/segmentation/mask", Image)
    camera = recorder.node.create_publisher(Image, "/image", 1)
    masks = recorder.received["/segmentation/mask"]
    image = image_message(draw_scene(0), STAMP_NS)

    recorder.wait_for(lambda: masks, lambda: camera.publish(image))

    mask = np.frombuffer(bytes(masks[0].data), np.uint8).reshape(96, 128)
    assert as_ns(masks[0].header.stamp) == STAMP_NS
    assert (mask[50:78, 90:118] == 1).all() and mask.max() == 1
    assert not mask[:46].any()


def test_a_planner_of_waypoints_publishes_path_and_command(start: Any, recorder: Recorder) -> None:
    """Ten points 0.2 s apart, 2 m each: 10 m/s; to the left, where it is bright."""
    start(PlanningNode, "flat normalized waypoints by time")
    recorder.listen("/planning/trajectory", PathMessage)
    recorder.listen("/planning/command", TwistStamped)
    camera = recorder.node.create_publisher(Image, "/image", 1)
    paths, commands = (recorder.received[f"/planning/{name}"] for name in ("trajectory", "command"))
    bright = np.zeros((64, 64, 3), np.uint8)
    bright[:, :32] = 255
    image = image_message(bright, STAMP_NS)

    recorder.wait_for(lambda: paths and commands, lambda: camera.publish(image))

    points = np.array([[pose.pose.position.x, pose.pose.position.y] for pose in paths[0].poses])
    np.testing.assert_allclose(points[:, 0], np.arange(2.0, 21.0, 2.0), atol=1e-3)
    np.testing.assert_allclose(points[:, 1], 0.02 * points[:, 0] ** 2, atol=1e-2)
    last = paths[0].poses[-1].pose.orientation
    assert 2.0 * math.atan2(last.z, last.w) == pytest.approx(math.atan(0.04 * 20.0), abs=0.05)
    command = commands[0].twist
    assert 9.5 < command.linear.x < 13.0
    assert command.angular.z / command.linear.x == pytest.approx(0.04, abs=0.01)
