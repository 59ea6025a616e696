# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Models with several heads: what the launch files plan, run as real nodes with the launch's parameters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Float64, String
from vision_msgs.msg import Detection2DArray

from ad_compressed_perception.launch_support.one_session import nodes_of_one_session
from ad_compressed_perception.launch_support.plan import (
    MONITOR,
    PlannedNode,
    compare_nodes,
    composed,
    perception_nodes,
    with_camera,
    write_parameters,
)
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_compressed_perception.report.findings import report_findings
from ad_compressed_perception.report.schemas.comparison import Report, TaskReport
from support.models import draw_scene
from support.ros import NodeProcess, Recorder, image_message, node_process
from support.several_heads import add_blind_variant, write_two_heads

pytestmark = pytest.mark.ros


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


@contextmanager
def launched(nodes: Sequence[PlannedNode], folder: Path) -> Iterator[NodeProcess]:
    """Run nodes as ``composed:=true`` does: one process, and a file of the arguments' parameters."""
    process = composed(nodes)
    parameters = write_parameters([process, *nodes], folder)
    assert parameters is not None
    rules = [part for name, new in process.remappings for part in ("-r", f"{name}:={new}")]
    with node_process("compose", *rules, "--params-file", str(parameters), log=folder / "log") as running:
        yield running


def arguments(model: Path, **given: str) -> dict[str, str]:
    """Return arguments as a launch file has them."""
    defaults = {"tasks": "", "namespace": "", "image_topic": "/{camera}/image_raw", "model": str(model)}
    return {**defaults, **given}


def test_one_node_serves_two_cameras_and_each_monitor_times_its_own(
    tmp_path: Path, recorder: Recorder
) -> None:
    """Failed before: the launch refused the model, and the monitor knew no such task."""
    model = write_two_heads(tmp_path / "model")
    cameras = ("front", "left")
    # Without a timeout the standby, which is loaded, answers no frame of a busy machine.
    given = arguments(model, monitor="true", fallback="baseline", frame_timeout_ms="0")
    given["multi_task_deadline_ms"] = "0.001"
    nodes = nodes_of_one_session(perception_nodes, given, cameras)
    publishers = [recorder.node.create_publisher(Image, f"/{camera}/image_raw", 1) for camera in cameras]
    for camera in cameras:
        recorder.listen(f"/{camera}/multi_task/objects/detections", Detection2DArray)
        recorder.listen(f"/{camera}/multi_task/surface/mask", Image)
        recorder.listen(f"/{camera}/latency_monitor/summary", String, LATCHED_QOS)
    numbers = count()

    def send() -> None:
        now_ns = recorder.node.get_clock().now().nanoseconds
        for publisher in publishers:
            publisher.publish(image_message(draw_scene(next(numbers)), now_ns, "camera"))

    def task_of(camera: str) -> TaskReport | None:
        summaries = recorder.received[f"/{camera}/latency_monitor/summary"]
        return Report.parse(summaries[-1].data).tasks["multi_task"] if summaries else None

    def timed(camera: str) -> bool:
        found = task_of(camera)
        return found is not None and found.variants[camera].processed >= 5

    with launched(nodes, tmp_path) as running:
        recorder.wait_for(lambda: all(timed(camera) for camera in cameras), send)
        for camera in cameras:
            found = task_of(camera)
            assert found is not None
            timing = found.variants[camera]
            assert timing.model == "two_heads"
            assert timing.received >= timing.processed
            assert timing.stages_ms["infer"].p50 is not None and timing.end_to_end_ms.p50 is not None
            # No result comes within a microsecond of its stamp: each one is a miss.
            assert timing.deadline_misses > 0
            assert timing.deadline_miss_rate == 1.0
            # A single node is compared with nothing, and there is no figure of how its heads agree.
            assert found.comparison == {}
            assert recorder.received[f"/{camera}/multi_task/objects/detections"]
            assert recorder.received[f"/{camera}/multi_task/surface/mask"]
        assert running.stop() == 0
        assert "Traceback" not in running.log


