# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Diagnostics of an inference node, published on /diagnostics."""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode

from ad_compressed_perception.core.timing import FrameTiming
from ad_compressed_perception.messages.timing import ns_to_stamp
from ad_compressed_perception.nodes.callback_guard import new_failures
from ad_compressed_perception.nodes.worker import FrameWorker
from ad_compressed_perception.tasks.pipeline import Pipeline

_WINDOW = 200


class NodeDiagnostics:
    """Collects events since the last status and publishes one status a period."""

    def __init__(self, node: LifecycleNode, period_s: float) -> None:
        """Publish on /diagnostics every ``period_s`` of steady time, independent of a simulated clock."""
        self._node = node
        self._lock = Lock()
        self._refusal = ""
        self._qos_line = ""
        self._model: dict[str, str] = {}
        self._provider_differs = ""
        self._subscription: Any = None
        self._worker: FrameWorker | None = None
        self._infer_ms: deque[float] = deque(maxlen=_WINDOW)
        self._end_to_end_ms: deque[float] = deque(maxlen=_WINDOW)
        self._failed = 0
        self._last_failure = ""
        self._negative_ages = 0
        self._received_before = 0
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        node.create_timer(period_s, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def refuse(self, reason: str) -> None:
        """Store why configure was refused."""
        self._refusal = reason

    def describe_model(self, pipeline: Pipeline) -> None:
        """Store the loaded model and the runtime it runs on."""
        self._refusal = ""
        info = pipeline.session.info
        coverage = "none" if info.integer_coverage is None else f"{info.integer_coverage:.3f}"
        self._model = {
            "model": pipeline.task.manifest.name,
            "variant": pipeline.variant,
            "backend": f"{info.backend} {info.version}",
            "requested_provider": info.requested_provider,
            "provider": info.provider,
            "precision": info.precision,
            "integer_coverage": coverage,
            "threads": str(info.threads),
            "load_ms": f"{info.load_ms:.1f}",
            "warmup_ms": f"{info.warmup_ms:.1f}",
        }
        differs = info.provider != info.requested_provider
        self._provider_differs = (
            f"runs on {info.provider}, asked for {info.requested_provider}" if differs else ""
        )

    def forget_model(self) -> None:
        """Clear the model: none is loaded any more."""
        self._model = {}
        self._provider_differs = ""

    def monitor(self, subscription: Any, worker: FrameWorker) -> None:
        """Report on this subscription and worker from now on."""
        self._subscription, self._worker = subscription, worker
        self._qos_line = ""
        self._received_before = 0

    def stop_monitoring(self) -> None:
        """Report on no subscription."""
        self._subscription = self._worker = None

    def note_age(self, age_ms: float) -> None:
        """Count an age that lies in the future."""
        if age_ms < 0.0:
            with self._lock:
                self._negative_ages += 1

    def note_frame(self, timing: FrameTiming) -> None:
        """Add a completed frame to the window."""
        with self._lock:
            if timing.outcome == "processed":
                self._infer_ms.append(timing.stages_ms["infer"])
                self._end_to_end_ms.append(timing.end_to_end_ms)
            elif timing.outcome == "failed":
                self._failed += 1
                self._last_failure = timing.reason

    def note_qos(self, line: str) -> None:
        """Store a QoS mismatch for the lifetime of the subscription."""
        self._qos_line = line

    def publish(self) -> None:
        """Publish the present status."""
        status = DiagnosticStatus(name=self._node.get_fully_qualified_name())
        worker, subscription = self._worker, self._subscription
        values = dict(self._model)
        problems: list[tuple[bytes, str]] = []
        if self._refusal:
            problems.append((DiagnosticStatus.ERROR, self._refusal))
        if self._provider_differs:
            problems.append((DiagnosticStatus.WARN, self._provider_differs))
        if self._qos_line:
            problems.append((DiagnosticStatus.ERROR, self._qos_line))
        with self._lock:
            failed, self._failed = self._failed, 0
            negative, self._negative_ages = self._negative_ages, 0
            last_failure = self._last_failure
            windows = {
                "infer_ms": np.array(self._infer_ms),
                "end_to_end_ms": np.array(self._end_to_end_ms),
            }
        if failed:
            problems.append((DiagnosticStatus.ERROR, f"{failed} frames failed: {last_failure}"))
        if negative:
            problems.append((DiagnosticStatus.WARN, f"{negative} frames have a stamp in the future"))
        for name, window in windows.items():
            known = window[np.isfinite(window)]
            for percentile in (50, 95, 99):
                value = f"{np.percentile(known, percentile):.2f}" if known.size else "nan"
                values[f"{name}_p{percentile}"] = value
        if worker is not None and subscription is not None:
            counters = worker.counters()
            values["received"] = str(counters.received)
            values |= {outcome: str(count) for outcome, count in counters.counts.items()}
            values["pending"] = str(counters.pending)
            if subscription.get_publisher_count() == 0:
                problems.append((DiagnosticStatus.WARN, f"nobody publishes {subscription.topic_name}"))
            elif counters.received == self._received_before and not self._qos_line:
                problems.append((DiagnosticStatus.WARN, f"no new frame on {subscription.topic_name}"))
            self._received_before = counters.received
        elif not problems:
            problems.append((DiagnosticStatus.WARN, "not active"))
        if failures := new_failures(self._node):
            problems.append((DiagnosticStatus.WARN, failures))
        if self._node.get_clock().now().nanoseconds == 0:
            problems.append(
                (DiagnosticStatus.WARN, "use_sim_time is set and no /clock was received: no ages")
            )
        status.level = max((level for level, _ in problems), default=DiagnosticStatus.OK)
        status.message = "; ".join(line for _, line in problems) or "running"
        status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = ns_to_stamp(self._node.get_clock().now().nanoseconds)
        self._publisher.publish(message)
