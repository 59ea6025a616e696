# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Latency monitor: compares running nodes live, on /diagnostics, ~/summary and in a report."""

from __future__ import annotations

import platform
import time
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from pydantic import ValidationError
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import String

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.manifest import describe_validation_error
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.messages.timing import ns_to_stamp
from ad_compressed_perception.metrics.agreement import Agreement
from ad_compressed_perception.monitor.comparison import ComparisonMonitor, OnPair
from ad_compressed_perception.monitor.diagnostics import MonitorDiagnostics
from ad_compressed_perception.monitor.frame_health import Level
from ad_compressed_perception.monitor.gate import ModelInfo
from ad_compressed_perception.monitor.variant_monitor import KEPT_FRAMES
from ad_compressed_perception.monitor.watch import Watch, log_line
from ad_compressed_perception.monitor.windows import window_name
from ad_compressed_perception.nodes import parameters
from ad_compressed_perception.nodes.callback_guard import new_failures, not_published, note_failure
from ad_compressed_perception.nodes.figure_topics import FigureTopics
from ad_compressed_perception.nodes.message_reader import MessageReader
from ad_compressed_perception.nodes.model_info import subscribe_model_info
from ad_compressed_perception.nodes.monitor_options import (
    TASK_NAMES,
    MonitorOptions,
    TaskOptions,
    comparisons,
)
from ad_compressed_perception.nodes.node_subscriptions import (
    NodeSubscriptions,
    subscribe_ground_truth,
    subscribe_results,
)
from ad_compressed_perception.nodes.pair_topic import PairTopic
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_compressed_perception.nodes.run import run_node
from ad_compressed_perception.nodes.side_by_side import SideBySide, SideBySideOptions
from ad_compressed_perception.nodes.vehicle_speed import VehicleSpeed
from ad_compressed_perception.report.host import describe_host
from ad_compressed_perception.report.schemas.comparison import Report, Source

LIVE_MEASUREMENT = (
    "Live, under contention: all nodes ran at the same time and shared the processor, so each "
    "one's latency includes contention with the others, and a speed-up is not that of a variant "
    "running alone. `adcp replay` runs the variants interleaved instead."
)
"""How figures of a live comparison are measured."""

LIVE_AGE_REFERENCE = "what the parameter age_reference of each node names (header_stamp by default)"


