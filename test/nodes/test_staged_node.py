# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node whose model runs in stages, in processes of their own, one of which is killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from ad_compressed_perception.core.manifest import file_sha256
from ad_compressed_perception.messages.timing import from_message
from support.models import draw_scene, write_detector
from support.ros import Recorder, image_message, node_process
from support.stages import write_stages

pytestmark = pytest.mark.ros
STAMP_NS = 1_479_425_491_191_381_351


def test_node_answers_by_stages_and_reports_the_one_that_died(tmp_path: Path, ros_context: object) -> None:
    model = write_detector(tmp_path / "model")
    stages = write_stages(model / "fp32.onnx", model / "partition_2.files")
    document = yaml.safe_load((model / "model.yaml").read_text())
    document["variants"]["partition_2"] = {
        "file": "partition_2.files/stages.yaml",
        "sha256": file_sha256(stages),
        "files": {path.name: file_sha256(path) for path in stages.parent.glob("*.onnx")},
        "backend": "staged",
        "options": {"run_in": "processes"},
    }
    (model / "model.yaml").write_text(yaml.safe_dump(document))
    recorder = Recorder(ros_context)
    publisher = recorder.node.create_publisher(Image, "/image", 1)
    recorder.listen("/detection/detections", Detection2DArray)
    recorder.listen("/detection/timing", DiagnosticArray)
    arguments = ["-p", f"model:={model}", "-p", "variant:=partition_2"]
    try:
        with node_process("detection_node", *arguments, log=tmp_path / "log") as node:
            message = image_message(draw_scene(0), STAMP_NS)
            results = recorder.received["/detection/detections"]
            result = recorder.wait_for(lambda: results, lambda: publisher.publish(message))[-1]
            assert {one.results[0].hypothesis.class_id for one in result.detections} == {"car", "sign"}
            timings = recorder.received["/detection/timing"]
            report = from_message(recorder.wait_for(lambda: timings)[-1])
            assert (report.variant, report.backend, report.precision) == ("partition_2", "staged", "fp32")

            stage_processes = [
                one
                for one in psutil.Process(node.process.pid).children(recursive=True)
                if any("stage_process" in part for part in one.cmdline())
            ]
            assert len(stage_processes) == 2
            os.kill(stage_processes[1].pid, signal.SIGKILL)
            failed = recorder.wait_for(
                lambda: [one for one in map(from_message, timings) if one.timing.outcome == "failed"],
                lambda: publisher.publish(message),
            )[-1]
            assert "stage 2 of 2 (stage_2.onnx)" in failed.timing.reason
            assert "its process ended" in failed.timing.reason

            assert node.stop() == 0
            assert not [one for one in stage_processes if one.is_running()]
    finally:
        recorder.close()
