# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Several cameras and their one model: exchange, standby, planners, batches, monitor, shadow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.parameter import Parameter
from vision_msgs.msg import Detection2DArray

from ad_compressed_perception.messages.timing import reports_of
from ad_compressed_perception.nodes.batch_part import BatchPart
from ad_compressed_perception.nodes.latency_monitor_node import LatencyMonitorNode
from ad_compressed_perception.nodes.planning_node import PlanningNode
from ad_compressed_perception.nodes.qos import TIMING_QOS
from support.cameras import CAMERAS, Make, Rig, gated_nodes, received, started
from support.models import write_detector, write_trajectory_planner
from support.onnx_batch import let_batch_vary
from support.ros import PATIENCE_S, as_ns
from support.scripted_backend import Script, scripted_backend
from support.variants import add_variant

pytestmark = pytest.mark.ros


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    with scripted_backend(monkeypatch) as made:
        yield made


@pytest.fixture
def make(ros_context: Any, tmp_path: Path) -> Iterator[Make]:
    with gated_nodes(ros_context, tmp_path) as create:
        yield create


@pytest.fixture
def start(make: Make) -> Make:
    return partial(started, make)


@pytest.fixture
def rig(ros_context: Any) -> Iterator[Rig]:
    listener = Rig(ros_context)
    yield listener
    listener.close()


def test_no_camera_loses_a_frame_by_an_exchange_of_the_model(start: Make, rig: Rig, tmp_path: Path) -> None:
    node = start()
    add_variant(tmp_path / "model", "other")
    rig.connect(*CAMERAS)
    sent = []

    def send() -> None:
        sent.append(time.time_ns())
        for camera in CAMERAS:
            rig.send(camera, sent[-1], len(sent))
        for camera in CAMERAS:
            rig.report_of(camera, sent[-1])

    for _ in range(10):
        send()
    (result,) = node.set_parameters([Parameter("variant", value="other")])
    assert result.successful, result.reason
    for _ in range(5):
        send()
    for camera in CAMERAS:
        reports = rig.reports(camera)
        assert [report.timing.stamp_ns for report in reports] == sent
        assert {report.timing.outcome for report in reports} == {"processed"}
        assert [report.variant for report in reports][-5:] == ["other"] * 5
        assert [report.variant for report in reports][:10] == ["fp32"] * 10


def test_a_fault_of_the_model_is_answered_by_the_standby_on_the_same_frame_of_any_camera(
    start: Make, rig: Rig, script: Script
) -> None:
    start(backend="scripted", fallback_variant="baseline", guard_hysteresis_s=0.1)

    def fail(number: int, outputs: Any) -> Any:
        if number % 3 == 0:
            raise RuntimeError("out of memory")
        return outputs

    rig.connect(*CAMERAS)
    script.number, script.act = 0, fail
    stamps = []
    for index in range(9):
        stamps.append(time.time_ns())
        for camera in CAMERAS:
            rig.send(camera, stamps[-1], index)
        for camera in CAMERAS:
            report = rig.report_of(camera, stamps[-1])
            assert report.timing.outcome == "processed", report.timing.reason
    levels = {camera: {report.level for report in rig.reports(camera)} for camera in CAMERAS}
    assert all("standby" in found for found in levels.values())
    for camera in CAMERAS:
        messages = rig.received[f"/{camera}/detection/detections"]
        rig.wait_for(lambda m=messages: len(m) == len(stamps))
        assert [as_ns(message.header.stamp) for message in messages] == stamps
        assert {message.header.frame_id for message in messages} == {f"{camera}_optical"}


def test_each_camera_has_a_planner_of_its_own_and_its_camera_info(ros_context: Any, tmp_path: Path) -> None:
    overrides = [
        Parameter("model", value=str(write_trajectory_planner(tmp_path / "model"))),
        Parameter("cameras", value=CAMERAS),
    ]
    node = PlanningNode(context=ros_context, parameter_overrides=overrides)
    try:
        assert node.autostart()
        topics = dict(node.get_topic_names_and_types())
        for camera in CAMERAS:
            assert {f"/{camera}/planning/{name}" for name in ("trajectory", "command")} <= topics.keys()
            assert f"/{camera}/camera_info" in topics
        assert "/planning/trajectory" not in topics
        assert node._controllers["front"] is not node._controllers["left"]  # stops are those of one view
    finally:
        node.close()
        node.destroy_node()


