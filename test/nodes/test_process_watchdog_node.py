# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A runtime that hangs with Python's interpreter lock: the process ends, and the next one states the loss."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import Image

from ad_compressed_perception.messages.timing import reports_of
from ad_compressed_perception.nodes.qos import TIMING_QOS
from support.faulty_backend import install_faulty_backend
from support.models import draw_scene, write_detector
from support.ros import Recorder, image_message, node_process

pytestmark = pytest.mark.ros
NODE = "/detection"
LIMIT_S = 2.0


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    listener.listen("/diagnostics", DiagnosticArray)
    listener.listen(f"{NODE}/timing", DiagnosticArray, TIMING_QOS)
    yield listener
    listener.close()


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install_faulty_backend(tmp_path / "site", monkeypatch)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    return write_detector(tmp_path / "model")


def processed(recorder: Recorder) -> int:
    reports = [each for m in recorder.received[f"{NODE}/timing"] for each in reports_of(m)]
    return sum(report.timing.outcome == "processed" for report in reports)


def warnings(recorder: Recorder) -> list[str]:
    return [
        status.message
        for message in recorder.received["/diagnostics"]
        for status in message.status
        if status.name == NODE and status.level >= DiagnosticStatus.WARN
    ]


def test_a_process_that_hangs_with_the_lock_is_ended_and_the_next_one_says_what_was_lost(
    model: Path, tmp_path: Path, recorder: Recorder
) -> None:
    """Failed before: all threads of the node stood still, its watchdog's too, and it stayed for ever."""
    camera = recorder.node.create_publisher(Image, "/image", 1)
    arguments = ["-p", "backend:=faulty", "-p", f"model:={model}", "-p", "diagnostics_period_s:=0.2"]
    arguments += ["-p", f"process_watchdog_s:={LIMIT_S}", "-p", "max_age_warn_ms:=1e5"]
    (model / "load").write_text(f"hold {LIMIT_S + 2:.0f}")  # a load may hold the lock for load_timeout_s

    def send() -> None:
        camera.publish(image_message(draw_scene(0), time.time_ns()))

    with node_process("detection_node", *arguments, log=tmp_path / "log") as node:
        recorder.wait_for(lambda: processed(recorder) > 3, send)
        last_s = time.monotonic()
        (model / "infer").write_text("hold 1000")
        recorder.wait_for(lambda: node.process.poll() is not None, send)
        assert node.wait() == -signal.SIGKILL
        assert node.log.count("[FATAL] [process_watchdog]: no sign of life") == 1
    (model / "infer").unlink()
    (model / "load").unlink()

    with node_process("detection_node", *arguments, log=tmp_path / "log") as node:
        before = processed(recorder)
        recorder.wait_for(lambda: any("gave no sign of life" in text for text in warnings(recorder)), send)
        recorder.wait_for(lambda: processed(recorder) > before, send)
        at_most_s = time.monotonic() - last_s

        def lost_s() -> float | None:
            final = [text for text in warnings(recorder) if "was ended: no frame was answered for" in text]
            known = [text for text in final if "until now" not in text]
            return float(known[-1].partition("answered for ")[2].split()[0]) if known else None

        stated_s = recorder.wait_for(lost_s, send)
        # From the last sign of life, which may be a second older than the last frame.
        assert LIMIT_S < stated_s < at_most_s + 1.2
        assert "no frame was answered for" in node.log
        assert node.stop() == 0, node.log

    with node_process("detection_node", *arguments, log=tmp_path / "third") as node:
        before = processed(recorder)
        recorder.wait_for(lambda: processed(recorder) > before, send)
        assert "sign of life" not in node.log  # stated by one process
        assert node.stop() == 0, node.log
