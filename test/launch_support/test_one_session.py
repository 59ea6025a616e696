# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``one_session:=true``: which node gets which cameras, topics and names; nothing is started here."""

from __future__ import annotations

import pytest

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.launch_support.one_session import nodes_of_one_session
from ad_compressed_perception.launch_support.plan import PlannedNode, compare_nodes, perception_nodes

CAMERAS = ("front", "left")


def arguments(**given: str) -> dict[str, str]:
    defaults = {"tasks": "detection,planning", "namespace": "", "image_topic": "/{camera}/image_raw"}
    return {**defaults, **given}


def by_name(nodes: list[PlannedNode]) -> dict[str, PlannedNode]:
    return {node.full_name: node for node in nodes}


def test_one_node_a_task_gets_all_cameras_and_each_camera_its_monitor() -> None:
    given = arguments(monitor="true", namespace="/car", report_path="/tmp/live.json", deadline_ms="80")
    nodes = by_name(nodes_of_one_session(perception_nodes, given, CAMERAS))

    assert nodes.keys() == {
        "/car/detection",
        "/car/planning",
        "/car/front/latency_monitor",
        "/car/left/latency_monitor",
    }
    detection = nodes["/car/detection"]
    assert detection.parameters["cameras"] == ["front", "left"]
    assert dict(detection.remappings) == {
        "front/image": "/front/image_raw",
        "front/image/compressed": "/front/image_raw/compressed",
        "left/image": "/left/image_raw",
        "left/image/compressed": "/left/image_raw/compressed",
    }
    monitor = nodes["/car/left/latency_monitor"].parameters
    # The names under which the shared node publishes: those of a node for each camera.
    assert monitor["detection.baseline"] == "/car/left/detection"
    assert monitor["report_path"] == "/tmp/live_left.json"
    assert monitor["detection.deadline_ms"] == 80.0


def test_a_model_with_several_heads_serves_all_cameras() -> None:
    nodes = by_name(
        nodes_of_one_session(perception_nodes, arguments(tasks="multi_task", monitor="true"), CAMERAS)
    )

    assert nodes["/multi_task"].parameters["cameras"] == ["front", "left"]
    assert nodes["/left/latency_monitor"].parameters["multi_task.baseline"] == "/left/multi_task"


def test_a_comparison_watches_what_both_shared_nodes_say_of_the_camera() -> None:
    nodes = by_name(nodes_of_one_session(compare_nodes, arguments(tasks="detection"), CAMERAS))

    monitor = nodes["/front/latency_monitor"].parameters
    assert monitor["detection.baseline"] == "/baseline/front/detection"
    assert monitor["detection.compressed"] == ["/compressed/front/detection"]
    assert nodes["/compressed/detection"].parameters["cameras"] == ["front", "left"]


def test_a_relative_topic_belongs_to_each_cameras_namespace() -> None:
    given = arguments(tasks="planning", image_topic="image_color", odometry_topic="/odometry", monitor="true")
    node, *_ = nodes_of_one_session(perception_nodes, given, CAMERAS)
    rules = dict(node.remappings)
    assert (rules["front/image"], rules["left/image"]) == ("/front/image_color", "/left/image_color")
    assert rules["odometry"] == "/odometry"


def test_what_cannot_be_served_is_refused() -> None:
    with pytest.raises(AdcpError, match="needs the names of the cameras"):
        nodes_of_one_session(perception_nodes, arguments(), ())
    with pytest.raises(AdcpError, match="all cameras would get the same images"):
        nodes_of_one_session(perception_nodes, arguments(image_topic="/image"), CAMERAS)
