# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ~/timing topic of an inference node: every frame's timing, several frames a message."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from time import monotonic
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from ad_compressed_perception.core.timing import NOBODY, FrameCounters, FrameTiming, NodeReport
from ad_compressed_perception.messages.timing import to_message
from ad_compressed_perception.nodes.qos import TIMING_QOS

_MOST_FRAMES = 128


class TimingPublisher:
    """Publishes completed frames together, at most ``period_s`` after the first of them.

    A failed frame is published at once, with those that wait. Its methods may be called from any thread.

    Attributes:
        texts: the fields of NodeReport that describe the model, for frames that none answered; they may
            change between frames. Frames of different models are in different messages.
    """

    def __init__(
        self, node: Node, task: str, period_s: float, *, topic: str = "~/timing", name: str = ""
    ) -> None:
        """Create the publisher.

        Args:
            node: publishes.
            task: the node's task.
            period_s: how long a frame may wait; 0 publishes each at once.
            topic: where to.
            name: the reporting node's full name; by default that of ``node``.
        """
        self.texts: dict[str, str] = {}
        self._node, self._task, self._period_s = node, task, period_s
        self._name = name or node.get_fully_qualified_name()
        self._publisher = node.create_publisher(DiagnosticArray, topic, TIMING_QOS)
        self._lock = Lock()
        self._clock_step_ms = 0.0
        self._waiting: list[tuple[float, FrameTiming, FrameCounters, str]] = []
        self._waiting_texts: Mapping[str, Any] = {}

    def add(self, timing: FrameTiming, counters: FrameCounters) -> None:
        """Add a completed frame with the counters after it, which must not change any more."""
        with self._lock:
            now_s = monotonic()
            texts = {**self.texts, **timing.answered_by}
            level = texts.pop("level", "primary" if timing.outcome == "processed" else NOBODY)
            if self._waiting and texts != self._waiting_texts:
                self._publish(now_s)
            self._waiting_texts = texts
            self._waiting.append((now_s, timing, counters, level))
            at_once = timing.outcome == "failed" or len(self._waiting) >= _MOST_FRAMES
            if at_once or now_s - self._waiting[0][0] >= self._period_s:
                self._publish(now_s)

    def note_clock_step(self, step_ms: float) -> None:
        """Report with the next frame that the ROS clock was set."""
        with self._lock:
            self._clock_step_ms += step_ms

    def publish_due(self) -> None:
        """Publish frames whose time has come; to be called periodically, as no frame may follow."""
        with self._lock:
            now_s = monotonic()
            if self._waiting and now_s - self._waiting[0][0] >= self._period_s:
                self._publish(now_s)

    def flush(self) -> None:
        """Publish all frames that wait."""
        with self._lock:
            if self._waiting:
                self._publish(monotonic())

    def destroy(self) -> None:
        """Publish what waits, and destroy the publisher."""
        self.flush()
        self._node.destroy_publisher(self._publisher)

    def _publish(self, now_s: float) -> None:
        waiting, self._waiting = self._waiting, []
        # Without a subscription the middleware would keep nothing for later ones either.
        if not self._node.context.ok() or not self._publisher.get_subscription_count():
            return
        step_ms, self._clock_step_ms = self._clock_step_ms, 0.0
        reports = [
            NodeReport(
                node=self._name,
                task=self._task,
                timing=timing,
                received=counters.received,
                counts=counters.counts,
                waited_ms=(now_s - since_s) * 1e3,
                clock_step_ms=step_ms if place == 0 else 0.0,
                level=level,
                **self._waiting_texts,
            )
            for place, (since_s, timing, counters, level) in enumerate(waiting)
        ]
        try:
            self._publisher.publish(to_message(*reports))
        except Exception:
            # A signal may end the context between the check and the publishing: that is no failure.
            if self._node.context.ok():
                raise
