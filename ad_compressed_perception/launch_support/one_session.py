# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""All cameras of a launch served by one node a task; imports neither ROS nor launch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.launch_support.argument_values import of_camera
from ad_compressed_perception.launch_support.plan import (
    MONITOR,
    PlannedNode,
    camera_remappings,
    with_camera,
)


def nodes_of_one_session(
    plan: Callable[[dict[str, str]], list[PlannedNode]], arguments: dict[str, str], cameras: Sequence[str]
) -> list[PlannedNode]:
    """Return one inference node a task with all cameras, and the monitor of each camera.

    Args:
        plan: from the values of the arguments to the nodes of one camera.
        arguments: the launch's.
        cameras: their names.

    Raises:
        AdcpError: no camera is named; or what ``plan`` and of_camera raise.
    """
    if not cameras:
        raise AdcpError("one_session:=true needs the names of the cameras, cameras:=front,rear")
    of_each = {camera: of_camera(arguments, camera, len(cameras)) for camera in cameras}
    remappings = [rule for camera, one in of_each.items() for rule in _remappings(camera, one)]
    if arguments.get("odometry_topic", ""):
        remappings.append(("odometry", arguments["odometry_topic"]))
    shared = plan(arguments)
    nodes = [
        replace(node, parameters={**node.parameters, "cameras": list(cameras)}, remappings=tuple(remappings))
        for node in shared
        if node.name != MONITOR
    ]
    for camera, one in of_each.items():
        alone = plan(one)
        names = {its.full_name: _served(node, camera) for its, node in zip(alone, shared, strict=True)}
        monitors = [_watching(node, names) for node in alone if node.name == MONITOR]
        nodes += with_camera(monitors, one)
    return nodes


def _remappings(camera: str, arguments: Mapping[str, str]) -> list[tuple[str, str]]:
    topic = arguments["image_topic"]
    if topic and not topic.startswith("/"):  # in the namespace that a node of its own would have
        topic = f"{arguments['namespace'].rstrip('/')}/{topic}"
    return [(f"{camera}/{name}", new) for name, new in camera_remappings(topic)]


def _served(node: PlannedNode, camera: str) -> str:
    """Return the name under which a node publishes what it makes of a camera."""
    return f"{node.namespace.rstrip('/')}/{camera}/{node.name}"


def _watching(monitor: PlannedNode, names: Mapping[str, str]) -> PlannedNode:
    """Return the monitor of a camera with its nodes under other names."""

    def renamed(value: Any) -> Any:
        return [renamed(one) for one in value] if isinstance(value, list) else names.get(value, value)

    values = {key: renamed(value) for key, value in monitor.parameters.items()}
    return replace(monitor, parameters=values)
