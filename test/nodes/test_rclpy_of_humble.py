# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Every node runs with an rclpy that lacks what Humble's lacks; results come over the wire."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

import yaml
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Path as PathMessage
from sensor_msgs.msg import Image
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray

from ad_compressed_perception.messages.timing import reports_of
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_compressed_perception.report.schemas.comparison import Report
from support.bags import write_bag
from support.models import draw_scene, write_detector, write_planner, write_segmenter
from support.ros import PATIENCE_S, Recorder

pytestmark = pytest.mark.ros
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


@contextmanager
def humble(module: str, *arguments: str, log: Path) -> Iterator[subprocess.Popen[Any]]:
    """Run a node's module with the rclpy of Humble."""
    places = [str(REPOSITORY), str(REPOSITORY / "test"), *sys.path]
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "support.humble_rclpy", module, "--ros-args", *arguments],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def test_all_nodes_and_the_bag_player_run_with_the_rclpy_of_humble(
    tmp_path: Path, recorder: Recorder
) -> None:
    """Failed before: no inference node could be imported, and a callback with two arguments raised.

    A camera node draws, three tasks process its images, one of them twice, and the monitor compares the two.
    """
    image = [("image", "/car/camera/image")]
    nodes = {
        "/car/camera": ("road_camera_node", {"width": 160, "height": 96, "rate_hz": 10.0}),
        "/baseline/detection": ("detection_node", {"model": str(write_detector(tmp_path / "detector"))}),
        "/compressed/detection": (
            "detection_node",
            {"model": str(tmp_path / "detector"), "age_reference": "publish_time"},
        ),
        "/baseline/segmentation": (
            "segmentation_node",
            {"model": str(write_segmenter(tmp_path / "segmenter"))},
        ),
        "/baseline/planning": ("planning_node", {"model": str(write_planner(tmp_path / "planner"))}),
        "/latency_monitor": (
            "latency_monitor_node",
            {
                "detection.baseline": "/baseline/detection",
                "detection.compressed": ["/compressed/detection"],
                "publish_period_s": 0.2,
            },
        ),
    }
    entries = [f"{executable}:{name}" for name, (executable, _) in nodes.items()]
    document: dict[str, Any] = {"/compose": {"ros__parameters": {"nodes": entries}}}
    for name, (_, values) in nodes.items():
        document[name] = {"ros__parameters": values}
    parameters = tmp_path / "nodes.yaml"
    parameters.write_text(yaml.safe_dump(document))
    remaps = [part for old, new in image for part in ("-r", f"{old}:={new}")]
    bag = write_bag(tmp_path / "drive", [draw_scene(0)] * 3, compressed=False)

    kinds = {
        "/baseline/detection/detections": Detection2DArray,
        "/baseline/segmentation/mask": Image,
        "/baseline/planning/trajectory": PathMessage,
        "/compressed/detection/timing": DiagnosticArray,
        "/front/image": Image,
        "/diagnostics": DiagnosticArray,
    }
    for topic, kind in kinds.items():
        recorder.listen(topic, kind)
    recorder.listen("/latency_monitor/summary", String, LATCHED_QOS)

    def pairs() -> int:
        summaries = recorder.received["/latency_monitor/summary"]
        comparison = Report.parse(summaries[-1].data).tasks["detection"].comparison if summaries else {}
        return comparison["compressed"].pairs if "compressed" in comparison else 0

    log = tmp_path / "log"
    arguments = ["--params-file", str(parameters), *remaps]
    with humble("ad_compressed_perception.nodes.compose", *arguments, log=log) as process:
        with humble(
            "ad_compressed_perception.nodes.bag_player",
            *["-r", "__ns:=/front", "-p", f"bag:={bag}", "-p", "rate:=20.0"],
            log=tmp_path / "player.log",
        ) as player:

            def is_running() -> None:
                assert process.poll() is None, log.read_text()

            recorder.wait_for(
                lambda: (
                    all(recorder.received[topic] for topic in kinds)
                    and pairs() >= 3
                    and player.poll() is not None
                ),
                is_running,
            )
        assert player.returncode == 0, (tmp_path / "player.log").read_text()
        # Humble's executor passes a callback the message only; the node takes it itself, with its times.
        ages = [
            report.timing.stages_ms.get("transport_age")
            for message in recorder.received["/compressed/detection/timing"]
            for report in reports_of(message)
        ]
        assert ages
        assert all(age is not None and 0.0 <= age < PATIENCE_S * 1e3 for age in ages)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0, log.read_text()
    assert "Traceback" not in log.read_text()


SETTING = """
from support.humble_rclpy import become_humble
{}
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter
from rcl_interfaces.msg import SetParametersResult
from ad_compressed_perception.nodes.rclpy_compat import on_parameters_set

rclpy.init()
node = Node("setting")
for name in "abc":
    node.declare_parameter(name, 0)
node.add_on_set_parameters_callback(lambda changed: SetParametersResult(successful=changed[0].value < 9))
value = lambda parameter: node.get_parameter(parameter.name).value
seen = []
on_parameters_set(node, lambda changed: seen.append([(p.name, value(p)) for p in changed]))
node.set_parameters([Parameter("a", value=1), Parameter("b", value=9)])
node.set_parameters_atomically([Parameter("a", value=2), Parameter("c", value=3)])
node.set_parameters_atomically([Parameter("a", value=9), Parameter("c", value=4)])
print(seen)
"""


@pytest.mark.parametrize("prepare", ["become_humble()", ""], ids=["humble", "installed"])
def test_a_callback_after_parameters_are_set_sees_their_values_and_no_refused_ones(prepare: str) -> None:
    """The same calls on Humble, which has no such callback, as on newer ones."""
    places = [str(REPOSITORY), str(REPOSITORY / "test"), *sys.path]
    printed = subprocess.check_output(
        [sys.executable, "-c", SETTING.format(prepare)],
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
    )
    assert printed.strip() == "[[('a', 1)], [('a', 2), ('c', 3)]]"
