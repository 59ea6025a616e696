# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One node, several cameras, over the wire: topics, order, accounts, faults of single cameras, parameters."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticStatus
from pydantic import ValidationError
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String
from vision_msgs.msg import LabelInfo

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.manifest import describe_validation_error
from ad_compressed_perception.nodes.camera_options import CameraOptions
from ad_compressed_perception.nodes.qos import LATCHED_QOS, image_qos
from support.cameras import CAMERAS, Make, Rig, gated_nodes, received, started
from support.gated_node import GatedNode
from support.models import draw_scene, write_detector
from support.ros import PATIENCE_S, as_ns, jpeg_message

pytestmark = pytest.mark.ros


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


def test_results_come_under_each_cameras_header_on_the_topics_of_a_node_of_its_own(
    start: Make, rig: Rig
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
    start: Make, rig: Rig
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


def test_a_dead_camera_and_a_broken_one_are_named_and_hold_up_nobody(start: Make, rig: Rig) -> None:
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


def test_stamps_of_another_day_drop_the_frames_of_that_camera_alone(start: Make, rig: Rig) -> None:
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


def test_a_publisher_whose_qos_does_not_fit_is_an_error_of_its_camera(start: Make, rig: Rig) -> None:
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
        (
            {"cameras": CAMERAS, "camera_weights": ["rear=2"]},
            "camera_weights: 'rear' is not one of cameras (front, left)",
        ),
        (
            {"cameras": CAMERAS, "camera_weights": ["left=0.5"]},
            "camera_weights: left=0.5: a whole number up to 16",
        ),
        (
            {"cameras": CAMERAS, "camera_weights": ["left=17"]},
            "camera_weights: left=17: a whole number up to 16",
        ),
        ({"cameras": CAMERAS, "camera_weights": ["left=2", "left=3"]}, "left has a number already"),
        (
            {"cameras": CAMERAS, "camera_deadlines_ms": ["left=-1"]},
            "camera_deadlines_ms: 'left=-1': expected CAMERA=NUMBER",
        ),
        ({"cameras": CAMERAS, "camera_deadlines_ms": ["left=nan"]}, "expected CAMERA=NUMBER"),
    ],
)
def test_nonsense_about_cameras_is_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        CameraOptions(**values)
    assert reason in describe_validation_error(refusal.value)


def test_a_node_refuses_it_in_one_line(make: Make) -> None:
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


def test_cameras_of_a_node_that_takes_no_frames_are_not_reported_as_running(start: Make, rig: Rig) -> None:
    """A status that stays as it was last is what an aggregator shows for as long as the node lives."""
    node = start()
    rig.connect(*CAMERAS)
    stamp_ns = time.time_ns()
    for camera in CAMERAS:
        rig.send(camera, stamp_ns)
        rig.report_of(camera, stamp_ns)
        rig.wait_for_status(f"/{camera}/detection", "running")
    node.deactivate()
    for camera in CAMERAS:
        status = rig.wait_for_status(f"/{camera}/detection", "not active")
        assert status.level == DiagnosticStatus.WARN
    status = rig.wait_for_status("/detection", "not active")
    assert status.message == "not active"  # once, not again for each camera
    node.activate()
    for camera in CAMERAS:
        rig.wait_for(rig.cameras[camera].get_subscription_count)
        rig.wait_for_status(f"/{camera}/detection", "running")


def test_activations_and_parameters(start: Make, rig: Rig) -> None:
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
