# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node that builds a TensorRT engine (a stand-in's) says so as long as it takes, and serves then."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.parameter import Parameter

from ad_compressed_perception.nodes.detection_node import DetectionNode
from support.models import write_detector
from support.ros import PATIENCE_S, Recorder
from support.tensorrt_stand_in import Device, install

pytestmark = pytest.mark.ros


def test_diagnostics_go_on_while_the_engine_is_built(
    ros_context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    device, is_built = Device(), Event()
    device.while_building = lambda: is_built.wait(PATIENCE_S)
    install(monkeypatch, device)
    values = {
        "model": str(write_detector(tmp_path / "model")),
        "backend": "tensorrt",
        "diagnostics_period_s": 0.1,
    }
    recorder = Recorder(ros_context)
    recorder.listen("/diagnostics", DiagnosticArray)

    def statuses() -> list[Any]:
        return [status for message in recorder.received["/diagnostics"] for status in message.status]

    node = DetectionNode(
        context=ros_context,
        parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
    )
    started: list[bool] = []
    starter = Thread(target=lambda: started.append(node.autostart()))
    try:
        starter.start()
        recorder.wait_for(lambda: sum("loading for" in status.message for status in statuses()) >= 5)
        is_built.set()
        starter.join(PATIENCE_S)
        assert started == [True]
        recorder.wait_for(lambda: any("Orin 8.7" in [pair.value for pair in s.values] for s in statuses()))
    finally:
        is_built.set()
        starter.join(PATIENCE_S)
        node.close()
        node.destroy_node()
        recorder.close()
    assert not device.allocations, "the node's end frees the device's memory"
