# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the launch files plan for a model with several heads, run as real nodes with the launch's parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from sensor_msgs.msg import Image
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray

from ad_compressed_perception.launch_support.one_session import nodes_of_one_session
from ad_compressed_perception.launch_support.plan import (
    PlannedNode,
    composed,
    perception_nodes,
    write_parameters,
)
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_compressed_perception.report.schemas.comparison import Report, TaskReport
from support.models import draw_scene
from support.ros import NodeProcess, Recorder, image_message, node_process
from support.several_heads import write_two_heads

pytestmark = pytest.mark.ros


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


@contextmanager
def launched(nodes: Sequence[PlannedNode], folder: Path) -> Iterator[NodeProcess]:
    """Run nodes as ``composed:=true`` does: one process, the parameters of the launch's arguments in a file."""
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
            # A single node is compared with nothing, and nothing is said of how its heads agree.
            assert found.comparison == {}
            assert recorder.received[f"/{camera}/multi_task/objects/detections"]
            assert recorder.received[f"/{camera}/multi_task/surface/mask"]
        assert running.stop() == 0
        assert "Traceback" not in running.log
