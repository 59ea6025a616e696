# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``~/model_info``: what a node says of its model, latched; and the monitor's end of it."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from std_msgs.msg import String

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.monitor.gate import ModelInfo, model_info, parse_model_info
from ad_compressed_perception.nodes.callback_guard import note_failure
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_compressed_perception.tasks.pipeline import Pipeline


class ModelInfoTopic:
    """Publishes the verdict of the loaded variant and the terms that it was judged by."""

    def __init__(self, node: Node, topic: str = "~/model_info") -> None:
        """Create the topic."""
        self._node, self._publisher = node, node.create_publisher(String, topic, LATCHED_QOS)

    def publish(self, pipeline: Pipeline, every_nth: int) -> None:
        """Publish what a pipeline runs, on what, and the share of the frames that it gets."""
        info = model_info(pipeline.task.manifest, pipeline.variant, every_nth)
        for key in ("backend", "requested_provider", "provider", "precision"):
            setattr(info, key, getattr(pipeline.session.info, key))
        self._publisher.publish(String(data=info.model_dump_json()))

    def destroy(self) -> None:
        """Destroy the topic."""
        self._node.destroy_publisher(self._publisher)


def subscribe_model_info(node: Node, full_name: str, take: Callable[[ModelInfo], object]) -> None:
    """Call ``take`` with what the node ``full_name`` says of its model."""
    topic = f"{full_name}/model_info"

    def on_text(message: String) -> None:
        try:
            take(parse_model_info(message.data))
        except AdcpError as error:
            note_failure(node, f"{topic}: message not understood", error)

    node.create_subscription(String, topic, on_text, LATCHED_QOS)
