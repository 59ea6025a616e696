# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Two classification nodes and their monitor in one process: messages, settings, comparison, drawings."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

import yaml
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from vision_msgs.msg import Classification, LabelInfo

from ad_compressed_perception.messages.timing import from_message
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_compressed_perception.report.schemas.agreement import ClassificationFigures
from ad_compressed_perception.report.schemas.comparison import Report
from ad_compressed_perception.report.schemas.pairs import ComparisonWindow
from ad_compressed_perception.watch.view import score_text
from support.classifiers import LABELS, draw_color, write_classifier
from support.ros import Recorder, image_message, node_process

pytestmark = pytest.mark.ros
BASELINE, COMPRESSED = "/baseline/classification", "/compressed/classification"


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


def test_classes_are_published_compared_and_drawn(tmp_path: Path, recorder: Recorder) -> None:
    """The compressed one always says brown: of ten labels in turn it has one right."""
    nodes = [f"classification_node:{name}" for name in (BASELINE, COMPRESSED)]
    models = {
        BASELINE: write_classifier(tmp_path / "baseline"),
        COMPRESSED: write_classifier(tmp_path / "compressed", bias_of={"brown": 500.0}),
    }
    monitor = {"classification.baseline": BASELINE, "classification.compressed": [COMPRESSED]}
    parameters = {
        "/compose": {"ros__parameters": {"nodes": [*nodes, "latency_monitor_node:/latency_monitor"]}},
        "/latency_monitor": {
            "ros__parameters": {
                **monitor,
                "publish_period_s": 0.2,
                "pair_timeout_s": 10.0,
                "image_topic": "/image",
            }
        },
        **{
            name: {"ros__parameters": {"model": str(model), "top_k": 3, "keep_when_busy": "ranked"}}
            for name, model in models.items()
        },
    }
    (tmp_path / "parameters.yaml").write_text(yaml.safe_dump(parameters))
    camera = recorder.node.create_publisher(Image, "/image", 1)
    recorder.listen(f"{BASELINE}/classification", Classification)
    recorder.listen(f"{BASELINE}/label_info", LabelInfo, LATCHED_QOS)
    recorder.listen(f"{BASELINE}/timing", DiagnosticArray)
    recorder.listen(f"{BASELINE}/overlay", Image)
    recorder.listen("/latency_monitor/side_by_side/compressed", CompressedImage)
    recorder.listen("/latency_monitor/summary", String, LATCHED_QOS)
    places = count()

    def send() -> None:
        index = next(places)
        camera.publish(image_message(draw_color(index, 160, 120), 1_000_000_000 + index, "front"))

    def pairs() -> int:
        summaries = recorder.received["/latency_monitor/summary"]
        return (
            Report.parse(summaries[-1].data).tasks["classification"].comparison["compressed"].pairs
            if summaries
            else 0
        )

    remap = ["-r", "image:=/image", "--params-file", str(tmp_path / "parameters.yaml")]
    with node_process("compose", *remap, log=tmp_path / "log") as process:
        recorder.wait_for(lambda: pairs() >= 20, send)
        shown = recorder.received["/latency_monitor/side_by_side/compressed"]
        recorder.wait_for(lambda: shown and recorder.received[f"{BASELINE}/overlay"], send)

        for message in recorder.received[f"{BASELINE}/classification"]:
            index = message.header.stamp.nanosec
            assert message.header.frame_id == "front"
            assert message.results[0].class_id == LABELS[index % 10]
            scores = [one.score for one in message.results]
            assert len(scores) == 3
            assert scores == sorted(scores, reverse=True)
        (labels,) = recorder.received[f"{BASELINE}/label_info"]
        assert [one.class_name for one in labels.class_map] == LABELS
        timing = from_message(recorder.received[f"{BASELINE}/timing"][-1])
        assert (timing.task, timing.timing.outcome) == ("classification", "processed")
        found = Report.parse(recorder.received["/latency_monitor/summary"][-1].data)
        comparison = found.tasks["classification"].comparison["compressed"]
        figures = comparison.agreement
        assert isinstance(figures, ClassificationFigures)
        assert figures.top1 == figures.per_class["brown"].both / comparison.pairs < 0.3
        (window, *_) = comparison.windows.values()
        assert isinstance(window, ComparisonWindow)
        assert score_text(window) == f"top-1 {window.score:.3f}"
        drawn = cv2.imdecode(np.frombuffer(bytes(shown[-1].data), np.uint8), cv2.IMREAD_COLOR)
        assert drawn.shape[1] > 3 * 480

        # A live setting: from now on nothing is sure enough.
        values = ParameterValue(type=3, double_value=1.0)
        request = SetParameters.Request(parameters=[Parameter(name="score_threshold", value=values)])
        answer = recorder.call(SetParameters, f"{BASELINE}/set_parameters", request)
        assert answer.results[0].successful
        published = recorder.received[f"{BASELINE}/classification"]
        recorder.wait_for(lambda: len(published[-1].results) == 0, send)
        assert process.stop() == 0
        assert "Traceback" not in process.log
