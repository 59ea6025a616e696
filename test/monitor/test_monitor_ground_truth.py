# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the ground truth is known, every variant is compared with it too, live."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
import pytest

from ad_compressed_perception.core.results import Detections, LabelMask, Trajectory
from ad_compressed_perception.monitor.comparison import ComparisonMonitor, TaskComparison
from ad_compressed_perception.monitor.diagnostics import Level, MonitorDiagnostics
from ad_compressed_perception.report.markdown import render_markdown
from ad_compressed_perception.report.schemas.agreement import DetectionFigures, PlanningFigures
from ad_compressed_perception.report.schemas.comparison import Report

NODES = {"fp32": "/a/detection", "int8": "/b/detection"}


def boxes(*lefts: float) -> Detections:
    """Return cars of 10 pixels at these places."""
    left = np.array(lefts, np.float32)
    table = np.stack([left, left * 0, left + 10, left * 0 + 10], axis=1)
    return Detections(table, np.ones(len(left), np.float32), np.zeros(len(left), np.int64), ("car",))


def test_both_variants_are_compared_with_the_ground_truth() -> None:
    """Two cars. The baseline finds one; the other variant finds both and one that is not there."""
    found = ComparisonMonitor(
        {"detection": TaskComparison(NODES, "fp32", has_ground_truth=True)}, now_s=0.0, pair_timeout_s=1.0
    )
    for stamp in (1, 2, 3):
        found.add_result("detection", "fp32", stamp, boxes(0.0), 0.1 * stamp)
        found.add_ground_truth("detection", stamp, boxes(0.0, 40.0), 0.1 * stamp)
        found.add_result("detection", "int8", stamp, boxes(0.0, 40.0, 80.0), 0.1 * stamp)
    found.add_ground_truth("detection", 4, boxes(0.0), 0.5)
    found.expire(2.0)

    task = found.summary()["detection"]
    one, other = task.accuracy["fp32"], task.accuracy["int8"]
    assert isinstance(one.figures, DetectionFigures)
    assert isinstance(other.figures, DetectionFigures)
    assert (one.pairs, one.result_missing) == (3, 1)
    assert (one.figures.recall, one.figures.precision) == (0.5, 1.0)
    assert (other.figures.recall, other.figures.precision) == (1.0, pytest.approx(2 / 3))
    # The baseline's results do not affect the accuracy, nor the ground truth the agreement.
    assert task.comparison["int8"].pairs == 3
    assert task.comparison["int8"].agreement is not None

    report = Report(tasks=found.summary())
    assert Report.parse(report.to_json()).tasks["detection"].accuracy["int8"].pairs == 3
    assert "## Against the ground truth" in render_markdown(report)


def test_the_accuracy_is_in_the_status_of_each_variant() -> None:
    found = ComparisonMonitor({"detection": TaskComparison(NODES, "fp32", has_ground_truth=True)}, now_s=0.0)
    diagnostics = MonitorDiagnostics(found)
    before = {status.name: status for status in diagnostics.statuses(0.0)}
    assert "no ground truth yet" in before["detection/fp32"].message

    found.add_result("detection", "fp32", 1, boxes(0.0), 0.1)
    found.add_ground_truth("detection", 1, boxes(0.0), 0.1)

    status = {status.name: status for status in diagnostics.statuses(0.2)}["detection/fp32"]
    assert status.values["ground_truth.f1"] == "1.0000"
    assert status.values["ground_truth.pairs"] == "1"
    assert "against the ground truth f1 1.000 over 1 frames" in status.message


def test_masks_of_other_labels_are_reported_as_incomparable() -> None:
    tasks = {"segmentation": TaskComparison({"a": "/a/segmentation"}, "a", has_ground_truth=True)}
    found = ComparisonMonitor(tasks, now_s=0.0)
    diagnostics = MonitorDiagnostics(found)
    found.add_result("segmentation", "a", 1, LabelMask(np.zeros((2, 2), np.uint8), ("road",)), 0.0)
    found.add_ground_truth("segmentation", 1, LabelMask(np.zeros((2, 2), np.uint8), ("lane",)), 0.0)

    status = {one.name: one for one in diagnostics.statuses(0.1)}["segmentation/a"]
    assert status.level == Level.ERROR
    assert "not comparable with the ground truth: masks of different labels" in status.message
    assert found.summary()["segmentation"].accuracy["a"].incomparable == 1


