# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Camera topics as users of image_transport expect them, and what a node reports where nobody publishes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.messages.timing import from_message
from ad_compressed_perception.nodes import parameters
from ad_compressed_perception.nodes.camera_topic import camera_topic
from ad_compressed_perception.nodes.image_subscription import ImageSubscription
from ad_compressed_perception.nodes.options import SetupOptions
from ad_compressed_perception.nodes.qos import TIMING_QOS, image_qos
from support.models import draw_scene, write_detector
from support.ros import Recorder, jpeg_message, node_process

pytestmark = pytest.mark.ros
MakeNode = Callable[..., Node]
JPEG = CompressedImage


@pytest.fixture
def camera() -> Iterator[Node]:
    """Return a node with a participant of its own: one participant cannot have two types on a topic."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("camera", context=context)
    yield node
    node.destroy_node()
    context.try_shutdown()


@pytest.fixture
def make_node(ros_context: Any) -> Iterator[MakeNode]:
    nodes: list[Node] = []

    def make(*arguments: str, name: str = "camera_topic_test", namespace: str = "/") -> Node:
        nodes.append(
            Node(name, context=ros_context, namespace=namespace, cli_args=["--ros-args", *arguments])
        )
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


@pytest.mark.parametrize(
    ("transport", "rules", "topic"),
    [
        ("raw", [], "/robot/image"),
        ("compressed", [], "/robot/image/compressed"),
        ("compressed_on_image", [], "/robot/image"),
        ("raw", ["image:=/front/image_raw"], "/front/image_raw"),
        ("compressed", ["image:=/front/image_raw"], "/front/image_raw/compressed"),
        ("compressed", ["image:=front/image_raw"], "/robot/front/image_raw/compressed"),
        ("compressed", ["image:=/front/image_raw/compressed"], "/front/image_raw/compressed"),
        ("compressed", ["image/compressed:=/jpeg"], "/jpeg"),
        ("compressed", ["image:=/raw", "image/compressed:=/jpeg"], "/jpeg"),
        ("compressed_on_image", ["image:=/front/jpeg"], "/front/jpeg"),
    ],
)
def test_a_remapping_of_the_base_topic_reaches_its_compressed_images(
    transport: str, rules: list[str], topic: str, make_node: MakeNode
) -> None:
    """Failed before: -r image:=/front/image_raw left the subscription on /robot/image/compressed."""
    node = make_node(*(part for rule in rules for part in ("-r", rule)), namespace="/robot")
    kind, found = camera_topic(node, transport)
    assert (kind, found) == (Image if transport == "raw" else CompressedImage, topic)
    subscription = ImageSubscription(node, transport, image_qos("best_effort", 1), lambda message, info: None)
    assert subscription.topic == topic  # remapped once, not twice
    subscription.destroy()


@pytest.mark.parametrize(
    ("transport", "published", "line"),
    [
        (
            "raw",
            {"/x": JPEG},
            "/x carries sensor_msgs/msg/CompressedImage: set transport:=compressed_on_image",
        ),
        ("raw", {"/x/compressed": JPEG}, "/x/compressed is published: set transport:=compressed"),
        ("raw", {"/x": String}, "/x carries std_msgs/msg/String: remap image"),
        ("raw", {"/x/compressedDepth": JPEG}, "only /x/compressedDepth"),
        ("raw", {"/x/theora": String}, "only /x/theora"),
        (
            "raw",
            {"/front": Image, "/y/compressed": JPEG, "/d/overlay": Image},
            "images are on /front [sensor_msgs/msg/Image], /y/compressed [sensor_msgs/msg/CompressedImage]: ",
        ),
        ("compressed", {"/x": Image}, "/x is published: set transport:=raw"),
        (
            "compressed",
            {"/x": JPEG},
            "/x carries sensor_msgs/msg/CompressedImage: set transport:=compressed_on",
        ),
        (
            "compressed",
            {"/x/compressed": Image},
            "/x/compressed carries sensor_msgs/msg/Image: set transport:=raw and remap image:=/x/compressed",
        ),
        ("compressed_on_image", {"/x": Image}, "/x carries sensor_msgs/msg/Image: set transport:=raw"),
        (
            "compressed_on_image",
            {"/x/compressed": JPEG},
            "/x/compressed is published: set transport:=compressed",
        ),
    ],
)
def test_a_node_without_images_names_what_is_published_instead_and_what_to_set(
    transport: str,
    published: dict[str, Any],
    line: str,
    camera: Node,
    make_node: MakeNode,
    recorder: Recorder,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Failed before: "nobody publishes /x" although there was one, of another type; the console was empty."""
    for topic, kind in published.items():
        camera.create_publisher(kind, topic, 1)
    node = make_node("-r", "image:=/x")
    subscription = ImageSubscription(node, transport, image_qos("best_effort", 1), lambda message, info: None)

    def problem(silent_s: float) -> str:
        return "; ".join(text for _, text in subscription.problems(0.1, silent_s))

    recorder.wait_for(lambda: line in problem(0.5))
    assert "nobody publishes" in problem(0.5)
    capfd.readouterr()
    assert line not in capfd.readouterr().err  # discovery may still be under way: /diagnostics only
    for _ in range(3):
        problem(2.5)
    assert capfd.readouterr().err.count(line) == 1


