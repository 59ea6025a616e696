# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes a frame to one node and waits until that node has processed it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from ad_compressed_perception.core.timing import FrameTiming
from ad_compressed_perception.nodes.node_subscriptions import RESULT_TOPICS
from ad_compressed_perception.nodes.qos import RESULT_QOS, image_qos
from ad_compressed_perception.nodes.rclpy_compat import publisher_count
from ad_compressed_perception.replay.collector import Collector
from ad_compressed_perception.replay.frames import BagFrame
from ad_compressed_perception.replay.ledger import Ledger, OfferedMonitor
from ad_compressed_perception.replay.lifecycle import WaitUntil
from ad_compressed_perception.replay.node_process import ReplayError
from ad_compressed_perception.replay.plan import BASELINE, ReplayPlan
from ad_compressed_perception.replay.results_recorder import ResultsRecorder

MAX_SILENT_FRAMES = 3
"""Consecutive frames without a response of a node after which the replay ends."""
_PAIR_WAIT_S = 2.0
_DISCOVERY_S = 30.0
# Publisher and subscription discover each other at slightly different times; only this side is visible.
_SETTLE_S = 0.5


class NodeHungError(ReplayError):
    """A node that finishes no frame any more.

    Attributes:
        task: its task.
        name: of the variant.
    """

    def __init__(self, task: str, name: str, text: str) -> None:
        """Store which node it is, and what is known."""
        super().__init__(text)
        self.task = task
        self.name = name


