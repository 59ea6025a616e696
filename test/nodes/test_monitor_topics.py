# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the monitor offers to others: numbers for a plotter, pairs, statuses with full names, their groups."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from itertools import count

import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import Float64, Header, String
from vision_msgs.msg import Detection2DArray, LabelInfo

from ad_compressed_perception.core.results import Detections
from ad_compressed_perception.core.timing import FrameCounters, FrameTiming, NodeReport
from ad_compressed_perception.messages import detection
from ad_compressed_perception.messages import timing as timing_message
from ad_compressed_perception.messages.timing import ns_to_stamp
from ad_compressed_perception.monitor.gate import Gate, ModelInfo
from ad_compressed_perception.nodes.figure_topics import COMPARISON_FIGURES, NODE_FIGURES
from ad_compressed_perception.nodes.latency_monitor_node import LatencyMonitorNode
from ad_compressed_perception.nodes.monitor_options import MonitorOptions, TaskOptions
from ad_compressed_perception.nodes.qos import LATCHED_QOS, RESULT_QOS, TIMING_QOS
from ad_compressed_perception.report.schemas.comparison import Report
from ad_compressed_perception.report.schemas.pairs import Alarm
from support.packaging import REPOSITORY
from support.ros import Recorder

pytestmark = pytest.mark.ros
START_NS = 1_479_425_491_000_000_000
LABELS = ("car", "person")


class FakeDetector:
    """Sends what a detector sends; its results are what the test says."""

    def __init__(self, node: Node, name: str) -> None:
        self.name, self._counters = name, FrameCounters()
        self._results = node.create_publisher(Detection2DArray, f"{name}/detections", RESULT_QOS)
        self._timings = node.create_publisher(DiagnosticArray, f"{name}/timing", TIMING_QOS)
        self._labels = node.create_publisher(LabelInfo, f"{name}/label_info", LATCHED_QOS)
        self._labels.publish(detection.label_info(LABELS, Header()))
        self._info = node.create_publisher(String, f"{name}/model_info", LATCHED_QOS)

    def describe(self, gate: Gate | None) -> None:
        info = ModelInfo(model="tiny", variant="int8", task="detection", gate=gate)
        self._info.publish(String(data=info.model_dump_json()))

    def answer(self, stamp_ns: int, objects: int, infer_ms: float) -> None:
        left = np.arange(objects, dtype=np.float32) * 20
        boxes = np.stack([left, left * 0, left + 10, left * 0 + 10], axis=1)
        found = Detections(boxes, np.full(objects, 0.9, np.float32), np.zeros(objects, np.int64), LABELS)
        self._results.publish(detection.serialize(found, Header(stamp=ns_to_stamp(stamp_ns))))
        self._counters.received += 1
        self._counters.complete("processed")
        texts = ("model", "variant", "backend", "requested_provider", "provider", "precision")
        report = NodeReport(
            node=self.name,
            task="detection",
            timing=FrameTiming(stamp_ns, "processed", {"infer": infer_ms}, infer_ms + 5.0),
            received=self._counters.received,
            counts=dict(self._counters.counts),
            **dict.fromkeys(texts, "x"),
        )
        self._timings.publish(timing_message.to_message(report))


class Setting:
    """A baseline, a variant that misses both objects, and the monitor, in a namespace."""

    def __init__(self, context: object, namespace: str) -> None:
        self.recorder = Recorder(context, f"recorder{namespace.replace('/', '_')}")
        names = [f"{namespace}/{side}/detection" for side in ("baseline", "compressed")]
        self.detectors = [FakeDetector(self.recorder.node, name) for name in names]
        values = {
            "detection.baseline": names[0],
            "detection.compressed": [names[1]],
            "publish_period_s": 0.2,
            "raise_after_s": 0.2,
            "windows_s": [2.0, 10.0],
            "detection.min_pairs": 5,
        }
        self.monitor = LatencyMonitorNode(
            context=context,
            namespace=namespace or "/",
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
        )
        self._executor: SingleThreadedExecutor = self.recorder._executor
        self._executor.add_node(self.monitor)
        self._stamps = count(START_NS, 50_000_000)

    def send(self) -> None:
        stamp_ns = next(self._stamps)
        for detector, objects, infer_ms in zip(self.detectors, (2, 0), (20.0, 10.0), strict=True):
            detector.answer(stamp_ns, objects, infer_ms)

    def close(self) -> None:
        self._executor.remove_node(self.monitor)
        self.monitor.destroy_node()
        self.recorder.close()


