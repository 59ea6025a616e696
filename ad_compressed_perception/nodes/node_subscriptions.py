# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor's subscriptions: an inference node's timings, results and labels, and the ground truth."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Path
from rclpy.node import Node
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification, Detection2DArray, LabelInfo

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.messages import classification, detection, planning, segmentation, serialized
from ad_compressed_perception.messages import timing as timing_message
from ad_compressed_perception.messages.received_image import read_image
from ad_compressed_perception.monitor.comparison import ComparisonMonitor
from ad_compressed_perception.nodes.callback_guard import note_failure
from ad_compressed_perception.nodes.message_reader import MessageReader
from ad_compressed_perception.nodes.qos import LATCHED_QOS, RESULT_QOS, TIMING_QOS

_HELD_RESULTS = 16


@dataclass(frozen=True)
class ResultTopic:
    """Where a task's results are published and how a message becomes a result."""

    name: str
    message_type: type
    parse: Callable[[bytes], Any]
    read: Callable[[Any, tuple[str, ...]], Result]
    has_labels: bool


RESULT_TOPICS = {
    "detection": ResultTopic(
        "detections", Detection2DArray, serialized.detections, detection.from_message, True
    ),
    "segmentation": ResultTopic("mask", Image, read_image, segmentation.from_message, True),
    "planning": ResultTopic(
        "trajectory", Path, serialized.path, lambda path, _: planning.from_path(path), False
    ),
    "classification": ResultTopic(
        "classification", Classification, serialized.classification, classification.from_message, True
    ),
}


class ResultListener:
    """Subscribes to a topic of results; results wait for their labels, which come on another topic."""

    def __init__(
        self,
        node: Node,
        reader: MessageReader,
        task: str,
        topic: str,
        labels_topic: str,
        take: Callable[[int, Result, float], object],
    ) -> None:
        """Subscribe.

        Args:
            node: the monitor's ROS node.
            reader: reads the messages.
            task: whose results they are.
            topic: of the results.
            labels_topic: of their labels, where the task has some.
            take: called with stamp_ns, result and the monotonic time of its arrival, seconds.
        """
        self._node, self._name, self._take = node, topic, take
        self._topic = RESULT_TOPICS[task]
        self._labels: tuple[str, ...] | None = None if self._topic.has_labels else ()
        # Labels and results come on different topics, in any order: results wait for the labels.
        self._held: deque[tuple[bytes, float]] = deque(maxlen=_HELD_RESULTS)
        if self._topic.has_labels:
            reader.subscribe(LabelInfo, labels_topic, self._on_labels, LATCHED_QOS)
        reader.subscribe(self._topic.message_type, topic, self._on_result, RESULT_QOS, raw=True)

    def _on_labels(self, message: LabelInfo, at_s: float) -> None:
        self._labels = detection.labels_of(message)
        while self._held:
            self._on_result(*self._held.popleft())

    def _on_result(self, data: bytes, at_s: float) -> None:
        if self._labels is None:
            self._held.append((data, at_s))
            return
        try:
            message = self._topic.parse(data)
            result = self._topic.read(message, self._labels)
        except AdcpError as error:
            note_failure(self._node, f"{self._name}: message not understood", error)
            return
        self._take(timing_message.stamp_to_ns(message.header.stamp), result, at_s)


class NodeSubscriptions:
    """Subscribes to one node's topics and passes the messages to the monitor."""

    def __init__(
        self,
        node: Node,
        reader: MessageReader,
        monitor: ComparisonMonitor,
        task: str,
        name: str,
        *,
        compare: bool,
    ) -> None:
        """Subscribe.

        Args:
            node: the monitor's ROS node.
            reader: reads the messages.
            monitor: takes reports and results.
            task: the monitored node's task.
            name: its name as a variant.
            compare: whether results are needed; otherwise only timings are taken.
        """
        self._node = node
        self._monitor = monitor
        self._task, self._name = task, name
        self.full_name = monitor.tasks[task].spec.nodes[name]
        self.timing_topic = f"{self.full_name}/timing"
        self._last_s = 0.0
        reader.subscribe(DiagnosticArray, self.timing_topic, self._on_timing, TIMING_QOS)
        if compare:
            subscribe_results(node, reader, monitor, task, name)

    @property
    def publishers(self) -> int:
        """How many publishers the node's timing topic has, as far as discovery knows."""
        return int(self._node.count_publishers(self.timing_topic))

    def _on_timing(self, message: DiagnosticArray, at_s: float) -> None:
        try:
            reports = timing_message.reports_of(message)
        except AdcpError as error:
            note_failure(self._node, f"{self.timing_topic}: message not understood", error)
            return
        for report in reports:
            # The time at which it would have come by itself: rates and silences are those of the frames.
            self._last_s = max(self._last_s, at_s - report.waited_ms / 1e3)
            self._monitor.add_report(self._task, self._name, report, self._last_s)


def subscribe_results(
    node: Node, reader: MessageReader, monitor: ComparisonMonitor, task: str, name: str
) -> None:
    """Subscribe to the results of a task, or of a head, and pass them to the monitor.

    Args:
        node: the monitor's ROS node.
        reader: reads the messages.
        monitor: receives them.
        task: the monitored node's task, or a head's name among all tasks.
        name: the node's name as a variant.
    """
    found = monitor.tasks[task]
    prefix = f"{found.spec.nodes[name]}/{found.head}".rstrip("/")
    kind = found.kind or task

    def take(stamp_ns: int, result: Result, at_s: float) -> None:
        monitor.add_result(task, name, stamp_ns, result, at_s)

    topic = f"{prefix}/{RESULT_TOPICS[kind].name}"
    ResultListener(node, reader, kind, topic, f"{prefix}/label_info", take)


def subscribe_ground_truth(
    node: Node, reader: MessageReader, monitor: ComparisonMonitor, task: str, topic: str
) -> None:
    """Subscribe to the ground truth of a task, or of a head, and pass it to the monitor.

    Args:
        node: the monitor's ROS node.
        reader: reads the messages.
        monitor: receives it.
        task: whose results they are.
        topic: of the results, or above a head's; their labels are expected on TOPIC/label_info.
    """
    found = monitor.tasks[task]
    topic = f"{topic}/{found.head}".rstrip("/")

    def take(stamp_ns: int, ground_truth: Result, at_s: float) -> None:
        monitor.add_ground_truth(task, stamp_ns, ground_truth, at_s)

    ResultListener(node, reader, found.kind or task, topic, f"{topic}/label_info", take)
