# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Publishers of a task's results under a prefix: ~ for what the node answers, ~/shadow for a shadow.

A node of several cameras publishes for each as a node of its own would: those of the camera ``front`` of the
node /detection have the topics of a node /front/detection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile


class ResultTopics:
    """A task's topics."""

    def __init__(
        self, node: Node, publishers: Sequence[Publisher], publish: Callable[[Any, Any], None]
    ) -> None:
        """Take over publishers of ``node``; ``publish`` publishes a result under its source header."""
        self._node, self.publishers, self.publish = node, publishers, publish

    def destroy(self) -> None:
        """Destroy the publishers."""
        for publisher in self.publishers:
            self._node.destroy_publisher(publisher)


def camera_node(node: Node, camera: str) -> str:
    """Return the full name of the node that would serve a camera alone; of ``node`` itself for no name."""
    if not camera:
        return str(node.get_fully_qualified_name())
    return f"{node.get_namespace().rstrip('/')}/{camera}/{node.get_name()}"


def prefixes_of(node: Node, cameras: Sequence[str]) -> dict[str, str]:
    """Return camera to prefix of its topics."""
    return {camera: f"{camera}/{node.get_name()}" if camera else "~" for camera in cameras}


class CameraResults:
    """The results of each camera, under its prefix."""

    def __init__(self, prefixes: Mapping[str, str], make: Callable[[str, str], ResultTopics]) -> None:
        """Create them; ``make`` is called with each camera and its prefix."""
        self._of = {camera: make(camera, prefix) for camera, prefix in prefixes.items()}

    def publish(self, result: Any, header: Any, camera: str = "") -> None:
        """Publish a camera's result."""
        self._of[camera].publish(result, header)

    def destroy(self) -> None:
        """Destroy all publishers."""
        for topics in self._of.values():
            topics.destroy()


class SameOnEach:
    """A topic that says the same under each prefix, such as the labels of the model."""

    def __init__(
        self, node: Node, message_type: type, prefixes: Mapping[str, str], name: str, qos: QoSProfile
    ) -> None:
        """Create it."""
        self._node = node
        topics = (f"{prefix}/{name}" for prefix in prefixes.values())
        self._publishers = [node.create_publisher(message_type, topic, qos) for topic in topics]

    def publish(self, message: Any) -> None:
        """Publish a message under each prefix."""
        for publisher in self._publishers:
            publisher.publish(message)

    def destroy(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)
