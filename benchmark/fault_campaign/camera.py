# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sends frames to a node and collects what comes back: results, timings, steps of the guard."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage

from ad_compressed_perception.core.errors import AdcpError, DataError
from ad_compressed_perception.messages.timing import reports_of, stamp_to_ns
from ad_compressed_perception.nodes.qos import LATCHED_QOS, RESULT_QOS, TIMING_QOS
from benchmark.fault_campaign.references import Expected
from benchmark.hot_path.result_topics import RESULTS
from benchmark.hot_path.stamps import stamp_of

_START_S = 60.0
_RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)


@dataclass
class SentFrame:
    """A frame that was sent, and what the node published under its stamp.

    Attributes:
        index: among the expected frames.
        stamp_ns: wall time of sending.
        results: serialized messages; more than one is a fault of the node.
        outcome, level, variant, reason: as reported; empty where nothing was.
        answered_ns: wall time of the first result; 0 where there was none.
    """

    index: int
    stamp_ns: int
    results: list[bytes] = field(default_factory=list)
    outcome: str = ""
    level: str = ""
    variant: str = ""
    reason: str = ""
    answered_ns: int = 0


@dataclass(frozen=True)
class Step:
    """A step of the guard: wall time of its message's stamp, and the fields of the message."""

    time_ns: int
    text: str
    values: dict[str, str]


class Camera:
    """A camera of one node, and the subscriber of everything that the node publishes."""

    def __init__(self, task: str) -> None:
        """Join the graph."""
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("fault_campaign", context=self._context)
        self._publisher = self._node.create_publisher(CompressedImage, "/image/compressed", _RELIABLE)
        topic, kind = RESULTS[task]
        self._subscribe(kind, f"/{task}/{topic}", self._on_result, RESULT_QOS, raw=True)
        self._subscribe(DiagnosticArray, f"/{task}/timing", self._on_timing, TIMING_QOS)
        self._subscribe(DiagnosticArray, f"/{task}/guard_events", self._on_steps, TIMING_QOS)
        self._subscribe(DiagnosticStatus, f"/{task}/availability", self._on_availability, LATCHED_QOS)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._by_stamp: dict[int, SentFrame] = {}
        self.sent: list[SentFrame] = []
        self.foreign = self.held_again = 0
        self.steps: list[Step] = []
        self.availability: dict[str, int] = {}
        self.received = 0

    def _subscribe(
        self, kind: type, topic: str, callback: Any, qos: QoSProfile, *, raw: bool = False
    ) -> None:
        self._node.create_subscription(kind, topic, callback, qos, raw=raw)

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def connect(self, task: str, process: subprocess.Popen[bytes]) -> None:
        """Wait for the node; raise DataError where it ends or does not come."""
        end = time.monotonic() + _START_S
        while not (
            self._publisher.get_subscription_count() and self._node.count_publishers(f"/{task}/timing")
        ):
            if process.poll() is not None or time.monotonic() > end:
                raise DataError("the node did not start: see node.log in the campaign's folder")
            self._executor.spin_once(timeout_sec=0.05)
        self.spin(0.5)

    def spin(self, seconds: float) -> None:
        """Receive for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0.0:
            self._executor.spin_once(timeout_sec=left)

    def send(self, frames: Sequence[Expected], index: int, patience_s: float, period_s: float) -> SentFrame:
        """Send a frame and receive until it is answered and the period is over, or for ``patience_s``.

        With a patience of 0 the next frame is due after the period, answered or not, as of a camera.
        """
        began = time.monotonic()
        frame = SentFrame(index, time.time_ns())
        self._by_stamp[frame.stamp_ns] = frame
        self.sent.append(frame)
        self._publisher.publish(frames[index].camera.stamped(frame.stamp_ns))
        if patience_s:
            end = began + patience_s
            while not self._is_complete(frame) and (left := end - time.monotonic()) > 0.0:
                self._executor.spin_once(timeout_sec=left)
        self.spin(began + period_s - time.monotonic())
        return frame

    @staticmethod
    def _is_complete(frame: SentFrame) -> bool:
        return bool(frame.outcome) and (frame.outcome != "processed" or bool(frame.results))

    def _on_result(self, message: bytes) -> None:
        frame = self._by_stamp.get(stamp_of(message))
        if frame is None:
            self.foreign += 1
            return
        if bytes(message) in frame.results:
            self.held_again += 1  # a held result is published under its own stamp
            return
        frame.answered_ns = frame.answered_ns or time.time_ns()
        frame.results.append(bytes(message))

    def _on_timing(self, message: DiagnosticArray) -> None:
        try:
            reports = reports_of(message)
        except AdcpError:
            self.foreign += 1
            return
        for report in reports:
            self.received = max(self.received, report.received)
            frame = self._by_stamp.get(report.timing.stamp_ns)
            if frame is None or frame.outcome:
                self.foreign += 1
                continue
            frame.outcome, frame.reason = report.timing.outcome, report.timing.reason
            frame.level, frame.variant = report.level, report.variant

    def _on_steps(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            self.steps.append(Step(stamp_to_ns(message.header.stamp), status.message, values))

    def _on_availability(self, status: DiagnosticStatus) -> None:
        level = {b"\x00": "OK", b"\x01": "WARN", b"\x02": "ERROR"}.get(status.level, "STALE")
        self.availability[level] = self.availability.get(level, 0) + 1
