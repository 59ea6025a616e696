# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``~/swap``: the last exchange or refusal, again when the frames between two models are known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import Lock

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from ad_compressed_perception.messages.timing import ns_to_stamp
from ad_compressed_perception.monitor.frame_health import Level
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_compressed_perception.serving.served_model import ModelIdentity
from ad_compressed_perception.serving.swap import SwapReport


@dataclass
class _Gap:
    """Waits for the first answer of a new model; ``unanswered``: frames before the last one of the old."""

    report: SwapReport
    unanswered: int


class SwapTopic:
    """Publishes reports, and counts the frames that nobody answered between two models."""

    def __init__(self, node: Node) -> None:
        """Create the topic."""
        self._node = node
        self._lock = Lock()
        self._gap: _Gap | None = None
        self._answered: tuple[ModelIdentity | None, int] = (None, 0)
        # Of a new model that answers before exchanged() is called: it, the one before, and its gap.
        self._early: tuple[ModelIdentity, ModelIdentity | None, int] | None = None
        self._known: SwapReport | None = None
        self._publisher = node.create_publisher(DiagnosticArray, "~/swap", LATCHED_QOS)

    def begin_anew(self) -> None:
        """Count the frames of another activation."""
        with self._lock:
            self._answered, self._early = (None, 0), None
            if self._gap is not None:
                self._gap.unanswered = 0

    def forget(self) -> None:
        """Wait for no answer any more."""
        with self._lock:
            self._gap, self._answered, self._early = None, (None, 0), None

    def exchanged(self, report: SwapReport, unanswered: int) -> None:
        """Wait for the first answer of a new model; ``unanswered``: frames until now."""
        with self._lock:
            answered_by, before = self._answered
            early, self._early = self._early, None
            self._gap = self._known = None
            if early is not None and early[0] is report.new and early[1] is report.old:
                self._known = replace(report, swap_gap_frames=early[2])
            else:
                self._gap = _Gap(report, before if answered_by is report.old else unanswered)

    def note_answer(self, identity: ModelIdentity, unanswered: int) -> None:
        """Note a frame that a model answered; publish the gap at the first one of a new model."""
        with self._lock:
            gap, (last, before) = self._gap, self._answered
            if gap is not None and gap.report.new is identity:
                self._gap = None
            elif identity is not last:
                self._early = identity, last, unanswered - before
            if gap is not None and gap.report.old is identity:  # it was in work at the exchange
                gap.unanswered = unanswered
            self._answered = identity, unanswered
        if gap is not None and gap.report.new is identity:
            self.publish(replace(gap.report, swap_gap_frames=unanswered - gap.unanswered))

    def publish_first(self, report: SwapReport) -> None:
        """Publish a report, unless its gap came to be known and was published."""
        with self._lock:
            known, self._known = self._known, None
            is_first = self._gap is not None and self._gap.report is report
        if known is not None:
            self.publish(known)
        elif is_first:
            self.publish(report)

    def publish(self, report: SwapReport) -> None:
        """Publish a report."""
        if not self._node.context.ok():
            return
        status = DiagnosticStatus(
            level=bytes([Level.WARN if report.reason else Level.OK]),
            name=self._node.get_fully_qualified_name(),
            message=report.line(),
            values=[KeyValue(key=key, value=value) for key, value in report.values().items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = ns_to_stamp(self._node.get_clock().now().nanoseconds)
        self._publisher.publish(message)