def test_a_single_planner_can_be_compared_without_a_baseline() -> None:
    tasks = {"planning": TaskComparison({"a": "/a/planning"}, None, has_ground_truth=True)}
    found = ComparisonMonitor(tasks, now_s=0.0)
    found.add_ground_truth("planning", 1, _line(0.0), 0.0)
    found.add_result("planning", "a", 1, _line(0.25), 0.0)

    figures = found.summary()["planning"].accuracy["a"].figures
    assert isinstance(figures, PlanningFigures)
    assert figures.ade_m == pytest.approx(0.25)


def _line(y_m: float) -> Trajectory:
    return Trajectory(np.array([[0.0, y_m], [10.0, y_m]]), np.zeros(2), 0.0, 10.0)


# ---- over the wire


@pytest.mark.ros
def test_the_monitor_receives_the_ground_truth_on_its_topic(tmp_path: Path, ros_context: object) -> None:
    """The ground truth is offset so far that no detection matches."""
    rclpy = pytest.importorskip("rclpy")
    pytest.importorskip("vision_msgs")
    assert rclpy
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header, String
    from vision_msgs.msg import Detection2DArray, LabelInfo

    from ad_compressed_perception.messages import detection
    from ad_compressed_perception.messages.timing import ns_to_stamp
    from ad_compressed_perception.nodes.qos import LATCHED_QOS
    from support.models import DETECTOR_LABELS, draw_scene, write_detector
    from support.ros import Recorder, image_message, node_process

    model = write_detector(tmp_path / "model")
    recorder = Recorder(ros_context)
    camera = recorder.node.create_publisher(Image, "/image", 1)
    ground_truths = recorder.node.create_publisher(Detection2DArray, "/road/ground_truth/detections", 10)
    labels = recorder.node.create_publisher(
        LabelInfo, "/road/ground_truth/detections/label_info", LATCHED_QOS
    )
    labels.publish(detection.label_info(DETECTOR_LABELS, Header()))
    recorder.listen("/latency_monitor/summary", String, LATCHED_QOS)
    stamps = count(1_479_425_491_000_000_000, 50_000_000)

    def send() -> None:
        stamp_ns = next(stamps)
        unmatched = Detections(
            np.array([[0, 0, 2, 2]], np.float32),
            np.ones(1, np.float32),
            np.zeros(1, np.int64),
            tuple(DETECTOR_LABELS),
        )
        header = Header(stamp=ns_to_stamp(stamp_ns))
        ground_truths.publish(detection.serialize(unmatched, header))
        camera.publish(image_message(draw_scene(0), stamp_ns))

    def compared() -> DetectionFigures | None:
        for message in reversed(recorder.received["/latency_monitor/summary"]):
            accuracy = Report.parse(message.data).tasks["detection"].accuracy["detection"]
            if accuracy.pairs >= 3:
                assert isinstance(accuracy.figures, DetectionFigures)
                return accuracy.figures
        return None

    options = [
        "-p", "detection.baseline:=/detection",
        "-p", "detection.ground_truth_topic:=/road/ground_truth/detections",
        "-p", "pair_timeout_s:=10.0",
        "-p", "publish_period_s:=0.2",
    ]  # fmt: skip
    try:
        with (
            node_process("latency_monitor_node", *options, log=tmp_path / "monitor.log") as monitor,
            node_process("detection_node", "-p", f"model:={model}", log=tmp_path / "node.log"),
        ):
            figures = recorder.wait_for(compared, send)
            assert (figures.matched, figures.missed >= 3, figures.extra >= 3) == (0, True, True)
            assert monitor.stop() == 0
            assert "Traceback" not in monitor.log
    finally:
        recorder.close()
