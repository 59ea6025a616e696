# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the node does while its worker's thread does something else; the node is in the test's process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from ad_compressed_perception.messages.timing import ns_to_stamp, reports_of
from ad_compressed_perception.nodes.frame_selection import FrameSelection
from ad_compressed_perception.nodes.qos import image_qos
from support.gated_node import GatedNode
from support.models import draw_scene, write_detector
from support.ros import PATIENCE_S, Recorder, image_message

pytestmark = pytest.mark.ros
STAMP_NS = 1_479_425_491_191_381_351


@pytest.fixture
def recorder(ros_context: Any) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


@pytest.fixture
def start(ros_context: Any, tmp_path: Path) -> Iterator[Callable[..., GatedNode]]:
    made: list[GatedNode] = []

    def make(**values: Any) -> GatedNode:
        values = {"model": str(write_detector(tmp_path / "model")), "timing_period_s": 0.0} | values
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        made.append(GatedNode(context=ros_context, parameter_overrides=overrides))
        assert made[-1].autostart()
        return made[-1]

    yield make
    for node in made:
        node.gate.set()
        node.close()
        node.destroy_node()


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def received(node: GatedNode) -> int:
    worker = node._supervised.worker
    assert worker is not None
    return worker.counters().received


def test_frames_that_come_while_no_worker_runs_are_counted(start: Any, recorder: Recorder) -> None:
    """A replacement loads, and no frame waits: what exceeded the history was in no count."""
    node = start(qos_reliability="reliable", watchdog_error_s=3600.0)
    camera = recorder.node.create_publisher(Image, "/image", 10)
    wait_until(camera.get_subscription_count)
    node.gate.clear()
    camera.publish(image_message(draw_scene(0), STAMP_NS))
    assert node.entered.wait(PATIENCE_S)
    node._watch_thread.stop()  # its looks are made by the test
    assert node._supervised.worker.abandon()
    assert node._supervised.worker.progress().has_frame is False
    camera.publish(image_message(draw_scene(0), STAMP_NS + 1))

    def look() -> bool:
        node._frames.receive_while_busy()
        return received(node) == 2

    wait_until(look)


def test_a_setting_that_changes_while_another_one_is_applied_is_not_lost(start: Any) -> None:
    """The worker cleared what the executor had set meanwhile: the parameter was 0.9, that of results 0.5."""
    node = start()
    task = node._supervised.models.primary.pipeline.task

    class Watched(type(task)):  # type: ignore[misc]
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "settings" and value.score_threshold == 0.5:
                node.set_parameters([Parameter("score_threshold", value=0.9)])

    task.__class__ = Watched
    node.set_parameters([Parameter("score_threshold", value=0.5)])
    message = serialize_message(image_message(draw_scene(0), STAMP_NS))
    for count in (1, 2):
        node._frames.on_image(message, {}, 0.0)
        wait_until(lambda c=count: node._supervised.worker.counters().counts["processed"] == c)
    assert node.get_parameter("score_threshold").value == 0.9
    assert task.settings.score_threshold == 0.9


def test_waiting_by_the_wall_clock_makes_no_stamp_of_a_slow_simulation_one_of_the_future(
    start: Any, recorder: Recorder
) -> None:
    """``ros2 bag play --clock --rate 0.1``: 100 ms in the middleware are 10 ms of the stamps' clock."""
    node = start(use_sim_time=True)
    recorder._executor.add_node(node)
    clock = recorder.node.create_publisher(Clock, "/clock", 10)
    recorder.listen("/detection/timing", DiagnosticArray)
    wait_until(node._frames.timing._publisher.get_subscription_count)
    now_ns = STAMP_NS + 10_000_000
    recorder.wait_for(
        lambda: node.get_clock().now().nanoseconds == now_ns,
        lambda: clock.publish(Clock(clock=ns_to_stamp(now_ns))),
    )
    node._frames.on_image(serialize_message(image_message(draw_scene(0), STAMP_NS)), {}, 0.1)
    (message,) = recorder.wait_for(lambda: recorder.received["/detection/timing"])
    (report,) = reports_of(message)
    assert 0.0 <= report.timing.stages_ms["transport_age"] <= 10.0
    assert report.timing.stages_ms["queue_wait"] >= 100.0
    node._frames.on_image(serialize_message(image_message(draw_scene(0), now_ns + 10**9)), {}, 0.0)
    recorder.wait_for(lambda: len(recorder.received["/detection/timing"]) == 2)
    (report,) = reports_of(recorder.received["/detection/timing"][-1])
    assert report.timing.stages_ms["transport_age"] == -1000.0  # this one is


def test_a_publisher_that_does_not_fit_is_an_error_while_it_is_there_and_hides_nothing(
    start: Any, recorder: Recorder
) -> None:
    """Restarted with the right profile it stayed an ERROR for good, and a silence was not reported."""
    node = start(qos_reliability="reliable")
    node._watch_thread.stop()

    def lines() -> str:
        return "; ".join(line for _, line in node.diagnostics._frames(node._own_parameters.health)[0])

    wrong = recorder.node.create_publisher(Image, "/image", image_qos("best_effort", 5))
    wait_until(lambda: "does not fit (reliability)" in lines())
    right = recorder.node.create_publisher(Image, "/image", image_qos("reliable", 5))
    wait_until(right.get_subscription_count)
    wait_until(lambda: "does not fit" in lines() and "no new frame on /image" in lines())
    recorder.node.destroy_publisher(wrong)
    wait_until(lambda: "does not fit" not in lines() and "no new frame on /image" in lines())


def test_a_wrong_rate_of_the_camera_that_selects_no_frame_is_a_warning(
    start: Any, recorder: Recorder
) -> None:
    """1 Hz, where 10 Hz is set: all numbers end with the same digit. The status stayed "running"."""
    node = start(every_nth=10, camera_rate_hz=10.0)
    node._watch_thread.stop()
    camera = recorder.node.create_publisher(Image, "/image", 10)  # a silent topic is another problem
    wait_until(camera.get_subscription_count)
    for index in range(100):
        message = image_message(draw_scene(0), 1_500_000_000 + index * 10**9)
        node._frames.on_image(serialize_message(message), {}, 0.0)
    problems, values = node.diagnostics._frames(node._own_parameters.health)
    assert (values["received"], values["not_selected"]) == ("0", "100")
    assert any("camera_rate_hz 10 is not the camera's rate" in line for _, line in problems)


def test_a_right_rate_never_is() -> None:
    selection = FrameSelection(10, 20.0)
    for index in range(1000):
        selection.takes(STAMP_NS + index * 50_000_000)
        assert not selection.problem
    assert selection.not_selected == 900
