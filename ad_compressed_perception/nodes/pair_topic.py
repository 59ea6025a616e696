# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``~/pairs``: a JSON text for every frame that baseline and variant both answered."""

from __future__ import annotations

import json
import math
from collections import deque
from typing import Any

from rclpy.node import Node
from std_msgs.msg import String

from ad_compressed_perception.metrics.agreement import (
    Agreement,
    ClassificationAgreement,
    DetectionAgreement,
    SegmentationAgreement,
)
from ad_compressed_perception.monitor.comparison import ComparisonMonitor
from ad_compressed_perception.nodes.qos import RESULT_QOS

_KEPT = 1024


class PairTopic:
    """Publishes pairs, some tenths of a second after them: their timings come behind the results."""

    def __init__(self, node: Node, monitor: ComparisonMonitor) -> None:
        """Create the topic."""
        self._monitor = monitor
        self._waiting: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._publisher = node.create_publisher(String, "~/pairs", RESULT_QOS)

    def add(self, task: str, variant: str, stamp_ns: int, agreed: Agreement) -> None:
        """Note a pair, where somebody subscribes."""
        if self._publisher.get_subscription_count():
            event = {"stamp_ns": stamp_ns, "task": task, "variant": variant, "score": agreed.score}
            self._waiting.append({**event, "differs": differences(agreed)})

    def publish(self, window_s: float, now_s: float) -> None:
        """Publish the pairs since the last call, with the times of the last ``window_s`` seconds' frames."""
        times: dict[tuple[str, str], dict[int, tuple[float, float]]] = {}
        while self._waiting:
            event = self._waiting.popleft()
            task = self._monitor.tasks[event["task"]]
            for side, name in (("baseline", str(task.spec.baseline)), ("variant", event["variant"])):
                key = event["task"], name
                if key not in times:
                    with self._monitor.lock:
                        times[key] = task.variants[name].recent.times_ms(window_s, now_s)
                end_to_end_ms, infer_ms = times[key].get(event["stamp_ns"], (math.nan, math.nan))
                event[f"{side}_end_to_end_ms"] = _or_null(end_to_end_ms)
                event[f"{side}_infer_ms"] = _or_null(infer_ms)
            self._publisher.publish(String(data=json.dumps(event)))


def differences(agreed: Agreement) -> str:
    """Return what differs in a pair, in a few words; empty where nothing does."""
    if isinstance(agreed, DetectionAgreement):
        return ", ".join(
            f"{count} {label} {what}"
            for label, counts in agreed.per_class.items()
            for count, what in ((counts.missed, "missed"), (counts.extra, "extra"))
            if count
        )
    if isinstance(agreed, SegmentationAgreement):
        share = agreed.differing_pixels_share
        return f"{share:.2%} of the pixels" if share else ""
    if isinstance(agreed, ClassificationAgreement):
        return "" if agreed.same else " and ".join(agreed.per_class)
    return f"{agreed.max_lateral_offset_m:.2f} m beside" if agreed.max_lateral_offset_m else ""


def _or_null(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None