def test_frames_that_wait_together_share_an_inference_and_their_results_are_the_same(
    start: Make, rig: Rig, tmp_path: Path, script: Script
) -> None:
    model = str(let_batch_vary(write_detector(tmp_path / "batch")))
    node = start(model=model, backend="scripted", camera_batch=2, qos_reliability="reliable")
    rig.connect(*CAMERAS)
    base_ns = time.time_ns()

    def send_both(number: int) -> None:
        """Let both wait, while a frame of the first camera is in work."""
        node.gate.clear()
        node.entered.clear()
        rig.send("front", base_ns + number, number)
        assert node.entered.wait(PATIENCE_S)
        before = {camera: received(node, camera) for camera in CAMERAS}
        for camera in CAMERAS:
            rig.send(camera, base_ns + number + 1, number)
        rig.wait_for(lambda: all(received(node, camera) == before[camera] + 1 for camera in CAMERAS))
        node.gate.set()
        for camera in CAMERAS:
            rig.report_of(camera, base_ns + number + 1)

    script.number = 0
    send_both(0)
    assert script.number == 2  # three frames
    (alone, front), (left,) = (
        rig.wait_for(lambda c=camera, n=n: len(rig.received[f"/{c}/detection/detections"]) == n)
        and rig.received[f"/{camera}/detection/detections"]
        for camera, n in (("front", 2), ("left", 1))
    )
    boxes = [[one.bbox for one in message.detections] for message in (alone, front, left)]
    assert boxes[0] == boxes[1] == boxes[2] and boxes[0]  # all three show the same scene
    for camera in CAMERAS:
        timing = rig.report_of(camera, base_ns + 1).timing
        stages_ms = dict(timing.stages_ms)
        age_ms = stages_ms.pop("transport_age")
        assert timing.end_to_end_ms == pytest.approx(age_ms + sum(stages_ms.values()))
        assert stages_ms["queue_wait"] > 0.0
    values = {pair.key: pair.value for pair in rig.wait_for_status("/detection", "").values}
    (batch,) = (part for part in node.parts if isinstance(part, BatchPart))
    rig.wait_for(lambda: batch.values() == {"frames_together": "2", "together_failed": "0"})
    assert "frames_together" in values

    def fail_in_company(number: int, outputs: Any) -> Any:
        if next(iter(outputs.values())).shape[0] > 1:
            raise RuntimeError("no memory for two")
        return outputs

    script.act = fail_in_company
    send_both(10)
    for camera in CAMERAS:
        assert rig.report_of(camera, base_ns + 11).timing.outcome == "processed"
    assert batch.values()["together_failed"] == "1"


def test_a_batch_that_the_model_cannot_have_is_refused(make: Make) -> None:
    for values, reason in (
        ({"cameras": CAMERAS}, "its batch is not dynamic"),
        ({"cameras": ["front"]}, "needs two cameras or more"),
    ):
        node = make(camera_batch=2, node_name=f"refused_{len(values['cameras'])}", **values)
        assert not node.autostart()
        assert reason in node.diagnostics._refusal


def test_the_latency_monitor_takes_each_camera_for_a_node(
    start: Make, rig: Rig, ros_context: Any, tmp_path: Path
) -> None:
    start()
    overrides = [
        Parameter(f"detection.{side}", value=value)
        for side, value in (("baseline", "/front/detection"), ("compressed", ["/left/detection"]))
    ]
    monitor = LatencyMonitorNode(context=ros_context, parameter_overrides=overrides)
    rig._executor.add_node(monitor)
    try:
        rig.connect(*CAMERAS)

        def send() -> None:
            stamp_ns = time.time_ns()
            for camera in CAMERAS:
                rig.send(camera, stamp_ns)

        def variants() -> dict[str, Any]:
            return monitor.report().tasks["detection"].variants

        rig.wait_for(
            lambda: len(variants()) == 2 and min(one.processed for one in variants().values()) >= 5, send
        )
        assert {one.node for one in variants().values()} == {"/front/detection", "/left/detection"}
        compared = rig.wait_for(
            lambda: [one for one in monitor.report().tasks["detection"].comparison.values() if one.pairs],
            send,
        )
        assert compared
    finally:
        rig._executor.remove_node(monitor)
        monitor.close()
        monitor.destroy_node()


def test_a_shadow_answers_each_camera_under_its_own_topics(start: Make, rig: Rig, tmp_path: Path) -> None:
    for camera in CAMERAS:
        rig.listen(f"/{camera}/detection/shadow/detections", Detection2DArray)
        rig.listen(f"/{camera}/detection/shadow/timing", DiagnosticArray, TIMING_QOS)
    add_variant(write_detector(tmp_path / "shadowed"), "other")
    start(
        model=str(tmp_path / "shadowed"),
        shadow_variant="other",
        shadow_schedule="every_nth",
        shadow_every_nth=2,
    )
    rig.connect(*CAMERAS)
    sent = []

    def send() -> None:
        sent.append(time.time_ns())
        for camera in CAMERAS:
            rig.send(camera, sent[-1], len(sent))
        for camera in CAMERAS:
            rig.report_of(camera, sent[-1])

    def results(camera: str) -> list[Any]:
        return rig.received[f"/{camera}/detection/shadow/detections"]

    # One of two frames of each camera: counted together, it would be one camera alone.
    rig.wait_for(lambda: all(len(results(camera)) >= 3 for camera in CAMERAS), send)
    for camera in CAMERAS:
        assert {message.header.frame_id for message in results(camera)} == {f"{camera}_optical"}
        assert {as_ns(message.header.stamp) for message in results(camera)} <= set(sent)
        reports = [
            report
            for message in rig.received[f"/{camera}/detection/shadow/timing"]
            for report in reports_of(message)
        ]
        assert {(report.node, report.variant) for report in reports} == {
            (f"/{camera}/detection/shadow", "other")
        }
        assert all(sum(report.counts.values()) <= report.received for report in reports)
