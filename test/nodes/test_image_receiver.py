# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A worker takes camera images itself, whatever the executor does, and every one of them is counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest

pytest.importorskip("rclpy")

import rclpy
from hypothesis import given
from hypothesis import strategies as st
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CompressedImage

from ad_compressed_perception.core.timing import FrameCounters, FrameTiming
from ad_compressed_perception.messages.received_image import read_compressed_image
from ad_compressed_perception.messages.timing import stamp_to_ns
from ad_compressed_perception.nodes import image_receiver
from ad_compressed_perception.nodes.image_receiver import seconds_waited
from ad_compressed_perception.nodes.image_subscription import ImageSubscription
from ad_compressed_perception.nodes.qos import image_qos
from ad_compressed_perception.nodes.worker import Arrival, FrameWorker, Processed
from support.models import draw_scene
from support.ros import PATIENCE_S, jpeg_message

pytestmark = pytest.mark.ros


class Camera:
    """A camera, a worker behind a subscription to it, and nobody who spins an executor."""

    def __init__(self, context: Any) -> None:
        self.node: Node = rclpy.create_node("camera_and_worker", context=context)
        self.publisher: Publisher = self.node.create_publisher(
            CompressedImage, "image/compressed", image_qos("reliable", 10)
        )
        self.subscription = ImageSubscription(
            self.node, "compressed", image_qos("reliable", 8), self._on_image
        )
        self.timings: list[FrameTiming] = []
        self.entered, self.leave = Event(), Event()
        self.leave.set()
        self.worker = FrameWorker(self._process, self._on_frame_done, source=self.subscription.receiver)
        self.worker.start()
        self.wait_for(self.publisher.get_subscription_count)

    def _on_image(self, serialized: bytes, info: Any, waited_s: float) -> None:
        message = read_compressed_image(serialized)
        arrived_s = time.perf_counter() - waited_s
        self.worker.offer(Arrival(message, stamp_to_ns(message.header.stamp), 0.0, arrived_s))

    def _process(self, arrival: Arrival) -> Processed:
        self.entered.set()
        assert self.leave.wait(PATIENCE_S)
        return Processed({})

    def _on_frame_done(self, timing: FrameTiming, counters: FrameCounters) -> None:
        self.timings.append(timing)

    def show(self, stamp_ns: int) -> None:
        self.publisher.publish(jpeg_message(draw_scene(0), stamp_ns))

    def wait_for(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, (self.timings, self.worker.counters())
            time.sleep(0.005)

    def outcomes(self) -> dict[int, str]:
        return {timing.stamp_ns: timing.outcome for timing in self.timings}

    def close(self) -> None:
        self.leave.set()
        self.worker.stop()
        self.subscription.destroy()
        self.node.destroy_node()


@pytest.fixture
def camera(ros_context: Any) -> Iterator[Camera]:
    made = Camera(ros_context)
    yield made
    made.close()


def test_a_frame_needs_no_executor(camera: Camera) -> None:
    """The executor's Python after each callback held up the frame by 1 ms, a busy one for longer."""
    for stamp_ns in (1, 2):
        camera.show(stamp_ns)
        camera.wait_for(lambda s=stamp_ns: s in camera.outcomes())
    assert camera.outcomes() == {1: "processed", 2: "processed"}


def test_what_comes_while_a_frame_is_in_work_is_counted_and_the_newest_is_next(camera: Camera) -> None:
    """None may vanish in the middleware's history: what is displaced is dropped_busy."""
    camera.leave.clear()
    camera.show(1)
    assert camera.entered.wait(PATIENCE_S)
    for stamp_ns in (2, 3, 4):
        camera.show(stamp_ns)

    def look() -> bool:  # as the node does while its worker is busy
        camera.subscription.receiver.receive()
        return camera.worker.counters().received == 4

    camera.wait_for(look)
    assert camera.outcomes() == {2: "dropped_busy", 3: "dropped_busy"}
    time.sleep(0.05)
    camera.leave.set()
    camera.wait_for(lambda: camera.worker.counters().pending == 0)
    assert camera.outcomes() == {1: "processed", 2: "dropped_busy", 3: "dropped_busy", 4: "processed"}
    (last,) = (timing for timing in camera.timings if timing.stamp_ns == 4)
    assert last.stages_ms["queue_wait"] >= 50.0  # the time in the middleware is the frame's waiting time too


def test_a_worker_that_waits_for_a_message_is_stopped_at_once(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop that comes with the next image only, or with the end of a wait, would hold up a transition."""
    monkeypatch.setattr(image_receiver, "_LONGEST_WAIT_NS", int(10 * PATIENCE_S * 1e9))
    for stamp_ns in (1, 2):  # after the second one it certainly is in such a wait
        camera.show(stamp_ns)
        camera.wait_for(lambda s=stamp_ns: s in camera.outcomes())
    assert camera.worker.stop(limit_s=PATIENCE_S)
    camera.show(3)
    assert camera.worker.counters().received == 2


@given(st.integers(-(2**62), 2**62), st.integers(0, 2**62), st.floats(0.0, 100.0))
def test_no_clock_makes_a_message_wait_longer_than_it_can_have(
    arrived_ns: int, now_ns: int, since_empty_s: float
) -> None:
    """The system's clock may be set between arrival and taking, and some middlewares note no arrival."""
    waited_s = seconds_waited(arrived_ns, now_ns, since_empty_s)
    assert 0.0 <= waited_s <= since_empty_s
    if 0 < arrived_ns <= now_ns and (now_ns - arrived_ns) * 1e-9 <= since_empty_s:
        assert waited_s == (now_ns - arrived_ns) * 1e-9
