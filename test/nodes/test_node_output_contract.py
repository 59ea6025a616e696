# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Nodes publish nothing for a frame whose output is broken, use no broken odometry, and go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMessage
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from ad_compressed_perception.core.manifest import file_sha256, load_manifest
from ad_compressed_perception.messages.timing import ns_to_stamp, reports_of
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.models import WRITERS, draw_scene, write_trajectory_planner
from support.nonsense import append, op
from support.ros import Recorder, as_ns, image_message, node_process

pytestmark = pytest.mark.ros
STAMP_NS = 1_479_425_491_000_000_000
WHITE = np.full((96, 128, 3), 255, np.uint8)
OUTPUTS = {"detection": "output", "segmentation": "scores", "planning": "steering"}
RESULTS = {
    "detection": [("detections", Detection2DArray)],
    "segmentation": [("mask", Image)],
    "planning": [("trajectory", PathMessage), ("command", TwistStamped)],
}


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


def nan_on_bright_images(model: Path, output: str) -> None:
    """Add the logarithm of 1, or of -1 where the image is nearly white, to one number of the output."""
    path = model / "fp32.onnx"
    graph = onnx.load(path).graph
    sizes = [
        size.dim_value
        for size in next(v for v in graph.output if v.name == output).type.tensor_type.shape.dim
    ]
    place = np.zeros(sizes, np.float32)
    place.reshape(-1)[0] = 1.0
    limit = 150.0 * load_manifest(model).input.scale
    nodes = [
        op("ReduceMean", graph.input[0].name, "mean", keepdims=0),
        op("Greater", "mean limit", "is_bright"),
        op("Cast", "is_bright", "flag", to=onnx.TensorProto.FLOAT),
        op("Mul", "flag place", "marked"),
        op("Mul", "marked two", "doubled"),
        op("Sub", "unit doubled", "sign"),
        op("Log", "sign", "nothing_or_nan"),
        op("Add", "before nothing_or_nan", output),
    ]
    weights = {"limit": np.float32(limit), "place": place, "two": np.float32(2), "unit": np.float32(1)}
    append(path, output, nodes, weights)
    manifest = load_manifest(model)
    manifest.variant("fp32").sha256 = file_sha256(path)
    save_manifest(manifest, model)


@pytest.mark.parametrize("task", RESULTS)
def test_a_frame_with_nan_fails_and_nothing_is_published(
    tmp_path: Path, recorder: Recorder, task: str
) -> None:
    """A detector with one NaN published "no objects" as processed: the road is free."""
    model = WRITERS[task](tmp_path / "model")
    nan_on_bright_images(model, OUTPUTS[task])
    publisher = recorder.node.create_publisher(Image, "/image", 1)
    recorder.listen(f"/{task}/timing", DiagnosticArray)
    recorder.listen("/diagnostics", DiagnosticArray)
    for topic, kind in RESULTS[task]:
        recorder.listen(f"/{task}/{topic}", kind)

    def outcomes() -> dict[int, tuple[str, str]]:
        timings = (each.timing for m in recorder.received[f"/{task}/timing"] for each in reports_of(m))
        # A loaded machine may send a frame again before the first one is done: the copies do not count.
        done = (timing for timing in timings if timing.outcome != "dropped_busy")
        return {timing.stamp_ns: (timing.outcome, timing.reason) for timing in done}

    def finish(images: dict[int, Any], outcome: str) -> None:
        for stamp, image in images.items():
            message = image_message(image, stamp)
            recorder.wait_for(lambda s=stamp: s in outcomes(), lambda m=message: publisher.publish(m))
            assert outcomes()[stamp][0] == outcome

    good = {STAMP_NS + 2 * index: draw_scene(index) for index in range(3)}
    bad = {STAMP_NS + 100 + 2 * index: WHITE for index in range(3)}
    later = {STAMP_NS + 200 + 2 * index: draw_scene(index) for index in range(3)}
    arguments = ["-p", f"model:={model}", "-p", "diagnostics_period_s:=0.2"]
    with node_process(f"{task}_node", *arguments, log=tmp_path / "log") as node:
        finish(good, "processed")
        finish(bad, "failed")
        assert all("finite" in outcomes()[stamp][1] for stamp in bad)
        finish(later, "processed")
        for topic, _ in RESULTS[task]:
            received = recorder.received[f"/{task}/{topic}"]
            recorder.wait_for(lambda r=received: any(as_ns(m.header.stamp) in later for m in r))
            assert not {as_ns(message.header.stamp) for message in received} & bad.keys()
        statuses = recorder.received["/diagnostics"]
        recorder.wait_for(
            lambda: any(
                message.status[0].level == DiagnosticStatus.ERROR and "finite" in message.status[0].message
                for message in statuses
            )
        )
        assert node.stop() == 0
        assert "Traceback" not in node.log


