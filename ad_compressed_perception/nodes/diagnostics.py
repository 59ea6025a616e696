# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Diagnostics of an inference node, published on /diagnostics."""

from __future__ import annotations

import platform
from collections import deque
from collections.abc import Callable
from threading import Lock
from time import monotonic

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.lifecycle import LifecycleNode

from ad_compressed_perception.core.timing import FrameTiming
from ad_compressed_perception.messages.timing import ns_to_stamp
from ad_compressed_perception.monitor.frame_health import FrameHealth, Level, Problems
from ad_compressed_perception.nodes.callback_guard import new_failures, not_published
from ad_compressed_perception.nodes.frame_selection import FrameSelection
from ad_compressed_perception.nodes.image_subscription import ImageSubscription
from ad_compressed_perception.nodes.options import HealthOptions
from ad_compressed_perception.nodes.supervised_worker import SupervisedWorker
from ad_compressed_perception.tasks.pipeline import Pipeline

_WINDOW = 200


class NodeDiagnostics:
    """Collects events and publishes a status; what one counted that was not published is in the next one."""

    def __init__(
        self, node: LifecycleNode, supervised: SupervisedWorker, options: Callable[[], HealthOptions]
    ) -> None:
        """Report on a node and its worker.

        Args:
            node: publishes on /diagnostics.
            supervised: its model and worker.
            options: returns the present limits.
        """
        self._node, self._supervised, self._options = node, supervised, options
        self._lock = Lock()
        self._publishing = Lock()
        self._refusal = ""
        self._model: dict[str, str] = {}
        self._provider_differs = ""
        self._subscription: ImageSubscription | None = None
        self._selection: FrameSelection | None = None
        self._health = FrameHealth()
        self._active_s = 0.0
        self._infer_ms: deque[float] = deque(maxlen=_WINDOW)
        self._end_to_end_ms: deque[float] = deque(maxlen=_WINDOW)
        self._failed = self._failed_reported = 0
        self._last_failure = ""
        self._negative_ages = self._negative_reported = 0
        self._unstamped = self._unstamped_reported = 0
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def refuse(self, reason: str) -> None:
        """Store why the last transition was refused; an empty line: another one has begun."""
        self._refusal = reason

    def describe_model(self, pipeline: Pipeline) -> None:
        """Store the loaded model and the runtime it runs on."""
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

    def monitor(self, subscription: ImageSubscription, selection: FrameSelection | None = None) -> None:
        """Report on the frames of this subscription, and on those that are not selected, from now on."""
        with self._lock:
            self._health = FrameHealth()
        self._active_s = monotonic()
        self._subscription, self._selection = subscription, selection

    def stop_monitoring(self) -> None:
        """Report on no subscription."""
        self._subscription = None

    def note_age(self, age_ms: float) -> None:
        """Count an age that lies in the future."""
        if age_ms < 0.0:
            with self._lock:
                self._negative_ages += 1

    def note_frame(self, timing: FrameTiming) -> None:
        """Add a completed frame to the window."""
        with self._lock:
            self._health.add_frame(timing, monotonic())
            self._unstamped += timing.stamp_ns == 0
            if timing.outcome == "processed":
                self._infer_ms.append(timing.stages_ms["infer"])
                self._end_to_end_ms.append(timing.end_to_end_ms)
            elif timing.outcome == "failed":
                self._failed += 1
                self._last_failure = timing.reason

    def publish(self) -> None:
        """Publish the present status."""
        with self._publishing:
            self._publish()

    def _publish(self) -> None:
        options = self._options()
        with self._lock:
            failed, negative, unstamped = self._failed, self._negative_ages, self._unstamped
        problems = self._model_problems()
        problems += self._supervised.problems(monotonic(), options.watchdog_error_s)
        if new := failed - self._failed_reported:
            problems.append((Level.ERROR, f"{new} frames failed: {self._last_failure}"))
        if new := negative - self._negative_reported:
            problems.append((Level.WARN, f"{new} frames have a stamp in the future"))
        if new := unstamped - self._unstamped_reported:
            problems.append((Level.WARN, f"{new} frames have no stamp: how old they are is unknown"))
        values = self._model | self._time_values()
        frame_problems, frame_values = self._frames(options)
        problems += frame_problems
        values |= frame_values
        if failures := new_failures(self._node):
            problems.append((Level.WARN, failures))
        if self._node.get_clock().now().nanoseconds == 0:
            problems.append((Level.WARN, "use_sim_time is set and no /clock was received: no ages"))
        status = DiagnosticStatus(
            level=bytes([max((level for level, _ in problems), default=Level.OK)]),
            name=self._node.get_fully_qualified_name(),
            hardware_id=platform.node(),
            message="; ".join(line for _, line in problems) or "running",
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = ns_to_stamp(self._node.get_clock().now().nanoseconds)
        try:
            self._publisher.publish(message)
        except Exception:
            not_published(self._node)
            raise
        self._failed_reported, self._negative_reported = failed, negative
        self._unstamped_reported = unstamped

    def _model_problems(self) -> Problems:
        problems: Problems = []
        if self._refusal:
            problems.append((Level.ERROR, self._refusal))
        if self._provider_differs:
            problems.append((Level.WARN, self._provider_differs))
        return problems

    def _time_values(self) -> dict[str, str]:
        with self._lock:
            windows = {
                "infer_ms": np.array(self._infer_ms),
                "end_to_end_ms": np.array(self._end_to_end_ms),
            }
        values = {}
        for name, window in windows.items():
            known = window[np.isfinite(window)]
            for percentile in (50, 95, 99):
                value = f"{np.percentile(known, percentile):.2f}" if known.size else "nan"
                values[f"{name}_p{percentile}"] = value
        return values

    def _frames(self, options: HealthOptions) -> tuple[Problems, dict[str, str]]:
        """Return problems and figures of the subscription and its frames."""
        worker, subscription = self._supervised.worker, self._subscription
        if worker is None or subscription is None:
            idle = not self._refusal and self._supervised.loading is None
            return ([(Level.WARN, "not active")] if idle else []), {}
        counters, now_s = worker.counters(), monotonic()
        silent_s = now_s - max(self._active_s, subscription.last_arrival_s)
        problems = subscription.problems(options.max_lost_share, silent_s)
        with self._lock:
            self._health.update(counters.counts, now_s)
            problems += self._health.problems(options)
            rate_hz, dropped = self._health.rate_hz, self._health.dropped_share
        values = {"received": str(counters.received)}
        values |= {outcome: str(count) for outcome, count in counters.counts.items()}
        values |= {
            "pending": str(counters.pending),
            "rate_hz": f"{rate_hz:.2f}",
            "dropped_share": f"{dropped:.3f}",
            "worker_replacements": str(self._supervised.replacements),
        }
        if self._selection is not None:
            values |= {"every_nth": str(self._selection.every_nth)}
            values |= {"not_selected": str(self._selection.not_selected)}
            if problem := self._selection.problem:
                problems.append((Level.WARN, problem))
        return problems, values | subscription.values()