def test_a_node_without_any_camera_says_so_once_on_the_console(
    make_node: MakeNode, capfd: pytest.CaptureFixture[str]
) -> None:
    """Failed before: nothing came from the node, and the monitor's alarm blamed the silent node."""
    node = make_node("-r", "image:=/nothing")
    subscription = ImageSubscription(node, "raw", image_qos("best_effort", 1), lambda message, info: None)
    for silent_s in (0.5, 2.5, 3.5, 4.5):
        subscription.problems(0.1, silent_s)
    assert capfd.readouterr().err.count("nobody publishes /nothing; no topic of images has a publisher") == 1


def test_lost_raw_images_name_the_way_out_once_on_the_console(
    camera: Node, make_node: MakeNode, recorder: Recorder, capfd: pytest.CaptureFixture[str]
) -> None:
    """Failed before: a third of the images of 640x480 was lost, and no line named the way out."""
    camera.create_publisher(Image, "/x", 1)
    node = make_node("-r", "image:=/x")
    subscription = ImageSubscription(node, "raw", image_qos("best_effort", 1), lambda message, info: None)
    recorder.wait_for(lambda: subscription.problems(0.1, 0.0) == [])
    subscription.lost = 30
    for number in range(70):
        subscription.note_arrival(number * 100_000_000)
    for _ in range(3):
        ((_, line),) = subscription.problems(0.1, 0.0)
    assert "/x: 30% of the messages lost before the node" in line
    assert "large_images:=true" in line
    assert capfd.readouterr().err.count("large_images:=true") == 1


def test_a_name_that_carries_both_types_works_and_warns_of_nothing(
    camera: Node, make_node: MakeNode, recorder: Recorder
) -> None:
    camera.create_publisher(CompressedImage, "/x", 1)
    node = make_node("-r", "image:=/x")
    subscription = ImageSubscription(node, "raw", image_qos("best_effort", 1), lambda message, info: None)
    recorder.wait_for(lambda: "carries" in str(subscription.problems(0.1, 0.0)))
    other = make_node(name="other_camera")  # of the subscription's participant
    other.create_publisher(Image, "/x", 1)
    recorder.wait_for(lambda: subscription.problems(0.1, 0.0) == [])


def test_two_robots_share_a_domain_and_a_parameter_file(tmp_path: Path, recorder: Recorder) -> None:
    """A relative remapping and image_transport's own parameter name, as in other packages' launch files.

    Failed before: the parameter was ignored with a warning, and both nodes listened to raw images.
    """
    model = str(write_detector(tmp_path / "model"))
    robots = ("/robot1", "/robot2")
    parameters: dict[str, Any] = {
        "/compose": {"ros__parameters": {"nodes": [f"detection_node:{robot}/detection" for robot in robots]}},
        "/**/detection": {"ros__parameters": {"model": model, "image_transport": "compressed"}},
    }
    (tmp_path / "parameters.yaml").write_text(yaml.safe_dump(parameters))
    for robot in robots:
        recorder.listen(f"{robot}/detection/timing", DiagnosticArray, TIMING_QOS)
    cameras = {
        robot: recorder.node.create_publisher(CompressedImage, f"{robot}/front/image_raw/compressed", 1)
        for robot in robots
    }
    arguments = ["--params-file", str(tmp_path / "parameters.yaml"), "-r", "image:=front/image_raw"]
    stamps = {"/robot1": 10**9, "/robot2": 2 * 10**9}
    with node_process("compose", *arguments, log=tmp_path / "log") as node:
        for robot, camera in cameras.items():
            message = jpeg_message(draw_scene(0), stamps[robot])
            timings = recorder.received[f"{robot}/detection/timing"]
            recorder.wait_for(lambda found=timings: found, lambda c=camera, m=message: c.publish(m))
        assert node.stop() == 0
    for robot in robots:
        found = {from_message(m).timing.stamp_ns for m in recorder.received[f"{robot}/detection/timing"]}
        assert found == {stamps[robot]}, robot
    assert "warn" not in node.log.lower(), node.log


def test_transport_and_image_transport_together_are_refused(make_node: MakeNode) -> None:
    node = make_node("-p", "transport:=raw", "-p", "image_transport:=compressed")
    with pytest.raises(AdcpError, match="both 'transport' and its other name 'image_transport'"):
        parameters.declare(node, SetupOptions)