def test_a_comparison_is_made_head_by_head(tmp_path: Path, recorder: Recorder) -> None:
    """Failed before: refused. The verdict in the manifest is good, and only one head shows what is wrong."""
    model = write_two_heads(tmp_path / "model")
    add_blind_variant(model)
    report_path = tmp_path / "live.json"
    given = arguments(model, variant="blind", report_path=str(report_path), keep_when_busy="ranked")
    given["image_topic"] = "/camera/image_raw"
    nodes = with_camera(compare_nodes(given), given)
    monitor = nodes[-1]
    monitor.parameters.update(
        {"multi_task.min_pairs": 5, "raise_after_s": 0.5, "publish_period_s": 0.5, "pair_timeout_s": 3.0}
    )
    camera = recorder.node.create_publisher(Image, "/camera/image_raw", 1)
    recorder.listen("/latency_monitor/summary", String, LATCHED_QOS)
    recorder.listen("/latency_monitor/pairs", String)
    recorder.listen("/latency_monitor/figures/multi_task/surface/compressed/agreement", Float64)
    recorder.listen("/latency_monitor/side_by_side/compressed", CompressedImage)
    recorder.listen("/diagnostics", DiagnosticArray)
    numbers = count()

    def send() -> None:
        now_ns = recorder.node.get_clock().now().nanoseconds
        camera.publish(image_message(draw_scene(next(numbers)), now_ns, "camera"))

    def latest() -> Report | None:
        summaries = recorder.received["/latency_monitor/summary"]
        return Report.parse(summaries[-1].data) if summaries else None

    def alarmed() -> Report | None:
        found = latest()
        is_alarmed = found is not None and any(
            alarm.figure == "agreement" and alarm.level == "ERROR"
            for each in found.tasks.values()
            for alarm in each.alarms
        )
        is_drawn = recorder.received["/latency_monitor/side_by_side/compressed"]
        return found if is_alarmed and is_drawn else None

    with launched(nodes, tmp_path) as running:
        report = recorder.wait_for(alarmed, send)
        heads = {
            task: each.comparison["compressed"] for task, each in report.tasks.items() if each.comparison
        }
        assert set(heads) == {"multi_task.objects", "multi_task.surface"}
        objects, surface = (heads[f"multi_task.{head}"] for head in ("objects", "surface"))
        assert objects.windows["10s"].score == 1.0
        assert surface.windows["10s"].score is not None and surface.windows["10s"].score < 0.7
        # Both heads of a frame come from one inference: the speed-up is that of the whole model.
        assert objects.speedup_infer_paired_p50 and surface.speedup_infer_paired_p50
        assert report.tasks["multi_task"].variants["compressed"].verdict.status == "accepted"
        wrong = {
            alarm.task for each in report.tasks.values() for alarm in each.alarms if alarm.level == "ERROR"
        }
        assert wrong == {"multi_task.surface"}
        assert report.problems == []
        pairs = [json.loads(one.data) for one in recorder.received["/latency_monitor/pairs"]]
        assert {(one["task"], one["differs"] == "") for one in pairs} == {
            ("multi_task.objects", True),
            ("multi_task.surface", False),
        }
        figures = recorder.received["/latency_monitor/figures/multi_task/surface/compressed/agreement"]
        assert figures[-1].data < 0.7
        names = {
            status.name: status.level
            for message in recorder.received["/diagnostics"]
            for status in message.status
            if status.name.startswith("/latency_monitor: multi_task")
        }
        assert set(names) == {
            "/latency_monitor: multi_task",
            "/latency_monitor: multi_task.objects",
            "/latency_monitor: multi_task.surface",
            "/latency_monitor: multi_task/baseline /baseline/multi_task",
            "/latency_monitor: multi_task/compressed /compressed/multi_task",
        }
        assert running.stop() == 0
        assert "Traceback" not in running.log
    # The last report is written at the end; the good verdict does not hide a head that lost everything.
    written = Report.parse(report_path.read_text("utf-8"))
    findings = report_findings(written)
    assert findings[0].level == "alarm"
    assert "multi_task.surface" in findings[0].text


def test_the_heads_of_each_camera_of_shared_nodes_are_compared(tmp_path: Path, recorder: Recorder) -> None:
    """One node a side serves both cameras; what it states about its heads is below each camera's name."""
    model = add_blind_variant(write_two_heads(tmp_path / "model"))
    cameras = ("front", "left")
    given = arguments(model, variant="blind", keep_when_busy="ranked")
    nodes = nodes_of_one_session(compare_nodes, given, cameras)
    for node in nodes:
        if node.name == MONITOR:
            node.parameters.update({"publish_period_s": 0.5, "pair_timeout_s": 3.0})
    publishers = [recorder.node.create_publisher(Image, f"/{camera}/image_raw", 1) for camera in cameras]
    for camera in cameras:
        recorder.listen(f"/{camera}/latency_monitor/summary", String, LATCHED_QOS)
    numbers = count()

    def send() -> None:
        now_ns = recorder.node.get_clock().now().nanoseconds
        for publisher in publishers:
            publisher.publish(image_message(draw_scene(next(numbers)), now_ns, "camera"))

    def agreements(camera: str) -> dict[str, float]:
        """Return head to the agreement of its compared frames."""
        summaries = recorder.received[f"/{camera}/latency_monitor/summary"]
        tasks = Report.parse(summaries[-1].data).tasks if summaries else {}
        windows = {
            task: comparison.windows["10s"]
            for task, each in tasks.items()
            for comparison in each.comparison.values()
        }
        return {task: one.score for task, one in windows.items() if one.pairs >= 3 and one.score is not None}

    with launched(nodes, tmp_path) as running:
        recorder.wait_for(lambda: all(len(agreements(camera)) == 2 for camera in cameras), send)
        for camera in cameras:
            found = agreements(camera)
            assert found["multi_task.objects"] == 1.0
            assert found["multi_task.surface"] < 0.7
        assert running.stop() == 0
        assert "Traceback" not in running.log