class LatencyMonitorNode(Node):
    """Subscribes to inference nodes and reports how they compare, what is late and what is missing."""

    def __init__(
        self,
        *,
        on_pair: OnPair | None = None,
        measurement: str = LIVE_MEASUREMENT,
        monitor_type: type[ComparisonMonitor] = ComparisonMonitor,
        live: bool = True,
        **node_arguments: Any,
    ) -> None:
        """Read the parameters and subscribe.

        Args:
            on_pair: called for every compared pair, in the thread that spins the node.
            measurement: how the variants are run, for the summary and the report.
            monitor_type: what compares; a replay takes only the frames that it offered.
            live: watch the last seconds, too; a replay's variants wait for each other in them.
            node_arguments: of rclpy.node.Node, and ``node_name``.

        Raises:
            AdcpError: a parameter is wrong, no node is named, or the report cannot be written.
        """
        super().__init__(node_arguments.pop("node_name", "latency_monitor"), **node_arguments)
        self._options, tasks = self._read_parameters()
        read_once = {*MonitorOptions.model_fields, *SideBySideOptions.model_fields}
        read_once |= {f"{task}.{key}" for task in TASK_NAMES for key in TaskOptions.model_fields}
        parameters.refuse_change(self, read_once, "monitor")
        self.measurement = measurement
        now_s = time.monotonic()
        self.monitor = monitor_type(
            comparisons(tasks),
            now_s=now_s,
            pair_timeout_s=self._options.pair_timeout_s,
            stale_after_s=self._options.stale_after_s,
            on_pair=self._on_pair,
            windows_s=self._options.windows_s,
        )
        self._live, self._also_on_pair = live, on_pair
        self._watch = Watch(self.monitor, self._options.raise_after_s, self._options.clear_after_s)
        self._monitor_diagnostics = MonitorDiagnostics(self.monitor, self._watch)
        self._host, self._host_name = describe_host(), platform.node()
        self._closed = False
        self._next_write_s = now_s + self._options.report_period_s
        self._node_subscriptions: list[NodeSubscriptions] = []
        self._doubts: list[str] = []
        self._figures = FigureTopics(self, self.monitor) if live else None
        self._pairs = PairTopic(self, self.monitor) if live else None
        if self._options.report_path:
            # Fails before the drive, not after it, where the path cannot be written.
            self._write(self.report())
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._summaries = self.create_publisher(String, "~/summary", LATCHED_QOS)
        self._side_by_side: SideBySide | None = None
        if live and any(each.spec.variants for each in self.monitor.tasks.values()):
            patience_s = self._options.pair_timeout_s
            self._side_by_side = SideBySide(self, self.monitor, self._side_by_side_options, patience_s)
        self._speed = VehicleSpeed(self, self._options.odometry_topic)
        self._reader = MessageReader(self, self._options.read_period_s)
        self._node_subscriptions = [
            NodeSubscriptions(self, self._reader, self.monitor, task, name, compare=each.needs_results)
            for task, each in self.monitor.tasks.items()
            for name in each.variants
        ]
        self._ground_truths = {task: each.ground_truth_topic for task, each in tasks.items()}
        for task, each in self.monitor.tasks.items():
            for name, full_name in each.spec.nodes.items() if live else ():
                subscribe_model_info(self, full_name, partial(self.add_model_info, task, name))
            if each.accuracies:
                self._subscribe_ground_truth(task, task)
        # Steady time: the monitor keeps reporting when a simulated clock stops.
        self.create_timer(
            self._options.publish_period_s,
            self.publish,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        names = ", ".join(each.full_name for each in self._node_subscriptions)
        self.get_logger().info(f"watching {names}")

    def _read_parameters(self) -> tuple[MonitorOptions, dict[str, TaskOptions]]:
        parameters.declare(self, MonitorOptions)
        parameters.declare(self, SideBySideOptions)
        for task in TASK_NAMES:
            parameters.declare(self, TaskOptions, f"{task}.")
        for name in parameters.undeclared_overrides(self):
            self.get_logger().warning(f"parameter {name!r} does not exist here and is ignored")
        try:
            options = MonitorOptions.model_validate(parameters.values(self, MonitorOptions))
            self._side_by_side_options = SideBySideOptions.model_validate(
                parameters.values(self, SideBySideOptions)
            )
            tasks = {
                task: TaskOptions.model_validate(parameters.values(self, TaskOptions, f"{task}."))
                for task in TASK_NAMES
            }
        except ValidationError as error:
            reason = describe_validation_error(error)
            raise AdcpError(f"{self.get_fully_qualified_name()}: parameter {reason}") from error
        return options, tasks

    @property
    def unpublished(self) -> list[str]:
        """Full names of the monitored nodes whose timing topic has no publisher."""
        return [each.full_name for each in self._node_subscriptions if not each.publishers]

    def _subscribe_ground_truth(self, task: str, named: str) -> None:
        topic = self._ground_truths[task]
        subscribe_ground_truth(self, self._reader, self.monitor, named, topic)

    def add_model_info(self, task: str, name: str, info: ModelInfo) -> None:
        """Take what a node states about its model; subscribe to heads that are known since."""
        before = {*self.monitor.tasks[task].heads}
        self.monitor.add_model_info(task, name, info)
        for head, each in self.monitor.tasks[task].heads.items():
            if head in before:
                continue
            for variant in each.variants:
                subscribe_results(self, self._reader, self.monitor, head, variant)
            if each.accuracies:
                self._subscribe_ground_truth(task, head)
            if self._figures is not None:
                self._figures.add(head, each)

    def _on_pair(
        self, task: str, name: str, stamp_ns: int, baseline: Result, variant: Result, agreed: Agreement
    ) -> None:
        if self._pairs is not None and self.context.ok():  # pairs that still waited when the process ends
            self._pairs.add(task, name, stamp_ns, agreed)
        if self._also_on_pair is not None:
            self._also_on_pair(task, name, stamp_ns, baseline, variant, agreed)

    def report(self) -> Report:
        """Return the live report as of now."""
        notes = [*self.monitor.changes, *self.monitor.unpublished_heads()]
        now_s, now = time.monotonic(), datetime.now(timezone.utc).astimezone()
        tasks = self.monitor.summary(now_s if self._live else None)
        if self._live:
            self._watch.update(tasks, now_s, now)
            notes += self._watch.history()
            if not self._closed:  # then the context may have ended, and nobody can be counted
                self._doubts = self._doubled()
        if self.monitor.sampled:
            notes.append(
                f"Of series longer than {KEPT_FRAMES} frames the largest half as many are exact; the "
                "others are counted in bins of 1 %. Scores and speed-ups of pairs are sampled evenly."
            )
        return Report(
            created=now.isoformat(timespec="seconds"),
            measurement=self.measurement,
            age_reference=LIVE_AGE_REFERENCE,
            source=Source(kind="live", frames=self.monitor.frames, duration_s=self.monitor.duration_s),
            host=self._host,
            tasks=tasks,
            missing=self.monitor.missing(now_s),
            problems=[*self._doubts, *self.monitor.not_compared()],
            notes=notes,
        )

    def publish(self) -> None:
        """Publish /diagnostics and ~/summary, and write the report when it is time."""
        now_s = time.monotonic()
        self.monitor.expire(now_s)
        self.monitor.set_speed(self._speed.now())
        report = self.report()
        self._log_alarms(now_s)
        try:
            self._diagnostics.publish(self._diagnostic_message(now_s, report if self._live else None))
        except Exception:
            self._monitor_diagnostics.not_published()
            not_published(self)
            raise
        self._summaries.publish(String(data=report.to_json(indent=None)))
        window_s = self._options.windows_s[0]
        if self._figures is not None:
            self._figures.publish(report.tasks, window_name(window_s))
        if self._pairs is not None:
            self._pairs.publish(window_s, now_s)
        if self._options.report_path and now_s >= self._next_write_s:
            self._next_write_s = now_s + self._options.report_period_s
            try:
                self._write(report)
            except AdcpError as error:
                note_failure(self, "report not written", error)  # a WARN on /diagnostics, too

    def _log_alarms(self, now_s: float) -> None:
        """Log each alarm when it begins, changes or ends."""
        logger = self.get_logger()
        for active in self._watch.alarms.news(now_s):
            # rclpy allows one severity a line of code.
            if active.level is Level.ERROR:
                logger.error(log_line(active))
            elif active.level is Level.WARN:
                logger.warning(log_line(active))
            else:
                logger.info(log_line(active))

    def _write(self, report: Report) -> None:
        """Write the live report; raise AdcpError in one line."""
        report.write(Path(self._options.report_path).expanduser())

    def close(self) -> None:
        """Count what still waits as unpaired and write the last report; raise AdcpError where that fails."""
        if self._closed:
            return
        self._closed = True
        self._reader.read()
        if self._side_by_side is not None:
            self._side_by_side.close()
        self.monitor.close(time.monotonic())
        if self._options.report_path:
            self._write(self.report())

    def _doubled(self) -> list[str]:
        """Name nodes whose counters are mixed with those of another one: the figures mean nothing."""
        counts = [(each.timing_topic, each.publishers) for each in self._node_subscriptions]
        return [
            f"{topic} has {count} publishers: two nodes of one name, or one crashed"
            for topic, count in counts
            if count > 1
        ]

    def _diagnostic_message(self, now_s: float, report: Report | None) -> DiagnosticArray:
        message = DiagnosticArray()
        message.header.stamp = ns_to_stamp(self.get_clock().now().nanoseconds)
        me = self.get_fully_qualified_name()  # two robots have monitors of one name
        tasks = report.tasks if report else None
        for status in self._monitor_diagnostics.statuses(now_s, self.unpublished, tasks):
            message.status.append(
                DiagnosticStatus(
                    level=bytes([status.level]),
                    name=f"{me}: {status.name} {status.source}".rstrip(),
                    hardware_id=status.source or self._host_name,
                    message=status.message,
                    values=[KeyValue(key=key, value=text) for key, text in status.values.items()],
                )
            )
        text = "; ".join(filter(None, [*self._doubts, new_failures(self)]))
        level = DiagnosticStatus.WARN if text else DiagnosticStatus.OK
        own = DiagnosticStatus(level=level, name=f"{me}: callbacks", message=text or "running")
        own.hardware_id = self._host_name
        message.status.append(own)
        return message


def main() -> None:
    """Run the monitor until it is stopped."""
    run_node(LatencyMonitorNode)


if __name__ == "__main__":
    main()
