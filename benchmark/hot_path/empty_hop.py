# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node that receives the image and answers with a prebuilt result: what an rclpy hop of the messages costs.

    python -m benchmark.hot_path.empty_hop TASK ANSWER.cdr TRANSPORT message|bytes

``message``: the image becomes a Python message, the answer is one, as in any rclpy node. ``bytes``: both stay
serialized.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.serialization import deserialize_message

from benchmark.hot_path.result_topics import LATEST_IMAGE, RESULTS, image_topic
from benchmark.hot_path.stamps import stamp_of, with_stamp


class EmptyHop(Node):
    """Answers every image."""

    def __init__(self, task: str, answer: bytes, transport: str, *, as_bytes: bool) -> None:
        """Subscribe to ``image`` and publish on the task's result topic."""
        super().__init__(task)
        name, kind = RESULTS[task]
        message_type, topic = image_topic(transport)
        self._bytes, self._answer = answer, deserialize_message(answer, kind)
        self._publisher = self.create_publisher(kind, f"~/{name}", 10)
        callback = self._on_bytes if as_bytes else self._on_message
        self.create_subscription(message_type, topic, callback, LATEST_IMAGE, raw=as_bytes)

    def _on_message(self, image: Any) -> None:
        self._answer.header.stamp = image.header.stamp
        self._publisher.publish(self._answer)

    def _on_bytes(self, image: bytes) -> None:
        self._publisher.publish(with_stamp(self._bytes, stamp_of(image)))


def main() -> None:
    """Run until stopped."""
    rclpy.init()
    task, answer, transport, kind = rclpy.utilities.remove_ros_args(sys.argv)[1:]
    node = EmptyHop(task, Path(answer).read_bytes(), transport, as_bytes=kind == "bytes")
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


if __name__ == "__main__":
    main()
