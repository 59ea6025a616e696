# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Finds running monitors and receives their summaries."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_compressed_perception.report.schemas.comparison import Report
from ad_compressed_perception.watch.node_alarms import Availability, DriftAlarms, NodeAlarms
from ad_compressed_perception.watch.view import History, written_before_s

_TOPIC = "/summary"
_TYPE = "std_msgs/msg/String"
_SEARCH_PERIOD_S = 0.5


class SummaryListener:
    """Subscribes to every topic ``.../summary`` of a report, in a ROS context of its own.

    Attributes:
        monitors: full name of each monitor that has answered to its history.
        unreadable: topic to why its messages are no summaries.
        came: summaries received, by monitor.
        drift: drift alarms of all nodes, in whatever namespace.
        availability: of all guarded nodes, likewise.
    """

    def __init__(self, namespace: str = "", *, stale_after_s: float = 5.0) -> None:
        """Begin to search.

        Args:
            namespace: of the monitors, or the full name of one; empty: all.
            stale_after_s: age from which a summary is not of now.
        """
        self._inside = "/" + namespace.strip("/") if namespace.strip("/") else ""
        self._stale_after_s = stale_after_s
        self.monitors: dict[str, History] = {}
        self.unreadable: dict[str, str] = {}
        self.came: dict[str, int] = {}
        self.drift = DriftAlarms(stale_after_s)
        self.availability = Availability(stale_after_s)
        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("adcp_watch", context=self._context, start_parameter_services=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._subscribed: set[str] = set()
        self._search_s = 0.0

    def spin(self, duration_s: float, until: Callable[[], bool] = lambda: False) -> None:
        """Search and receive for a time, or until a condition is true."""
        end_s = time.monotonic() + duration_s
        while not until() and (now_s := time.monotonic()) < end_s:
            if now_s >= self._search_s:
                self._search_s = now_s + _SEARCH_PERIOD_S
                self._search()
            self._executor.spin_once(timeout_sec=min(0.1, end_s - now_s))

    @property
    def is_awaiting(self) -> bool:
        """Whether a guarded node that runs, and so publishes its state every second, has sent nothing yet."""
        return any(
            not self.availability.has_message_of(topic.removesuffix(self.availability.topic))
            and self._node.count_publishers(topic) > 0
            for topic in self._subscribed
            if topic.endswith(self.availability.topic)
        )

    def notes(self, monitor: str) -> list[str]:
        """Return what makes a monitor's figures doubtful."""
        topic = monitor + _TOPIC
        publishers = self._node.count_publishers(topic)
        notes = []
        if publishers > 1:
            notes.append(f"{topic} has {publishers} publishers: figures of different monitors alternate")
        if topic in self.unreadable:
            notes.append(self.unreadable[topic])
        return notes

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def _search(self) -> None:
        for topic, types in self._node.get_topic_names_and_types():
            for alarms, kind in ((self.drift, DiagnosticArray), (self.availability, DiagnosticStatus)):
                if topic.endswith(alarms.topic) and alarms.type_name in types:
                    self._listen_to(topic, alarms, kind)
            monitor = topic.removesuffix(_TOPIC)
            if topic in self._subscribed or monitor == topic or _TYPE not in types:
                continue
            if not f"{monitor}/".startswith(f"{self._inside}/"):
                continue
            self._subscribed.add(topic)
            self._node.create_subscription(String, topic, self._receiver(topic, monitor), LATCHED_QOS)

    def _listen_to(self, topic: str, alarms: NodeAlarms, kind: type) -> None:
        """Subscribe to a node's latched topic, once."""
        if topic in self._subscribed:
            return
        self._subscribed.add(topic)
        node = topic.removesuffix(alarms.topic)
        self._node.create_subscription(
            kind, topic, lambda message: alarms.receive(node, message, time.monotonic()), LATCHED_QOS
        )

    def _receiver(self, topic: str, monitor: str) -> Callable[[Any], None]:
        def receive(message: String) -> None:
            try:
                report = Report.parse(message.data, topic)
            except AdcpError as error:
                self.unreadable[topic] = str(error)
                return
            self.unreadable.pop(topic, None)
            self.came[monitor] = self.came.get(monitor, 0) + 1
            if monitor not in self.monitors:
                self.monitors[monitor] = History(monitor, stale_after_s=self._stale_after_s)
            # The first one was kept for late subscribers and may be old; by the wall clocks of two
            # machines, so later ones count as written when they come.
            before_s = written_before_s(report, time.time()) if self.came[monitor] == 1 else 0.0
            self.monitors[monitor].add(report, time.monotonic(), written_before_s=before_s)

        return receive