@pytest.fixture
def setting(ros_context: object) -> Iterator[Callable[[str], Setting]]:
    settings: list[Setting] = []

    def make(namespace: str) -> Setting:
        settings.append(Setting(ros_context, namespace))
        return settings[-1]

    yield make
    for each in settings:
        each.close()


def last_value(recorder: Recorder, topic: str) -> float:
    received = recorder.received[topic]
    return float(received[-1].data) if received else math.inf


def test_figures_can_be_drawn_and_end_with_the_data(setting: Callable[[str], Setting]) -> None:
    """All objects are missed: F1 is 0; afterwards a gap (NaN) and not the old figure."""
    found = setting("/car1")
    found.detectors[1].describe(Gate(max_drop=0.1))
    recorder, head = found.recorder, "/car1/latency_monitor/figures/detection"
    topics = {name for name, kinds in recorder.node.get_topic_names_and_types() if "/figures/" in name}
    assert topics == {
        *(f"{head}/{name}/{figure}" for name in ("baseline", "compressed") for figure in NODE_FIGURES),
        *(f"{head}/compressed/{figure}" for figure in COMPARISON_FIGURES),
    }
    shown = ("agreement", "speedup_infer", "end_to_end_p50_ms", "alarm_level", "rate_hz")
    for figure in shown:
        recorder.listen(f"{head}/compressed/{figure}", Float64)
    recorder.listen("/car1/latency_monitor/summary", String, LATCHED_QOS)

    def value(figure: str) -> float:
        return last_value(recorder, f"{head}/compressed/{figure}")

    recorder.wait_for(lambda: value("alarm_level") == 2.0, found.send)
    assert value("agreement") == 0.0
    assert value("speedup_infer") == pytest.approx(2.0)
    assert value("end_to_end_p50_ms") == pytest.approx(15.0)

    def alarm_of(figure: str) -> Alarm | None:
        task = Report.parse(recorder.received["/car1/latency_monitor/summary"][-1].data).tasks["detection"]
        assert task.limits["compressed"].min_agreement == pytest.approx(0.9)
        return next((each for each in task.alarms if each.figure == figure), None)

    alarm = recorder.wait_for(lambda: alarm_of("agreement"), found.send)
    assert (alarm.level, alarm.threshold) == ("ERROR", pytest.approx(0.9))
    assert alarm.worst_stamp_ns is not None
    assert alarm.worst_stamp_ns >= START_NS
    recorder.wait_for(lambda: math.isnan(value("agreement")) and value("rate_hz") == 0.0)


def test_every_pair_is_an_event(setting: Callable[[str], Setting]) -> None:
    found = setting("/car1")
    recorder = found.recorder
    recorder.listen("/car1/latency_monitor/pairs", String)
    events = recorder.received["/car1/latency_monitor/pairs"]
    recorder.wait_for(lambda: len(events) >= 3, found.send)
    event = json.loads(events[-1].data)
    assert event["stamp_ns"] >= START_NS
    assert (event["task"], event["variant"], event["differs"]) == ("detection", "compressed", "2 car missed")
    assert event["score"] == 0.0
    assert (event["baseline_infer_ms"], event["variant_infer_ms"]) == (20.0, 10.0)
    assert (event["baseline_end_to_end_ms"], event["variant_end_to_end_ms"]) == (25.0, 15.0)


