# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The nodes of demo.launch.py in one process: the planner drives, outputs are compared with ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from std_msgs.msg import String

from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.launch_support.plan import composed
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_compressed_perception.report.schemas.comparison import Report, TaskReport
from ad_compressed_perception.workspace.save_manifest import save_manifest
from ad_road_simulation.launch_support.demo_plan import demo_nodes
from ad_road_simulation.world.scene import MASK_LABELS
from support.models import write_detector, write_segmenter, write_trajectory_planner
from support.ros import Recorder, as_ns, node_process

pytestmark = pytest.mark.ros
LIMIT_MPS = 5.0


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    recorder = Recorder(ros_context)
    yield recorder
    recorder.close()


def write_models(folder: Path) -> dict[str, str]:
    """Write a tiny model per task; the mask labels are those of the ground truth, the planner goes 5 m/s."""
    models = {
        "detection": write_detector(folder / "detection"),
        "segmentation": write_segmenter(folder / "segmentation"),
        "planning": write_trajectory_planner(folder / "planning", allowed_mps=LIMIT_MPS),
    }
    manifest = load_manifest(models["segmentation"])
    save_manifest(manifest.model_copy(update={"labels": list(MASK_LABELS)}), models["segmentation"])
    return {task: str(path) for task, path in models.items()}


def test_a_compressed_planner_drives_and_all_variants_are_evaluated(
    tmp_path: Path, recorder: Recorder
) -> None:
    arguments = dict.fromkeys(("image_topic", "seed", "traffic", "weather"), "")
    models = {f"{task}_model": path for task, path in write_models(tmp_path).items()}
    given = {"tasks": "detection,segmentation,planning", "namespace": "", "transport": "raw"}
    nodes = demo_nodes({**arguments, **models, **given, "drive": "compressed", "traffic": "0.0"})
    process = composed(nodes)
    content: dict[str, Any] = {
        node.full_name: {"ros__parameters": dict(node.parameters)} for node in [process, *nodes]
    }
    content["/road_camera"]["ros__parameters"] |= {"width": 160, "height": 90}
    content["/latency_monitor"]["ros__parameters"] |= {"publish_period_s": 0.2, "pair_timeout_s": 10.0}
    (tmp_path / "parameters.yaml").write_text(yaml.safe_dump(content))
    rules = [word for rule in process.remappings for word in ("-r", f"{rule[0]}:={rule[1]}")]
    recorder.listen("/latency_monitor/summary", String, LATCHED_QOS)
    recorder.listen("/road_camera/odometry", Odometry)
    recorder.listen("/compressed/planning/command", TwistStamped)
    recorder.listen("/diagnostics", DiagnosticArray)

    def all_compared() -> dict[str, TaskReport] | None:
        if not recorder.received["/latency_monitor/summary"]:
            return None
        tasks = Report.parse(recorder.received["/latency_monitor/summary"][-1].data).tasks
        counters = [counters for task in tasks.values() for counters in task.accuracy.values()]
        return tasks if len(counters) == 6 and all(each.pairs >= 2 for each in counters) else None

    def speeds() -> list[float]:
        return [message.twist.twist.linear.x for message in recorder.received["/road_camera/odometry"]]

    arguments_given = ["--params-file", str(tmp_path / "parameters.yaml"), *rules]
    with node_process("compose", *arguments_given, log=tmp_path / "log") as node:
        tasks = recorder.wait_for(all_compared)
        # Without commands the car would stand by now; the planner keeps it at its planned speed.
        commands = recorder.received["/compressed/planning/command"]
        recorder.wait_for(lambda: len(commands) > 20 and abs(speeds()[-1] - LIMIT_MPS) < 0.5)
        assert node.stop() == 0
        assert "Traceback" not in node.log

    assert {type(each.figures).__name__ for task in tasks.values() for each in task.accuracy.values()} == {
        "DetectionFigures",
        "SegmentationFigures",
        "PlanningFigures",
    }
    assert tasks["planning"].comparison["compressed"].pairs > 0
    stamps = {as_ns(message.header.stamp) for message in recorder.received["/road_camera/odometry"]}
    assert {as_ns(message.header.stamp) for message in commands} & stamps