def odometry_message(stamp_ns: int, speed_mps: float = 8.0) -> Odometry:
    message = Odometry()
    message.header.stamp = ns_to_stamp(stamp_ns)
    message.pose.pose.orientation.w = 1.0
    message.twist.twist.linear.x = speed_mps
    return message


def nan_position(message: Odometry) -> None:
    message.pose.pose.position.x = math.nan


def infinite_speed(message: Odometry) -> None:
    message.twist.twist.linear.x = math.inf


def absurd_yaw_rate(message: Odometry) -> None:
    message.twist.twist.angular.z = 1e4


def no_orientation(message: Odometry) -> None:
    message.pose.pose.orientation.w = 0.0


@pytest.mark.parametrize("damage", [nan_position, infinite_speed, absurd_yaw_rate, no_orientation])
def test_broken_odometry_is_ignored_and_reported(
    tmp_path: Path, recorder: Recorder, damage: Callable[[Odometry], None]
) -> None:
    """One inf became a command of inf m/s, a NaN position straight on at 10 m/s."""
    model = write_trajectory_planner(tmp_path / "model")
    images = recorder.node.create_publisher(Image, "/image", 1)
    positions = recorder.node.create_publisher(Odometry, "/odometry", 10)
    recorder.listen("/planning/timing", DiagnosticArray)
    recorder.listen("/planning/command", TwistStamped)
    recorder.listen("/planning/trajectory", PathMessage)
    recorder.listen("/diagnostics", DiagnosticArray)
    commands = recorder.received["/planning/command"]

    def outcome_of(stamp: int) -> Any:
        timings = (each.timing for m in recorder.received["/planning/timing"] for each in reports_of(m))
        return next((timing for timing in timings if timing.stamp_ns == stamp), None)

    def show(stamp: int, *odometry: Odometry) -> Any:
        """Publish odometry and then an image, again and again, until the frame is done."""

        def publish() -> None:
            for message in odometry:
                positions.publish(message)
            images.publish(image_message(draw_scene(0), stamp))

        return recorder.wait_for(lambda: outcome_of(stamp), publish)

    def ignored() -> list[DiagnosticStatus]:
        statuses = [message.status[0] for message in recorder.received["/diagnostics"]]
        return [s for s in statuses if "odometry ignored" in s.message and s.level != DiagnosticStatus.OK]

    arguments = ["-p", f"model:={model}", "-p", "diagnostics_period_s:=0.2"]
    with node_process("planning_node", *arguments, log=tmp_path / "log") as node:
        recorder.wait_for(lambda: positions.get_subscription_count() and images.get_subscription_count())
        # Before any odometry the nominal speed holds, and the log says so.
        assert show(STAMP_NS).outcome == "processed"
        assert "no odometry came on /odometry" in node.log
        broken = odometry_message(STAMP_NS + 10**9)
        damage(broken)
        recorder.wait_for(ignored, lambda: positions.publish(broken))
        # Nothing valid: no command, rather than one at a speed that nobody measured.
        failed = show(STAMP_NS + 10**9, broken)
        assert failed.outcome == "failed"
        assert "odometry is in use" in failed.reason
        # A broken one among valid ones does no harm.
        stamp = STAMP_NS + 2 * 10**9
        valid = odometry_message(stamp)
        broken.header.stamp = ns_to_stamp(stamp + 1)
        # Until its command comes: an image may overtake the odometry that was published before it.
        recorder.wait_for(
            lambda: any(as_ns(m.header.stamp) == stamp for m in commands),
            lambda: [
                positions.publish(valid),
                positions.publish(broken),
                images.publish(image_message(draw_scene(0), stamp)),
            ],
        )
        assert {as_ns(message.header.stamp) for message in commands} == {STAMP_NS, stamp}
        paths = {as_ns(message.header.stamp) for message in recorder.received["/planning/trajectory"]}
        assert STAMP_NS + 10**9 not in paths
        last = commands[-1].twist
        assert 0.0 < last.linear.x < 10.0, "8 m/s measured, 12 m/s allowed, half a second ahead"
        assert math.isfinite(last.angular.z)
        assert node.stop() == 0
        assert "Traceback" not in node.log
