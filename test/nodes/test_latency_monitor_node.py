# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor as a process beside two real detectors, one of which is killed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import Image
from std_msgs.msg import String

from ad_compressed_perception.compression.verification.rerender import render_again
from ad_compressed_perception.nodes.latency_monitor_node import LIVE_MEASUREMENT
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_compressed_perception.report.frame_counters import uncounted_frames
from ad_compressed_perception.report.schemas.agreement import DetectionFigures
from ad_compressed_perception.report.schemas.comparison import Report
from ad_compressed_perception.report.schemas.pairs import ComparisonReport
from dev.check_html import faults
from support.models import draw_scene, write_detector
from support.ros import Recorder, image_message, node_process

pytestmark = pytest.mark.ros
BASELINE, VARIANT = "/baseline/detection", "/compressed/detection"


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


def test_a_killed_node_is_reported_and_the_monitor_keeps_running(tmp_path: Path, recorder: Recorder) -> None:
    model = write_detector(tmp_path / "model")
    camera = recorder.node.create_publisher(Image, "/camera/image", 1)
    recorder.listen("/diagnostics", DiagnosticArray)
    recorder.listen("/latency_monitor/summary", String, LATCHED_QOS)
    stamps = count(1_479_425_491_000_000_000, 50_000_000)

    def send() -> None:
        camera.publish(image_message(draw_scene(0), next(stamps)))

    def last() -> Report:
        return Report.parse(recorder.received["/latency_monitor/summary"][-1].data)

    def compared() -> ComparisonReport | None:
        if not recorder.received["/latency_monitor/summary"]:
            return None
        task = last().tasks["detection"]
        found = task.comparison["compressed"]
        timed = min(each.end_to_end_ms.count for each in task.variants.values())  # later than the results
        return found if found.pairs >= 3 and timed >= 3 else None

    def status(name: str) -> DiagnosticStatus | None:
        for message in reversed(recorder.received["/diagnostics"]):
            for found in message.status:
                if found.name.split()[:2] == ["/latency_monitor:", name]:
                    return found
        return None

    def level(name: str) -> bytes | None:
        found = status(name)
        return found.level if found is not None else None

    def detector(namespace: str, *more: str) -> list[str]:
        remap = ["-r", f"__ns:=/{namespace}", "-r", "image:=/camera/image"]
        return [*remap, "-p", f"model:={model}", *more]

    report_path = tmp_path / "live" / "report.json"
    options = [
        "-p", f"detection.baseline:={BASELINE}",
        "-p", f"detection.compressed:=['{VARIANT}']",
        "-p", "detection.deadline_ms:=60000.0",
        "-p", "pair_timeout_s:=5.0",
        "-p", "stale_after_s:=3.0",
        "-p", "publish_period_s:=0.2",
        "-p", f"report_path:={report_path}",
    ]  # fmt: skip
    with (
        node_process("latency_monitor_node", *options, log=tmp_path / "monitor.log") as monitor,
        node_process("detection_node", *detector("baseline"), log=tmp_path / "baseline.log") as one,
        # The same model with one box a frame: it must miss some objects and add none.
        node_process(
            "detection_node",
            *detector("compressed", "-p", "max_detections:=1"),
            log=tmp_path / "compressed.log",
        ) as other,
    ):
        found = recorder.wait_for(compared, send)
        assert isinstance(found.agreement, DetectionFigures)
        assert found.agreement.precision == 1.0
        assert found.agreement.matched == found.pairs  # one box a frame
        assert 0.0 < found.agreement.recall < 1.0
        assert found.speedup_infer_p50 is not None
        variants = last().tasks["detection"].variants
        assert all(uncounted_frames(variant) == 0 for variant in variants.values())
        assert variants["compressed"].node == VARIANT
        assert variants["compressed"].stages_ms["infer"].count >= 3
        assert last().measurement == LIVE_MEASUREMENT
        # Stamps of 2016 make every age ten years: the deadline is missed, and that is reported.
        # The node's own count includes frames whose report the monitor has not received yet.
        assert variants["baseline"].deadline_misses == variants["baseline"].end_to_end_ms.count
        recorder.wait_for(lambda: level("detection/baseline") == DiagnosticStatus.WARN, send)

        other.stop(signal.SIGKILL)
        recorder.wait_for(lambda: level("detection/compressed") == DiagnosticStatus.ERROR, send)
        text = status("detection/compressed")
        assert text is not None
        assert f"{VARIANT} silent for" in text.message
        recorder.wait_for(lambda: level("detection") == DiagnosticStatus.ERROR, send)
        # Camera and baseline keep running, and the monitor keeps counting the baseline's frames.
        before = last().tasks["detection"].variants["baseline"].processed
        recorder.wait_for(lambda: last().tasks["detection"].variants["baseline"].processed > before, send)
        recorder.wait_for(lambda: level("detection/baseline") != DiagnosticStatus.ERROR, send)
        assert monitor.process.poll() is None
        assert any(VARIANT in line for line in last().missing)

        assert one.stop() == 0
        assert monitor.stop(signal.SIGINT) == 0
        assert "Traceback" not in monitor.log

    report = Report.read(report_path)  # refuses what the schema does not allow
    (page,) = render_again(report_path, tmp_path / "live.html")
    assert faults(page.read_text("utf-8")) == []
    task = report.tasks["detection"]
    assert report.source.kind == "live"
    assert report.source.frames >= task.comparison["compressed"].pairs
    assert task.comparison["compressed"].pending == 0  # what waited was counted as unpaired at the end
    assert task.comparison["compressed"].variant_missing > 0
    assert all(uncounted_frames(variant) == 0 for variant in task.variants.values())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "nothing to watch"),
        (["-p", "detection.baseline:=/a/detection", "-p", "stale_after_s:=-1.0"], "stale_after_s"),
        (
            ["-p", "detection.baseline:=/a/detection", "-p", "report_path:=/dev/null/report.json"],
            "cannot write report",
        ),
    ],
)
def test_wrong_parameters_end_the_process_with_one_line(
    tmp_path: Path, arguments: list[str], reason: str
) -> None:
    with node_process("latency_monitor_node", *arguments, log=tmp_path / "log") as monitor:
        assert monitor.wait() == 1
        errors = [line for line in monitor.log.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert reason in errors[0]
        assert "Traceback" not in monitor.log


def test_a_report_that_can_no_longer_be_written_is_seen_on_diagnostics(
    tmp_path: Path, recorder: Recorder
) -> None:
    """Failed before: "callbacks: running", level OK, while the drive's report was lost."""
    recorder.listen("/diagnostics", DiagnosticArray)
    folder = tmp_path / "live"
    (tmp_path / "disk").mkdir()
    folder.symlink_to(tmp_path / "disk")
    (tmp_path / "file").touch()
    (tmp_path / "broken").symlink_to(tmp_path / "file")
    options = ["-p", "detection.baseline:=/a/detection", "-p", f"report_path:={folder}/report.json"]
    options += ["-p", "report_period_s:=0.2", "-p", "publish_period_s:=0.2"]
    with node_process("latency_monitor_node", *options, log=tmp_path / "log") as monitor:
        recorder.wait_for(lambda: recorder.received["/diagnostics"])
        (tmp_path / "broken").replace(folder)  # at once: the monitor may be writing

        def is_warned() -> bool:
            return any(
                status.level == DiagnosticStatus.WARN and "report not written" in status.message
                for message in recorder.received["/diagnostics"]
                for status in message.status
            )

        recorder.wait_for(is_warned)
        assert monitor.stop() == 1, "the last report is lost, too"
        assert "Traceback" not in monitor.log


def test_two_nodes_of_one_name_are_named(tmp_path: Path, recorder: Recorder) -> None:
    """Failed before: their counters were mixed into one, level OK after one "the node restarted"."""
    recorder.listen("/diagnostics", DiagnosticArray)
    recorder.listen("/latency_monitor/summary", String, qos=LATCHED_QOS)
    options = ["-p", "detection.baseline:=/a/detection", "-p", "publish_period_s:=0.2"]
    publishers = [recorder.node.create_publisher(DiagnosticArray, "/a/detection/timing", 1) for _ in range(2)]
    assert len(publishers) == 2

    def is_warned() -> bool:
        return any(
            status.level == DiagnosticStatus.WARN and "/a/detection/timing has 2 publishers" in status.message
            for message in recorder.received["/diagnostics"]
            for status in message.status
        )

    def has_problem() -> bool:
        texts = [Report.parse(each.data).problems for each in recorder.received["/latency_monitor/summary"]]
        return any("/a/detection/timing has 2 publishers" in text for text in sum(texts, []))

    with node_process("latency_monitor_node", *options, log=tmp_path / "log"):
        recorder.wait_for(is_warned)
        recorder.wait_for(has_problem)  # failed before: OK in adcp watch
