# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The node for several heads over the wire: one inference a frame, each head on topics of its own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray, LabelInfo

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.messages import detection
from ad_compressed_perception.messages.timing import reports_of
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_compressed_perception.serving.candidate_check import Checked, check_candidate
from ad_compressed_perception.serving.recent_frames import RecentFrame
from ad_compressed_perception.serving.served_model import ModelRequest, ServedModel, open_model
from support.models import DETECTOR_LABELS, SEGMENTER_LABELS, draw_scene
from support.ros import Recorder, as_ns, image_message, node_process
from support.several_heads import HEADS, write_two_heads

pytestmark = pytest.mark.ros
NODE = "/multi_task"


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


def test_each_head_is_published_and_settings_are_live(tmp_path: Path, recorder: Recorder) -> None:
    model = write_two_heads(tmp_path / "model")
    camera = recorder.node.create_publisher(Image, "/image", 1)
    for topic, kind, qos in (
        ("objects/detections", Detection2DArray, 100),
        ("surface/mask", Image, 100),
        ("timing", DiagnosticArray, 100),
        ("objects/label_info", LabelInfo, LATCHED_QOS),
        ("surface/label_info", LabelInfo, LATCHED_QOS),
        ("overlay", Image, 100),
    ):
        recorder.listen(f"{NODE}/{topic}", kind, qos)
    detections, masks = (recorder.received[f"{NODE}/{one}"] for one in ("objects/detections", "surface/mask"))
    timings, stamps = recorder.received[f"{NODE}/timing"], count(1_000_000_000)

    def send() -> None:
        camera.publish(image_message(draw_scene(0), next(stamps), "front"))

    arguments = ["-p", f"model:={model}", "-p", "timing_period_s:=0.0", "-p", "hold_last_ms:=500.0"]
    with node_process("multi_task_node", *arguments, log=tmp_path / "log") as node:
        recorder.wait_for(lambda: len(masks) >= 5 and recorder.received[f"{NODE}/overlay"], send)
        recorder.wait_for(lambda: len(timings) >= len(masks))
        assert {d.results[0].hypothesis.class_id for d in detections[-1].detections} == {"car", "sign"}
        assert masks[-1].encoding == "mono8"
        assert (masks[-1].width, masks[-1].height) == (128, 96)
        assert masks[-1].data[20 * 128 + 20] == SEGMENTER_LABELS.index("blue")
        assert masks[-1].header.frame_id == detections[-1].header.frame_id == "front"
        assert {as_ns(one.header.stamp) for one in masks} >= {as_ns(detections[0].header.stamp)}
        for head, labels in (("objects", DETECTOR_LABELS), ("surface", SEGMENTER_LABELS)):
            (info,) = recorder.wait_for(lambda name=head: recorder.received[f"{NODE}/{name}/label_info"])
            assert list(detection.labels_of(info)) == labels
        reports = [report for message in timings for report in reports_of(message)]
        processed = [report.timing.stamp_ns for report in reports if report.timing.outcome == "processed"]
        assert len(processed) == len(set(processed))  # one message a frame, not one a head
        assert {report.task for report in reports} == {"multi_task"}

        def set_heads(text: str) -> tuple[bool, str]:
            value = ParameterValue(type=4, string_value=text)
            request = SetParameters.Request(parameters=[Parameter(name="head_settings", value=value)])
            (result,) = recorder.call(SetParameters, f"{NODE}/set_parameters", request).results
            return result.successful, result.reason

        assert set_heads("{lanes: {score_threshold: 1.0}}") == (
            False,
            "head_settings: model 'two_heads' has no head 'lanes'; it has: objects, surface",
        )
        assert not set_heads("[1, 2]")[0]
        assert set_heads("{objects: {score_threshold: 1.0}}") == (True, "")
        recorder.wait_for(lambda: not detections[-1].detections, send)
        assert node.stop() == 0
        assert "Traceback" not in node.log


def test_a_candidate_with_other_heads_is_refused(tmp_path: Path) -> None:
    """A swap compares head by head; other heads would leave topics without results."""
    old = open_model(ModelRequest(str(write_two_heads(tmp_path / "old"))), "multi_task")
    new = open_model(ModelRequest(str(write_two_heads(tmp_path / "new"))), "multi_task")
    found = check_candidate(new, old, [], settings=None, before=lambda pipeline, stamp_ns: None)
    assert "noise" in found.note
    import yaml

    path = tmp_path / "new" / "model.yaml"
    data = yaml.safe_load(path.read_text())
    data["outputs"] = {"lanes": HEADS["surface"]}
    path.write_text(yaml.safe_dump(data))
    other = open_model(ModelRequest(str(tmp_path / "new")), "multi_task")
    with pytest.raises(AdcpError, match=r"has the heads lanes \(segmentation\), the running two_heads has"):
        check_candidate(other, old, [], settings=None, before=lambda pipeline, stamp_ns: None)


def test_a_swap_compares_head_by_head(tmp_path: Path) -> None:
    """The new model's boxes are the same, its masks are background everywhere: that head is named."""
    import onnx
    import yaml

    from ad_compressed_perception.core.manifest import file_sha256

    old = open_model(ModelRequest(str(write_two_heads(tmp_path / "old"))), "multi_task")
    folder = write_two_heads(tmp_path / "new")
    model = onnx.load(folder / "fp32.onnx")
    bias = next(one for one in model.graph.initializer if one.name == "mask_b")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.float32([1e4, 0, 0, 0]), "mask_b"))
    onnx.save(model, folder / "fp32.onnx")
    data = yaml.safe_load((folder / "model.yaml").read_text())
    data["variants"]["fp32"]["sha256"] = file_sha256(folder / "fp32.onnx")
    (folder / "model.yaml").write_text(yaml.safe_dump(data))
    new = open_model(ModelRequest(str(folder)), "multi_task")
    frames = [Frame(draw_scene(index), "BGR", index + 1) for index in range(6)]
    answered = [RecentFrame(one, one.stamp_ns, old.run(one)[0], old.identity) for one in frames]

    def check(candidate: ServedModel) -> Checked:
        return check_candidate(
            candidate, old, answered, settings=None, before=lambda pipeline, stamp_ns: None, least=0.9
        )

    assert check(old).agreement == 1.0
    with pytest.raises(AdcpError, match="head surface: it agrees with the running model by"):
        check(new)