class Player:
    """Publishes the frames of a replay; each node subscribes to an image topic of its own."""

    def __init__(
        self,
        node: Node,
        plan: ReplayPlan,
        monitor: OfferedMonitor,
        collector: Collector,
        wait_until: WaitUntil,
        *,
        compressed: bool,
        frame_timeout_s: float,
    ) -> None:
        """Create a publisher for every node of the plan.

        Args:
            node: publishes the images.
            plan: the nodes.
            monitor: receives what the nodes report over ROS.
            collector: receives the timing of every finished frame.
            wait_until: spins ROS until a condition holds.
            compressed: whether the images are CompressedImage.
            frame_timeout_s: how long a node may work on a frame.
        """
        self._node = node
        self._plan = plan
        self._monitor = monitor
        self._collector = collector
        self._wait_until = wait_until
        self._frame_timeout_s = frame_timeout_s
        self._recorder: ResultsRecorder | None = None
        self._missed_in_row: Counter[tuple[str, str]] = Counter()
        self.frame_timeouts: Counter[tuple[str, str]] = Counter()
        message_type = CompressedImage if compressed else Image
        suffix = "/compressed" if compressed else ""
        self._publishers: dict[tuple[str, str], Any] = {
            (each.task, each.name): node.create_publisher(
                message_type, each.image_topic + suffix, image_qos("reliable", 1)
            )
            for each in plan.nodes
        }

    def record(self, recorder: ResultsRecorder) -> None:
        """Let a recorder take the results as the nodes publish them; to be called before the first frame."""
        self._recorder = recorder
        recorder.subscribe(self._subscribe_raw)

    def wait_for_connections(self, subscriptions: Iterable[Any]) -> None:
        """Wait until every node is subscribed to its images and the monitor to every node.

        Args:
            subscriptions: those of the monitor; the topics of other nodes are ignored.

        Raises:
            ReplayError: a topic has no subscription or no publisher.
        """
        for (task, name), publisher in self._publishers.items():
            if not self._wait_until(partial(_is_connected, publisher, self._node), _DISCOVERY_S):
                topic = self._plan.without_namespace(publisher.topic_name)
                raise ReplayError(f"{task}/{name} is not subscribed to {topic}")
        prefixes = tuple(f"{each.node}/" for each in self._plan.nodes)
        for subscription in subscriptions:
            if not subscription.topic_name.startswith(prefixes):
                continue
            if not self._wait_until(partial(_is_connected, subscription, self._node), _DISCOVERY_S):
                topic = self._plan.without_namespace(subscription.topic_name)
                raise ReplayError(f"nobody publishes {topic}")
        self._wait_until(lambda: False, _SETTLE_S)

    def offer(self, task: str, name: str, frame: BagFrame) -> None:
        """Publish a frame to one node and wait until it reports the frame's outcome.

        Raises:
            NodeHungError: the node did not respond to several frames in a row.
        """
        key = (task, name)
        for compared in self._plan.compared(task):
            self._collector.begin(compared, frame)
        self.ledger(task, name).sent.add(frame.stamp_ns)
        self._publishers[key].publish(frame.cdr)
        if self._wait_until(lambda: self._timing_of(task, name, frame) is not None, self._frame_timeout_s):
            timing = self._timing_of(task, name, frame)
            if timing is not None:
                for compared in self._plan.compared(task):
                    self._collector.note_timing(compared, name, timing)
            self._missed_in_row[key] = 0
            return
        self.frame_timeouts[key] += 1
        self._missed_in_row[key] += 1
        if self._missed_in_row[key] >= MAX_SILENT_FRAMES:
            raise NodeHungError(task, name, self._describe_hang(task, name))

    def ledger(self, task: str, name: str) -> Ledger:
        """Return what was sent to a node and what came back."""
        return self._monitor.ledgers[task, self._plan.node(task, name).namespace]

    def _describe_hang(self, task: str, name: str) -> str:
        ledger = self.ledger(task, name)
        last = "none of them came back"
        if ledger.done:
            place = list(ledger.done)[-1]
            last = f"{len(ledger.done)} came back, the last with stamp {place / 1e9:.3f} s"
        return (
            f"node {self._plan.without_namespace(self._plan.node(task, name).node)} finished no frame for "
            f"{MAX_SILENT_FRAMES * self._frame_timeout_s:g} s (its limit): {len(ledger.sent)} frames "
            f"were sent to it, {last}"
        )

    def complete(self, task: str, frame: BagFrame) -> None:
        """Wait until the monitor has compared every candidate's results of a frame, and record them."""
        expected = {
            name
            for name in self._plan.variants[task]
            if name != BASELINE and self._processed(task, name, frame)
        }
        parts = self._plan.compared(task)
        if expected and self._processed(task, BASELINE, frame):
            self._wait_until(
                lambda: all(expected <= self._collector.compared(part, frame.stamp_ns) for part in parts),
                _PAIR_WAIT_S,
            )
        if self._recorder is not None:
            self._record(self._recorder, task, frame)
        for part in parts:
            self._collector.end_task(part, frame)

    def _record(self, recorder: ResultsRecorder, task: str, frame: BagFrame) -> None:
        names = {name for name in self._plan.variants[task] if self._processed(task, name, frame)}
        self._wait_until(lambda: recorder.has(task, names, frame.stamp_ns), _PAIR_WAIT_S)
        found = {name: self._timing_of(task, name, frame) for name in self._plan.variants[task]}
        timings = {name: timing for name, timing in found.items() if timing is not None}
        compared = self._collector.results(task, frame.stamp_ns)
        agreements = self._collector.agreements(task, frame.stamp_ns)
        recorder.end_task(task, frame, timings, compared, agreements)

    def _subscribe_raw(self, topic: str, task: str, take: Callable[[bytes], None]) -> None:
        message_type = RESULT_TOPICS[task].message_type
        self._node.create_subscription(message_type, topic, take, RESULT_QOS, raw=True)

    def _timing_of(self, task: str, name: str, frame: BagFrame) -> FrameTiming | None:
        return self.ledger(task, name).done.get(frame.stamp_ns)

    def _processed(self, task: str, name: str, frame: BagFrame) -> bool:
        timing = self._timing_of(task, name, frame)
        return timing is not None and timing.outcome == "processed"


def _is_connected(endpoint: Any, node: Node) -> bool:
    """Whether a publisher has a subscription, or a subscription a publisher."""
    if hasattr(endpoint, "get_subscription_count"):
        return int(endpoint.get_subscription_count()) > 0
    return publisher_count(node, endpoint) > 0
