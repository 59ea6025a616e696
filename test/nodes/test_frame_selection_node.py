# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node that answers every Nth frame: which ones, and where the others are counted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image
from std_msgs.msg import String

from ad_compressed_perception.messages.timing import from_message
from ad_compressed_perception.monitor.gate import parse_model_info
from ad_compressed_perception.nodes.frame_selection import is_nth
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from support.models import draw_scene, write_detector
from support.ros import Recorder, image_message, node_process

pytestmark = pytest.mark.ros
STAMP_NS = 1_479_425_491_191_381_351


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


def test_a_node_answers_every_third_frame_and_counts_the_others_apart(
    tmp_path: Path, recorder: Recorder
) -> None:
    """Frames that are not selected are neither received nor dropped: received = processed + ... holds."""
    model = write_detector(tmp_path / "model")
    camera = recorder.node.create_publisher(Image, "/image", 1)
    recorder.listen("/detection/timing", DiagnosticArray)
    recorder.listen("/diagnostics", DiagnosticArray)
    recorder.listen("/detection/model_info", String, LATCHED_QOS)
    stamps = count(STAMP_NS, 50_000_000)
    options = ["-p", f"model:={model}", "-p", "every_nth:=3", "-p", "camera_rate_hz:=20.0"]
    options += ["-p", "diagnostics_period_s:=0.2"]

    def send() -> None:
        camera.publish(image_message(draw_scene(0), next(stamps)))

    def figures() -> dict[str, str]:
        for message in reversed(recorder.received["/diagnostics"]):
            found = {pair.key: pair.value for pair in message.status[0].values}
            if "not_selected" in found:
                return found
        return {}

    with node_process("detection_node", *options, log=tmp_path / "log") as node:
        recorder.wait_for(lambda: len(recorder.received["/detection/timing"]) >= 4, send)
        recorder.wait_for(lambda: int(figures().get("not_selected", 0)) >= 6)
        reports = [from_message(message) for message in recorder.received["/detection/timing"]]
        assert all(is_nth(report.timing.stamp_ns, 3, 20.0) for report in reports)
        assert reports[-1].received == sum(reports[-1].counts.values())
        assert figures()["every_nth"] == "3"
        info = parse_model_info(
            recorder.wait_for(lambda: recorder.received["/detection/model_info"])[-1].data
        )
        assert (info.every_nth, info.variant, info.gate) == (3, "fp32", None)
        assert node.stop() == 0


def test_every_nth_without_the_rate_of_the_camera_is_refused_in_one_line(tmp_path: Path) -> None:
    with node_process("detection_node", "-p", "every_nth:=3", log=tmp_path / "log") as node:
        assert node.wait() == 1
        errors = [line for line in node.log.splitlines() if "camera_rate_hz" in line]
        assert len(errors) == 1
        assert "Traceback" not in node.log