def test_the_statuses_of_two_robots_have_different_names_and_fit_the_groups_of_the_aggregator(
    setting: Callable[[str], Setting],
) -> None:
    """Failed before: both were "latency_monitor: detection", and each overwrote the other's."""
    robots = [setting("/car1"), setting("/car2")]
    recorder = robots[0].recorder
    recorder.listen("/diagnostics", DiagnosticArray)

    def statuses(robot: str) -> list[DiagnosticStatus]:
        arrays = recorder.received["/diagnostics"]
        return [each for array in arrays for each in array.status if each.name.startswith(f"/{robot}/")]

    def send() -> None:
        for robot in robots:
            robot.send()
        robots[1].recorder._executor.spin_once(timeout_sec=0.0)

    recorder.wait_for(lambda: statuses("car1") and statuses("car2"), send)
    for robot in ("car1", "car2"):
        found = {each.name: each for each in statuses(robot)}
        monitor = f"/{robot}/latency_monitor"
        assert set(found) == {
            f"{monitor}: detection",
            f"{monitor}: detection/baseline /{robot}/baseline/detection",
            f"{monitor}: detection/compressed /{robot}/compressed/detection",
            f"{monitor}: callbacks",
        }
        assert all(each.hardware_id for each in found.values())
        variant = found[f"{monitor}: detection/compressed /{robot}/compressed/detection"]
        assert variant.hardware_id == f"/{robot}/compressed/detection"
        groups = {name: group_of(name) for name in found}
        assert list(groups.values()) == [["Agreement"], ["Variants"], ["Variants"], ["Monitors"]]


def group_of(name: str) -> list[str]:
    """Return the groups of config/aggregator.yaml that a status falls into: a regex matches all its name."""
    content = yaml.safe_load((REPOSITORY / "config" / "aggregator.yaml").read_text("utf-8"))
    analyzers = [each for each in content["/**"]["ros__parameters"].values() if isinstance(each, dict)]
    assert {each["type"] for each in analyzers} == {"diagnostic_aggregator/GenericAnalyzer"}
    return [each["path"] for each in analyzers if any(re.fullmatch(rule, name) for rule in each["regex"])]


@pytest.mark.parametrize("name", ["/detection", "/compressed/planning", "/car1/front/baseline/segmentation"])
def test_the_status_of_a_node_falls_into_the_group_of_nodes(name: str) -> None:
    """A node's status has its full name: ``test_inference_node.py``."""
    assert group_of(name) == ["Nodes"]


def test_a_strangers_model_info_is_counted_and_not_used(setting: Callable[[str], Setting]) -> None:
    found = setting("/car1")
    recorder = found.recorder
    recorder.listen("/diagnostics", DiagnosticArray)
    found.detectors[1]._info.publish(String(data='{"gate": 7}'))

    def is_warned() -> bool:
        return any(
            status.level == DiagnosticStatus.WARN and "model_info: message not understood" in status.message
            for array in recorder.received["/diagnostics"]
            for status in array.status
        )

    recorder.wait_for(is_warned, found.send)


def test_every_figure_and_parameter_is_documented() -> None:
    page = (REPOSITORY / "docs" / "guides" / "monitor.md").read_text("utf-8")
    names = {*NODE_FIGURES, *COMPARISON_FIGURES, *MonitorOptions.model_fields, *TaskOptions.model_fields}
    assert not [name for name in names if f"`{name}`" not in page]


def test_a_head_of_a_model_falls_into_the_group_of_agreement() -> None:
    """Its name is that of the task and its own; the nodes' statuses are those of the task."""
    assert group_of("/latency_monitor: multi_task.drivable_area") == ["Agreement"]
    assert group_of("/latency_monitor: multi_task") == ["Agreement"]
    assert group_of("/latency_monitor: multi_task/compressed /compressed/multi_task") == ["Variants"]
    assert group_of("/compressed/multi_task") == ["Nodes"]
