# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A camera before a guarded detection node, and what the node says of its guard."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from ad_compressed_perception.messages.timing import reports_of
from ad_compressed_perception.nodes.detection_node import DetectionNode
from ad_compressed_perception.nodes.qos import LATCHED_QOS, TIMING_QOS
from support.models import draw_scene, write_detector
from support.ros import Recorder, image_message

NODE = "/detection"
GUARDED = {"fallback_variant": "baseline", "guard_hysteresis_s": 0.2, "guard_probation_frames": 3}
Start = Callable[..., DetectionNode]


class Camera:
    """Publishes a frame when the one before is completed; returns its report, and keeps all."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._publisher = recorder.node.create_publisher(Image, "/image", 1)
        recorder.wait_for(self._publisher.get_subscription_count)
        recorder.wait_for(lambda: recorder.node.count_publishers(f"{NODE}/timing"))
        self.sent = 0
        self.reports: list[Any] = []

    def send(self) -> Any:
        stamp_ns = time.time_ns()
        self._publisher.publish(image_message(draw_scene(self.sent), stamp_ns))
        self.sent += 1
        self.reports.append(self._recorder.wait_for(lambda: self._report(stamp_ns)))
        return self.reports[-1]

    def _report(self, stamp_ns: int) -> Any:
        for message in self._recorder.received[f"{NODE}/timing"]:
            for report in reports_of(message):
                if report.timing.stamp_ns == stamp_ns:
                    return report
        return None

    def send_until(self, condition: Callable[[], Any]) -> None:
        end = time.monotonic() + 60.0
        while not condition():
            assert time.monotonic() < end
            self.send()
            time.sleep(0.02)


def state(recorder: Recorder) -> dict[str, str]:
    received = recorder.received[f"{NODE}/availability"]
    return {pair.key: pair.value for pair in received[-1].values} if received else {}


def steps(recorder: Recorder) -> list[dict[str, str]]:
    return [
        {pair.key: pair.value for pair in status.values}
        for message in recorder.received[f"{NODE}/guard_events"]
        for status in message.status
    ]


def listening(context: Any) -> Recorder:
    """Return what receives all that a guarded node says."""
    listener = Recorder(context)
    listener.listen(f"{NODE}/timing", DiagnosticArray, TIMING_QOS)
    listener.listen(f"{NODE}/detections", Detection2DArray)
    listener.listen(f"{NODE}/availability", DiagnosticStatus, LATCHED_QOS)
    listener.listen(f"{NODE}/guard_events", DiagnosticArray)
    return listener


def start_node(context: Any, folder: Path, values: Mapping[str, Any]) -> DetectionNode:
    """Start a node with the tiny detector, written into the folder, on the scripted backend."""
    model = str(write_detector(folder))
    values = {"model": model, "backend": "scripted", "timing_period_s": 0.0, **values}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = DetectionNode(context=context, parameter_overrides=overrides)
    node.autostart()
    return node
