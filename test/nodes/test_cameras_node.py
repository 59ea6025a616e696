# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One node, one model, several cameras, over the wire; the node is in the test's process."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from pydantic import ValidationError
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray, LabelInfo

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.timing import NodeReport
from ad_compressed_perception.messages.timing import reports_of
from ad_compressed_perception.nodes.batch_part import BatchPart
from ad_compressed_perception.nodes.camera_options import CameraOptions
from ad_compressed_perception.nodes.latency_monitor_node import LatencyMonitorNode
from ad_compressed_perception.nodes.planning_node import PlanningNode
from ad_compressed_perception.nodes.qos import LATCHED_QOS, TIMING_QOS, image_qos
from support.gated_node import GatedNode
from support.models import draw_scene, write_detector, write_trajectory_planner
from support.onnx_batch import let_batch_vary
from support.ros import PATIENCE_S, Recorder, as_ns, image_message, jpeg_message
from support.scripted_backend import Script, scripted_backend
from support.variants import add_variant

pytestmark = pytest.mark.ros
CAMERAS = ["front", "left"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    with scripted_backend(monkeypatch) as made:
        yield made


Start = Callable[..., GatedNode]


@pytest.fixture
def make(ros_context: Any, tmp_path: Path) -> Iterator[Callable[..., GatedNode]]:
    made: list[GatedNode] = []

    def create(**values: Any) -> GatedNode:
        defaults = {"model": str(write_detector(tmp_path / "model")), "timing_period_s": 0.0}
        names = {"node_name": values.pop("node_name")} if "node_name" in values else {}
        overrides = [Parameter(name, value=value) for name, value in (defaults | values).items()]
        made.append(GatedNode(context=ros_context, parameter_overrides=overrides, **names))
        return made[-1]

    yield create
    for node in made:
        node.gate.set()
        node.close()
        node.destroy_node()


@pytest.fixture
def start(make: Callable[..., GatedNode]) -> Start:
    def started(**values: Any) -> GatedNode:
        node = make(cameras=CAMERAS, **values)
        assert node.autostart()
        return node

    return started


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


@pytest.fixture
def rig(ros_context: Any) -> Iterator[Rig]:
    listener = Rig(ros_context)
    yield listener
    listener.close()


def received(node: GatedNode, camera: str) -> int:
    worker = node._supervised.worker
    assert worker is not None
    return worker.counters(camera).received


def test_results_come_under_each_cameras_header_on_the_topics_of_a_node_of_its_own(
    start: Start, rig: Rig
) -> None:
    """Hardware-triggered cameras have equal stamps: topic and frame_id alone say whose a result is."""
    for camera in CAMERAS:
        rig.listen(f"/{camera}/detection/label_info", LabelInfo, LATCHED_QOS)
        rig.listen(f"/{camera}/detection/model_info", String, LATCHED_QOS)
    node = start()
    front_stream, left_stream = node._frames.streams.values()
    for name in (
        "age",
        "videos",
        "timing",
        "diagnostics",
        "subscription",
    ):  # what follows from frame to frame
        assert getattr(front_stream, name) is not getattr(left_stream, name), name
    rig.connect(*CAMERAS)
    stamp_ns = time.time_ns()
    rig.send("front", stamp_ns)
    rig.send("left", stamp_ns, scale=3)  # another resolution
    for camera in CAMERAS:
        report = rig.report_of(camera, stamp_ns)
        assert report.node == f"/{camera}/detection"
        assert (report.timing.outcome, report.received, report.counts["processed"]) == ("processed", 1, 1)
        topic = f"/{camera}/detection"
        (message,) = rig.wait_for(lambda t=topic: rig.received[f"{t}/detections"])
        assert message.header.frame_id == f"{camera}_optical"
        assert as_ns(message.header.stamp) == stamp_ns
        assert rig.wait_for(lambda t=topic: rig.received[f"{t}/label_info"])
        assert rig.wait_for(lambda t=topic: rig.received[f"{t}/model_info"])
    (front,), (left,) = (rig.received[f"/{camera}/detection/detections"] for camera in CAMERAS)
    widest = [max(box.bbox.size_x for box in message.detections) for message in (front, left)]
    assert widest[1] == pytest.approx(3.0 * widest[0])  # each in its own image's pixels
    for name in ("detections", "timing", "overlay", "label_info"):  # nothing is announced that never comes
        assert not rig.node.count_publishers(f"/detection/{name}"), name
    assert not rig.node.count_subscribers("/image")


def test_one_camera_that_floods_takes_no_frame_of_the_other_and_every_frame_has_one_outcome(
    start: Start, rig: Rig
) -> None:
    node = start(qos_reliability="reliable", qos_depth=200)
    rig.connect(*CAMERAS)
    node.gate.clear()
    base_ns = time.time_ns()
    rig.send("front", base_ns)
    assert node.entered.wait(PATIENCE_S)
    for index in range(100):
        rig.send("front", base_ns + 1 + index)
        if index % 50 == 0:
            rig.send("left", base_ns + 1 + index)
    rig.wait_for(lambda: received(node, "front") == 101 and received(node, "left") == 2)
    node.gate.set()
    # The newest of each: the ones before were displaced by frames of the same camera, and by no other.
    rig.report_of("front", base_ns + 100)
    assert rig.report_of("left", base_ns + 51).timing.outcome == "processed"
    node.gate.clear()
    node.entered.clear()
    rig.send("front", base_ns + 200)
    assert node.entered.wait(PATIENCE_S)
    rig.send("left", base_ns + 200)
    rig.send("front", base_ns + 201)
    rig.wait_for(lambda: received(node, "front") == 103 and received(node, "left") == 3)
    node.gate.set()
    node.deactivate()
    counts = {"front": 103, "left": 3}
    rig.wait_for(lambda: all(len(rig.reports(camera)) == counts[camera] for camera in CAMERAS))
    for camera, count in counts.items():
        reports = rig.reports(camera)
        outcomes = Counter(report.timing.outcome for report in reports)
        last = max(reports, key=lambda report: sum(report.counts.values()))
        assert last.received == count == sum(last.counts.values())
        assert outcomes == {key: value for key, value in last.counts.items() if value}
        assert len({report.timing.stamp_ns for report in reports}) == count
    assert Counter(one.timing.outcome for one in rig.reports("left"))["processed"] >= 1


def test_a_dead_camera_and_a_broken_one_are_named_and_hold_up_nobody(start: Start, rig: Rig) -> None:
    rig.listen("/detection/availability", DiagnosticStatus, LATCHED_QOS)
    start(transport="compressed", guard_hysteresis_s=0.1)
    rig.connect("front", kind=CompressedImage, topic="image/compressed")
    rig.wait_for_status("/left/detection", "nobody publishes /left/image/compressed")
    node_status = rig.wait_for_status("/detection", "left: nobody publishes /left/image/compressed")
    assert "front: " not in node_status.message.replace("front: nobody publishes", "")
    rig.connect("left", kind=CompressedImage, topic="image/compressed")  # it appears later

    def send() -> int:
        stamp_ns = time.time_ns()
        rig.cameras["front"].publish(jpeg_message(draw_scene(0), stamp_ns))
        broken = jpeg_message(draw_scene(0), stamp_ns)
        broken.data = broken.data[: len(broken.data) // 3]
        rig.cameras["left"].publish(broken)
        return stamp_ns

    for _ in range(5):
        stamp_ns = send()
        assert rig.report_of("front", stamp_ns).timing.outcome == "processed"
        assert rig.report_of("left", stamp_ns).timing.outcome == "failed"
    states = rig.received["/detection/availability"]

    def risks() -> dict[str, str]:
        return {pair.key: pair.value for pair in states[-1].values} if states else {}

    rig.wait_for(
        lambda: risks().get("risk_left") == "no_result" and risks().get("risk_front") == "none", send
    )
    assert risks()["level"] == "primary"  # the model is not to blame, and the other camera has its results
    assert states[-1].message.startswith("left: ")
    left = lambda: (rig.status("/left/detection") or DiagnosticStatus()).message  # noqa: E731
    rig.wait_for(lambda: "frames failed" in left(), send)
    front = rig.status("/front/detection")
    assert front is not None and "failed" not in front.message


def test_stamps_of_another_day_drop_the_frames_of_that_camera_alone(start: Start, rig: Rig) -> None:
    start(max_age_ms=60_000.0)
    rig.connect(*CAMERAS)

    def send() -> None:
        now_ns = time.time_ns()
        rig.send("front", now_ns)
        rig.send("left", now_ns - 86_400 * 10**9)
        assert rig.report_of("front", now_ns).timing.outcome == "processed"
        report = rig.report_of("left", now_ns - 86_400 * 10**9)
        assert report.timing.outcome == "dropped_stale"

    left = lambda: (rig.status("/left/detection") or DiagnosticStatus()).message  # noqa: E731
    rig.wait_for(lambda: "too old" in left() and "ages of 24 hours" in left(), send)
    front = rig.status("/front/detection")
    assert front is not None and "old" not in front.message and "hours" not in front.message


def test_a_publisher_whose_qos_does_not_fit_is_an_error_of_its_camera(start: Start, rig: Rig) -> None:
    start(qos_reliability="reliable")
    rig.connect("left", qos=image_qos("best_effort", 5))
    rig.wait_for_status("/left/detection", "does not fit (reliability)")
    assert "does not fit" not in rig.status("/front/detection").message  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"cameras": ["front", "front"]}, "'front' is named twice"),
        ({"cameras": ["front", "2nd"]}, "'2nd': only letters"),
        ({"cameras": ["front", "a/b"]}, "'a/b': only letters"),
        ({"cameras": ["front", ""]}, "'': only letters"),
        ({"cameras": [f"camera_{number}" for number in range(65)]}, "65 cameras, at most 64"),
        ({"cameras": CAMERAS, "camera_weights": ["rear=2"]}, "camera_weights: 'rear' is not one of cameras"),
        ({"cameras": CAMERAS, "camera_weights": ["left=0.5"]}, "left=0.5: a whole number up to 16"),
        ({"cameras": CAMERAS, "camera_weights": ["left=17"]}, "left=17: a whole number up to 16"),
        ({"cameras": CAMERAS, "camera_weights": ["left=2", "left=3"]}, "left has a number already"),
        ({"cameras": CAMERAS, "camera_deadlines_ms": ["left=-1"]}, "expected CAMERA=NUMBER"),
        ({"cameras": CAMERAS, "camera_deadlines_ms": ["left=nan"]}, "expected CAMERA=NUMBER"),
    ],
)
def test_nonsense_about_cameras_is_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(reason)):
        CameraOptions(**values)


