# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A result of a frame that was given up is never published, whatever the node is doing meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Timer
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message
from std_srvs.srv import Trigger

from ad_compressed_perception.nodes.detection_node import DetectionNode
from support.models import draw_scene, write_detector
from support.ros import PATIENCE_S, image_message
from support.variants import add_variant

pytestmark = pytest.mark.ros
STAMP_NS = 1_479_425_491_191_381_351


class HangingNode(DetectionNode):
    """A detection node whose inference hangs while ``gate`` is closed, and that lists what it publishes."""

    def __init__(self, **arguments: Any) -> None:
        self.entered, self.gate, self.left = Event(), Event(), Event()
        self.hung: Any = None
        self.failing: Any = None
        self.published: list[int] = []
        super().__init__(**arguments)

    def before_frame(self, pipeline: Any, stamp_ns: int) -> None:
        if pipeline is self.failing:
            raise RuntimeError("the accelerator is gone")
        if self.hung is not None and self.hung is not pipeline:
            return
        self.hung = pipeline
        self.entered.set()
        assert self.gate.wait(PATIENCE_S)
        self.left.set()

    def publish_result(self, result: Any, header: Any) -> None:
        self.published.append(header.stamp.nanosec)
        super().publish_result(result, header)


@pytest.fixture
def start(ros_context: Any, tmp_path: Path) -> Iterator[Callable[..., HangingNode]]:
    """Return a function that starts a node; the first model that gets a frame hangs."""
    nodes: list[HangingNode] = []

    def begin(**values: Any) -> HangingNode:
        model = write_detector(tmp_path / "model")
        add_variant(model, "int8")
        given = {"model": str(model), "timing_period_s": 0.0, "swap_check_frames": 0} | values
        overrides = [Parameter(name, value=value) for name, value in given.items()]
        nodes.append(HangingNode(context=ros_context, parameter_overrides=overrides))
        assert nodes[-1].autostart()
        return nodes[-1]

    yield begin
    for node in nodes:
        node.gate.set()
        node.close()
        node.destroy_node()


@pytest.fixture
def node(start: Callable[..., HangingNode]) -> HangingNode:
    return start()


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def offer(node: HangingNode, stamp_ns: int) -> None:
    node._frames.on_image(serialize_message(image_message(draw_scene(0), stamp_ns)), None, 0.0)


@pytest.mark.parametrize("again", [False, True], ids=["inactive", "activated again"])
def test_a_frame_abandoned_by_deactivation_is_not_published_later(again: bool, node: HangingNode) -> None:
    """Failed before: without a worker nobody was asked whether the frame was given up."""
    offer(node, STAMP_NS)
    assert node.entered.wait(PATIENCE_S)
    node.trigger_deactivate()  # waits two seconds for the frame, and abandons it
    if again:
        node.trigger_activate()

    node.gate.set()
    assert node.left.wait(PATIENCE_S)
    time.sleep(0.3)  # time in which the thread could have published

    assert node.published == []
    if again:
        offer(node, STAMP_NS + 5)
        wait_until(lambda: node.published)
        assert node.published == [(STAMP_NS + 5) % 10**9]


def test_a_frame_that_ends_while_the_node_is_deactivated_is_published(node: HangingNode) -> None:
    offer(node, STAMP_NS)
    assert node.entered.wait(PATIENCE_S)
    Timer(0.3, node.gate.set).start()

    node.trigger_deactivate()

    assert node.published == [STAMP_NS % 10**9]


def test_a_rollback_never_leads_to_a_model_that_was_given_up(start: Callable[..., HangingNode]) -> None:
    """It hung while another one took its place. Failed before: the closed one became the primary."""
    node = start(fallback_variant="fp32", frame_timeout_ms=2000.0)
    offer(node, STAMP_NS)
    assert node.entered.wait(PATIENCE_S)
    assert node.set_parameters([Parameter("variant", value="int8")])[0].successful
    hung = node.models.previous
    assert hung is not None and hung.in_use

    wait_until(lambda: node.published == [STAMP_NS % 10**9])  # by another thread, when the time was up

    wait_until(lambda: node.models.previous is None)
    assert not node._swap._on_rollback(Trigger.Request(), Trigger.Response()).success
    assert node.get_parameter("variant").value == "int8"
    offer(node, STAMP_NS + 5)
    wait_until(lambda: len(node.published) == 2)


def test_a_fallback_that_hangs_is_replaced_and_not_the_model(start: Callable[..., HangingNode]) -> None:
    """Without a time-out of frames. Failed before: the model was given up, the hung fallback stayed."""
    node = start(fallback_variant="fp32", watchdog_error_s=0.5, frame_timeout_ms=0.0)
    primary, standby = node.models.primary, node.models.standby
    assert primary is not None and standby is not None
    node.failing = primary.pipeline
    offer(node, STAMP_NS)
    assert node.entered.wait(PATIENCE_S)
    assert standby.in_use

    wait_until(lambda: node.models.standby not in (standby, None))

    assert node.models.primary is primary
    offer(node, STAMP_NS + 5)
    wait_until(lambda: node.published == [(STAMP_NS + 5) % 10**9])
