# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras of a node that serves several of them with one model, and what the node says of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from ad_compressed_perception.core.timing import NodeReport
from ad_compressed_perception.messages.timing import reports_of
from ad_compressed_perception.nodes.qos import TIMING_QOS, image_qos
from support.gated_node import GatedNode
from support.models import draw_scene, write_detector
from support.ros import Recorder, image_message

CAMERAS = ["front", "left"]
Make = Callable[..., GatedNode]


@contextmanager
def gated_nodes(context: Any, folder: Path) -> Iterator[Make]:
    """Yield what makes detection nodes with given parameters; all of them are ended at the end."""
    made: list[GatedNode] = []

    def create(**values: Any) -> GatedNode:
        defaults = {"model": str(write_detector(folder / "model")), "timing_period_s": 0.0}
        names = {"node_name": values.pop("node_name")} if "node_name" in values else {}
        overrides = [Parameter(name, value=value) for name, value in (defaults | values).items()]
        made.append(GatedNode(context=context, parameter_overrides=overrides, **names))
        return made[-1]

    try:
        yield create
    finally:
        for node in made:
            node.gate.set()
            node.close()
            node.destroy_node()


def started(make: Make, **values: Any) -> GatedNode:
    """Return an active node with these parameters."""
    node = make(cameras=CAMERAS, **values)
    assert node.autostart()
    return node


class Rig(Recorder):
    """Cameras, and what the node says of each."""

    def __init__(self, context: Any) -> None:
        super().__init__(context, "test_rig")
        self.cameras: dict[str, Any] = {}
        for camera in CAMERAS:
            self.listen(f"/{camera}/detection/timing", DiagnosticArray, TIMING_QOS)
            self.listen(f"/{camera}/detection/detections", Detection2DArray)
        self.listen("/diagnostics", DiagnosticArray)

    def connect(self, *cameras: str, kind: type = Image, topic: str = "image", qos: Any = None) -> None:
        for camera in cameras:
            profile = image_qos("reliable", 200) if qos is None else qos
            self.cameras[camera] = self.node.create_publisher(kind, f"/{camera}/{topic}", profile)
            if qos is None:
                self.wait_for(self.cameras[camera].get_subscription_count)
                self.wait_for(lambda c=camera: self.node.count_publishers(f"/{c}/detection/timing"))

    def send(self, camera: str, stamp_ns: int, index: int = 0, scale: int = 1) -> None:
        scene = draw_scene(index).repeat(scale, axis=0).repeat(scale, axis=1)
        self.cameras[camera].publish(image_message(scene, stamp_ns, f"{camera}_optical"))

    def reports(self, camera: str) -> list[NodeReport]:
        messages = self.received[f"/{camera}/detection/timing"]
        return [report for message in messages for report in reports_of(message)]

    def report_of(self, camera: str, stamp_ns: int) -> NodeReport:
        def find() -> NodeReport | None:
            return next((one for one in self.reports(camera) if one.timing.stamp_ns == stamp_ns), None)

        return self.wait_for(find)

    def status(self, name: str) -> DiagnosticStatus | None:
        statuses = [one for message in self.received["/diagnostics"] for one in message.status]
        return next((one for one in reversed(statuses) if one.name == name), None)

    def wait_for_status(self, name: str, text: str) -> DiagnosticStatus:
        def find() -> DiagnosticStatus | None:
            found = self.status(name)
            return found if found is not None and text in found.message else None

        return self.wait_for(find)


def received(node: GatedNode, camera: str) -> int:
    worker = node._supervised.worker
    assert worker is not None
    return worker.counters(camera).received