def test_a_node_refuses_it_in_one_line(make: Callable[..., GatedNode]) -> None:
    with pytest.raises(AdcpError) as refusal:
        make(cameras=["front", "front"])
    assert "'front' is named twice" in str(refusal.value) and "\n" not in str(refusal.value)


def test_two_cameras_on_one_topic_are_refused(ros_context: Any, tmp_path: Path) -> None:
    """Each result would be published twice, under two names."""
    overrides = [
        Parameter("model", value=str(write_detector(tmp_path / "model"))),
        Parameter("cameras", value=CAMERAS),
    ]
    remap = ["--ros-args", "-r", "front/image:=/camera", "-r", "left/image:=/camera"]
    node = GatedNode(context=ros_context, parameter_overrides=overrides, cli_args=remap)
    try:
        assert not node.autostart()
        assert "cameras front and left have the same topic, /camera" in node.diagnostics._refusal
    finally:
        node.close()
        node.destroy_node()


def test_activations_and_parameters(start: Start, rig: Rig) -> None:
    node = start()
    rig.connect(*CAMERAS)
    stamp_ns = time.time_ns()
    rig.send("left", stamp_ns)
    assert rig.report_of("left", stamp_ns).received == 1
    node.deactivate()
    node.activate()
    rig.wait_for(rig.cameras["left"].get_subscription_count)
    rig.wait_for(rig.cameras["front"].get_subscription_count)
    rig.send("left", stamp_ns + 1)
    assert rig.report_of("left", stamp_ns + 1).received == 1  # counted anew
    (result,) = node.set_parameters([Parameter("cameras", value=["rear"])])
    assert not result.successful and "takes effect at configure" in result.reason
    (result,) = node.set_parameters([Parameter("camera_weights", value=["rear=2"])])
    assert not result.successful and "'rear' is not one of cameras" in result.reason
    (result,) = node.set_parameters([Parameter("camera_weights", value=["left=3"])])
    assert result.successful
    (result,) = node.set_parameters([Parameter("camera_deadlines_ms", value=["left=0.001"])])
    assert result.successful
    for number in range(2, 6):
        rig.send("left", stamp_ns + number)
        rig.send("front", stamp_ns + number)
        rig.report_of("left", stamp_ns + number)
        rig.report_of("front", stamp_ns + number)

    def missed(camera: str) -> str:
        status = rig.status(f"/{camera}/detection")
        return next((one.value for one in status.values if one.key == "missed_frames"), "") if status else ""

    rig.wait_for(lambda: int(missed("left") or 0) >= 1, lambda: rig.send("left", time.time_ns()))
    assert missed("front") == "0"
    # Turns by the new weights: three of left for one of front, while both have a frame.
    slots = node._frames.slots
    assert slots is not None
    assert slots._queues["front"].step == 3 * slots._queues["left"].step


def test_no_camera_loses_a_frame_by_an_exchange_of_the_model(start: Start, rig: Rig, tmp_path: Path) -> None:
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
    start: Start, rig: Rig, script: Script
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
    start: Start, rig: Rig, tmp_path: Path, script: Script
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


def test_a_batch_that_the_model_cannot_have_is_refused(make: Callable[..., GatedNode]) -> None:
    for values, reason in (
        ({"cameras": CAMERAS}, "its batch is not dynamic"),
        ({"cameras": ["front"]}, "needs two cameras or more"),
    ):
        node = make(camera_batch=2, node_name=f"refused_{len(values['cameras'])}", **values)
        assert not node.autostart()
        assert reason in node.diagnostics._refusal


def test_the_latency_monitor_takes_each_camera_for_a_node(
    start: Start, rig: Rig, ros_context: Any, tmp_path: Path
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


def test_a_shadow_answers_each_camera_under_its_own_topics(start: Start, rig: Rig, tmp_path: Path) -> None:
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
