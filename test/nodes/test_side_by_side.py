# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""~/side_by_side/compressed of the monitor, over the wire."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from threading import Event
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, LabelInfo

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.results import Detections
from ad_compressed_perception.messages import detection
from ad_compressed_perception.messages.timing import ns_to_stamp
from ad_compressed_perception.nodes import side_by_side
from ad_compressed_perception.nodes.latency_monitor_node import LatencyMonitorNode
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_compressed_perception.report.difference import LOST_BGR
from support.ros import Recorder, as_ns, image_message, jpeg_message

pytestmark = pytest.mark.ros
TOPIC = "/latency_monitor/side_by_side/compressed"
CAMERA = "/front/image_raw"
NODES = ("/baseline/detection", "/compressed/detection")
LABELS = ("car", "person")
FRAME = np.full((240, 480, 3), 100, np.uint8)


def cars(*lefts: float) -> Detections:
    """Return cars of 60x60 pixels at y = 120."""
    return Detections(
        np.array([(x, 120, x + 60, 180) for x in lefts], np.float32).reshape(-1, 4),
        np.full(len(lefts), 0.9, np.float32),
        np.zeros(len(lefts), np.int64),
        LABELS,
    )


class Scene:
    """A monitor, the camera and the two nodes it watches, as topics."""

    def __init__(
        self, context: Any, *, compressed: bool = True, suffix: str = "/compressed", **parameters: Any
    ) -> None:
        self.recorder = Recorder(context)
        values = {
            "detection.baseline": NODES[0],
            "detection.compressed": [NODES[1]],
            "image_topic": CAMERA,
            "side_by_side_rate_hz": 20.0,
            **parameters,
        }
        self.monitor = LatencyMonitorNode(
            context=context,
            parameter_overrides=[Parameter(key, value=value) for key, value in values.items()],
        )
        self.recorder._executor.add_node(self.monitor)
        node, self._compressed = self.recorder.node, compressed
        kind, topic = (CompressedImage, f"{CAMERA}{suffix}") if compressed else (Image, CAMERA)
        self.camera = node.create_publisher(kind, topic, 5)
        self.results = [node.create_publisher(Detection2DArray, f"{name}/detections", 10) for name in NODES]
        self._labels = [node.create_publisher(LabelInfo, f"{name}/label_info", LATCHED_QOS) for name in NODES]
        for publisher in self._labels:
            publisher.publish(detection.label_info(LABELS, Header()))
        self.stamps = count(1_479_425_491_000_000_001, 50_000_000)
        self.drawn: list[CompressedImage] = []
        self.viewer: Any = None

    def watch(self) -> None:
        self.viewer = self.recorder.node.create_subscription(CompressedImage, TOPIC, self.drawn.append, 10)

    def send(self, *sides: Detections | None) -> int:
        """Publish a frame, and each side's result for it; return the stamp."""
        stamp_ns = next(self.stamps)
        make = jpeg_message if self._compressed else image_message
        self.camera.publish(make(FRAME, stamp_ns))
        for publisher, side in zip(self.results, sides, strict=True):
            if side is not None:
                header = Header(stamp=ns_to_stamp(stamp_ns), frame_id="camera")
                publisher.publish(detection.serialize(side, header))
        return stamp_ns

    def close(self) -> None:
        self.monitor.close()
        self.monitor.destroy_node()
        self.recorder.close()


@pytest.fixture
def scenes(ros_context: object) -> Iterator[Any]:
    made: list[Scene] = []

    def make(**options: Any) -> Scene:
        made.append(Scene(ros_context, **options))
        return made[-1]

    yield make
    for scene in made:
        scene.close()


def decoded(message: CompressedImage) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(bytes(message.data), np.uint8), cv2.IMREAD_COLOR)


def is_marked(message: CompressedImage, panel: int) -> bool:
    """Whether the color of what is lost stands out in a panel; JPEG changes it by a few levels."""
    pixels = decoded(message)[76 : 76 + 240, panel * 486 : panel * 486 + 480]
    return bool((np.abs(pixels.astype(int) - LOST_BGR).max(axis=2) < 40).sum() > 50)


