# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node whose model is on a server that is killed: the guard's fallback answers the same frame locally."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.parameter import Parameter
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray

from ad_compressed_perception.monitor.gate import parse_model_info
from ad_compressed_perception.nodes.detection_node import DetectionNode
from ad_compressed_perception.nodes.qos import LATCHED_QOS, TIMING_QOS
from support.guarded_node import NODE, Camera, state
from support.inference_servers import ServerProcess  # skips without tritonclient
from support.models import write_detector
from support.ros import Recorder, as_ns

pytestmark = pytest.mark.ros
GUARDED = {
    "fallback_variant": "baseline",
    "fallback_backend": "onnxruntime",
    "guard_hysteresis_s": 0.3,
    "guard_probation_frames": 3,
    "frame_timeout_ms": 20_000.0,  # the backend's own deadline is what is tested
}


@pytest.fixture
def recorder(ros_context: Any) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    listener.listen(f"{NODE}/timing", DiagnosticArray, TIMING_QOS)
    listener.listen(f"{NODE}/detections", Detection2DArray)
    listener.listen(f"{NODE}/availability", DiagnosticStatus, LATCHED_QOS)
    listener.listen(f"{NODE}/model_info", String, LATCHED_QOS)
    yield listener
    listener.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    made = ServerProcess(write_detector(tmp_path / "model") / "fp32.onnx")
    made.start()
    yield made
    made.kill()


@pytest.fixture
def start(ros_context: Any, tmp_path: Path, server: ServerProcess) -> Iterator[Callable[..., DetectionNode]]:
    made: list[DetectionNode] = []

    def make(*options: str) -> DetectionNode:
        given = [f"url={server.url}", "model_name=model", "deadline_ms=2000", *options]
        values = {
            "model": str(tmp_path / "model"),
            "backend": "remote",
            "backend_options": given,
            "timing_period_s": 0.0,
            **GUARDED,
        }
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        made.append(DetectionNode(context=ros_context, parameter_overrides=overrides))
        assert made[-1].autostart()
        return made[-1]

    yield make
    for node in made:
        node.close()
        node.destroy_node()


def test_a_killed_server_costs_no_frame_and_its_return_is_used(
    start: Any, recorder: Recorder, server: ServerProcess
) -> None:
    start()
    camera = Camera(recorder)
    first = camera.send()
    assert (first.level, first.backend, first.provider) == ("primary", "remote", f"{server.url}/model")
    assert first.precision == "unknown"
    info = parse_model_info(recorder.wait_for(lambda: recorder.received[f"{NODE}/model_info"])[-1].data)
    assert (info.backend, info.provider, info.precision) == ("remote", f"{server.url}/model", "unknown")

    server.kill()
    report = camera.send()  # the very next frame
    assert (report.timing.outcome, report.level, report.backend) == ("processed", "standby", "onnxruntime")
    camera.send_until(lambda: state(recorder).get("level") == "standby")
    for _ in range(10):
        assert camera.send().level == "standby"

    server.start()
    camera.send_until(lambda: state(recorder).get("level") == "primary")
    assert camera.send().backend == "remote"

    assert {report.timing.outcome for report in camera.reports} == {"processed"}
    assert state(recorder)["frames_none"] == "0"
    sent = len(camera.reports)
    recorder.wait_for(lambda: len(recorder.received[f"{NODE}/detections"]) >= sent)
    stamps = [as_ns(message.header.stamp) for message in recorder.received[f"{NODE}/detections"]]
    assert len(stamps) == len(set(stamps)) == sent, "one result for each frame"


def test_a_node_starts_without_its_server_where_that_is_allowed(
    start: Any, recorder: Recorder, server: ServerProcess
) -> None:
    server.kill()
    start("must_answer=false")
    camera = Camera(recorder)
    assert camera.send().level == "standby"
    server.start()
    camera.send_until(lambda: state(recorder).get("level") == "primary")
    assert {report.timing.outcome for report in camera.reports} == {"processed"}