@pytest.mark.parametrize(("compressed", "suffix"), [(True, "/compressed"), (True, ""), (False, "")])
def test_what_differs_is_drawn_of_one_frame_and_only_while_watched(
    scenes: Any, compressed: bool, suffix: str
) -> None:
    """Failed before: of compressed images without the suffix nothing was drawn."""
    scene = scenes(compressed=compressed, suffix=suffix)
    recorder = scene.recorder
    sent = []
    # The labels and a pair have arrived, so the executor has run; nobody watches.
    recorder.wait_for(
        lambda: scene.monitor.monitor.tasks["detection"].comparisons["compressed"].compared >= 2,
        lambda: scene.send(cars(60), cars(60)),
    )
    assert scene.camera.get_subscription_count() == 0
    scene.watch()
    lost = recorder.wait_for(
        lambda: next((each for each in scene.drawn if is_marked(each, 2)), None),
        lambda: sent.append(scene.send(cars(60, 300), cars(60))),
    )
    assert as_ns(lost.header.stamp) in sent
    assert lost.header.frame_id == "camera"
    assert decoded(lost).shape == (30 + 46 + 240, 3 * 480 + 2 * 6, 3)
    assert not is_marked(lost, 0)
    assert not is_marked(lost, 1)
    scene.drawn.clear()
    agreeing: set[int] = set()
    found = recorder.wait_for(
        lambda: next((each for each in scene.drawn if as_ns(each.header.stamp) in agreeing), None),
        lambda: agreeing.add(scene.send(cars(60, 300), cars(60, 300))),
    )
    assert not is_marked(found, 2)
    recorder.node.destroy_subscription(scene.viewer)
    recorder.wait_for(lambda: scene.camera.get_subscription_count() == 0)


def test_an_image_never_looks_live_when_it_is_not(scenes: Any) -> None:
    """A dead side, then no camera, then a camera without results: each is seen in the image."""
    scene = scenes(pair_timeout_s=0.3)
    scene.watch()
    recorder = scene.recorder

    def darkest(message: CompressedImage, panel: int) -> bool:
        return bool(np.median(decoded(message)[76:, panel * 486 : panel * 486 + 480]) < 50)

    def last(is_right: Any) -> Any:
        return lambda: next((each for each in scene.drawn[-1:] if is_right(each)), None)

    # Nothing is published yet but the camera's topic: the image says so instead of not coming.
    recorder.wait_for(last(lambda each: darkest(each, 0) and as_ns(each.header.stamp) == 0))
    recorder.wait_for(
        last(lambda each: not darkest(each, 0) and darkest(each, 1)), lambda: scene.send(cars(60), None)
    )
    recorder.wait_for(last(lambda each: not darkest(each, 1)), lambda: scene.send(cars(60), cars(60)))
    stamp = as_ns(scene.drawn[-1].header.stamp)
    # The camera stops: the same frame again, dimmed.
    recorder.wait_for(last(lambda each: darkest(each, 0) and as_ns(each.header.stamp) >= stamp))
    # The camera comes back, and both nodes are silent.
    scene.drawn.clear()
    recorder.wait_for(
        last(lambda each: as_ns(each.header.stamp) > stamp + 50_000_000 and darkest(each, 1)),
        lambda: scene.send(None, None),
    )


def test_drawing_does_not_hold_up_the_monitor_and_the_latest_pair_wins(
    scenes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing, may_go_on = Event(), Event()
    draw = side_by_side.draw_comparison

    def slow(*arguments: Any, **options: Any) -> Any:
        drawing.set()
        assert may_go_on.wait(60.0)
        return draw(*arguments, **options)

    monkeypatch.setattr(side_by_side, "draw_comparison", slow)
    scene = scenes()
    scene.watch()
    try:
        scene.recorder.wait_for(drawing.is_set, lambda: scene.send(cars(60), cars(60)))
        comparison = scene.monitor.monitor.tasks["detection"].comparisons["compressed"]
        before, sent = comparison.compared, []
        scene.recorder.wait_for(
            lambda: comparison.compared >= before + 10, lambda: sent.append(scene.send(cars(60), cars(60)))
        )
    finally:
        may_go_on.set()
    scene.recorder.wait_for(lambda: len(scene.drawn) >= 2)
    # The first is the one that was being drawn, the second the newest, not the next of ten.
    assert as_ns(scene.drawn[1].header.stamp) >= sent[-2]


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [({"transport": "jpeg"}, "transport"), ({"side_by_side_rate_hz": -1.0}, "side_by_side_rate_hz")],
)
def test_wrong_parameters_are_refused_in_one_line(scenes: Any, parameters: Any, reason: str) -> None:
    with pytest.raises(AdcpError, match=reason):
        scenes(**parameters)
