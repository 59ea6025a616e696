# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The nodes as processes with real topics, and their errors."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Path as PathMessage
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray, LabelInfo

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.timing import COMPUTE_STAGES, OUTCOMES
from ad_compressed_perception.messages import detection
from ad_compressed_perception.messages.timing import from_message
from ad_compressed_perception.nodes.detection_node import DetectionNode
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from support.models import WRITERS, draw_scene, write_detector, write_segmenter
from support.ros import Recorder, as_ns, image_message, jpeg_message, node_process

pytestmark = pytest.mark.ros
# A day in 2016: the bags' stamps are old, and every node must accept that.
STAMP_NS = 1_479_425_491_191_381_351


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


def counters_add_up(recorder: Recorder, topic: str) -> bool:
    report = from_message(recorder.received[topic][-1])
    return report.received == sum(report.counts.values())


def test_a_frame_becomes_detections_under_its_own_header(tmp_path: Path, recorder: Recorder) -> None:
    model = write_detector(tmp_path / "model")
    publisher = recorder.node.create_publisher(Image, "/front/image", 1)
    recorder.listen("/front/detection/detections", Detection2DArray)
    recorder.listen("/front/detection/timing", DiagnosticArray)
    recorder.listen("/front/detection/label_info", LabelInfo, LATCHED_QOS)
    recorder.listen("/diagnostics", DiagnosticArray)
    arguments = ["-r", "__ns:=/front", "-p", f"model:={model}", "-p", "diagnostics_period_s:=0.2"]
    with node_process("detection_node", *arguments, log=tmp_path / "log") as node:
        message = image_message(draw_scene(0), STAMP_NS, "front_optical")
        recorder.wait_for(
            lambda: recorder.received["/front/detection/timing"], lambda: publisher.publish(message)
        )
        result = recorder.wait_for(lambda: recorder.received["/front/detection/detections"])[-1]
        assert result.header == message.header
        assert {d.results[0].hypothesis.class_id for d in result.detections} == {"car", "sign"}
        report = from_message(recorder.received["/front/detection/timing"][-1])
        assert report.timing.stamp_ns == STAMP_NS
        assert set(COMPUTE_STAGES) <= set(report.timing.stages_ms)
        assert (report.node, report.variant, report.provider) == (
            "/front/detection", "fp32", "CPUExecutionProvider",
        )  # fmt: skip
        assert counters_add_up(recorder, "/front/detection/timing")
        labels = recorder.wait_for(lambda: recorder.received["/front/detection/label_info"])[-1]
        assert detection.labels_of(labels) == ("car", "person", "sign")

        def running() -> list[DiagnosticStatus]:
            statuses = [message.status[0] for message in recorder.received["/diagnostics"]]
            return [
                s for s in statuses if any(v.key == "infer_ms_p50" and v.value != "nan" for v in s.values)
            ]

        status = recorder.wait_for(running)[-1]
        assert status.name == "/front/detection"
        assert {v.key for v in status.values} >= {"received", "precision", *OUTCOMES}
        assert node.stop(signal.SIGTERM) == 0
        assert "Traceback" not in node.log


@pytest.mark.parametrize(
    ("transport", "topic"), [("compressed", "/image/compressed"), ("compressed_on_image", "/image")]
)
def test_a_broken_image_fails_the_frame_and_the_next_one_is_processed(
    transport: str, topic: str, tmp_path: Path, recorder: Recorder
) -> None:
    model = write_segmenter(tmp_path / "model")
    publisher = recorder.node.create_publisher(CompressedImage, topic, 1)
    recorder.listen("/segmentation/mask", Image)
    recorder.listen("/segmentation/timing", DiagnosticArray)
    arguments = ["-p", f"model:={model}", "-p", f"transport:={transport}"]
    with node_process("segmentation_node", *arguments, log=tmp_path / "log") as node:
        broken = jpeg_message(draw_scene(0), STAMP_NS)
        broken.data = broken.data[: len(broken.data) // 2]
        timings = recorder.received["/segmentation/timing"]
        recorder.wait_for(lambda: timings, lambda: publisher.publish(broken))
        report = from_message(timings[-1])
        assert report.timing.outcome == "failed"
        assert topic in report.timing.reason
        good = jpeg_message(draw_scene(0), STAMP_NS + 1)
        masks = recorder.received["/segmentation/mask"]
        recorder.wait_for(lambda: masks, lambda: publisher.publish(good))
        assert masks[-1].header == good.header
        assert (masks[-1].height, masks[-1].width) == (96, 128)
        recorder.wait_for(lambda: counters_add_up(recorder, "/segmentation/timing"))
        assert node.stop() == 0


def test_settings_change_live_and_invalid_values_are_refused_with_a_reason(
    tmp_path: Path, recorder: Recorder
) -> None:
    model = write_detector(tmp_path / "model")
    publisher = recorder.node.create_publisher(Image, "/image", 1)
    recorder.listen("/detection/detections", Detection2DArray)
    results = recorder.received["/detection/detections"]

    def set_parameter(name: str, **value: object) -> object:
        request = SetParameters.Request(parameters=[Parameter(name=name, value=ParameterValue(**value))])
        return recorder.call(SetParameters, "/detection/set_parameters", request).results[0]

    with node_process("detection_node", "-p", f"model:={model}", log=tmp_path / "log"):
        message = image_message(draw_scene(0), STAMP_NS)
        recorder.wait_for(lambda: results, lambda: publisher.publish(message))
        assert results[-1].detections
        assert set_parameter("max_detections", type=2, integer_value=1).successful
        recorder.wait_for(lambda: len(results[-1].detections) == 1, lambda: publisher.publish(message))
        refused = set_parameter("score_threshold", type=3, double_value=1.5)
        assert not refused.successful
        assert "1.5" in refused.reason
        refused = set_parameter("transport", type=4, string_value="compressed")
        assert not refused.successful
        assert "configure" in refused.reason
        names = ["score_threshold", "transport", "model"]
        described = recorder.call(
            DescribeParameters, "/detection/describe_parameters", DescribeParameters.Request(names=names)
        ).descriptors
        assert all(d.description for d in described)
        assert described[0].floating_point_range[0].to_value == 1.0
        assert "compressed" in described[1].additional_constraints


def test_a_lifecycle_manager_can_stop_start_and_reload_it(tmp_path: Path, recorder: Recorder) -> None:
    model = write_detector(tmp_path / "model")
    publisher = recorder.node.create_publisher(Image, "/image", 1)
    recorder.listen("/detection/timing", DiagnosticArray)

    def change(transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(recorder.call(ChangeState, "/detection/change_state", request).success)

    def state() -> str:
        return recorder.call(GetState, "/detection/get_state", GetState.Request()).current_state.label

    arguments = ["-p", f"model:={model}", "-p", "autostart:=false"]
    with node_process("detection_node", *arguments, log=tmp_path / "log") as node:
        assert state() == "unconfigured"
        for round_number in range(2):
            assert change(Transition.TRANSITION_CONFIGURE)
            assert change(Transition.TRANSITION_ACTIVATE)
            assert state() == "active"
            message = image_message(draw_scene(0), STAMP_NS + round_number)
            recorder.wait_for(
                lambda stamp=STAMP_NS + round_number: any(
                    as_ns(timing.header.stamp) == stamp for timing in recorder.received["/detection/timing"]
                ),
                lambda image=message: publisher.publish(image),
            )
            assert change(Transition.TRANSITION_DEACTIVATE)
            assert change(Transition.TRANSITION_CLEANUP)
        assert state() == "unconfigured"
        assert node.stop() == 0
        assert "Traceback" not in node.log


def break_file(model: Path) -> None:
    (model / "fp32.onnx").write_bytes(b"not a model")
    rehash(model)


def rehash(model: Path) -> None:
    from ad_compressed_perception.core.manifest import file_sha256

    data = yaml.safe_load((model / "model.yaml").read_text())
    data["variants"]["fp32"]["sha256"] = file_sha256(model / "fp32.onnx")
    (model / "model.yaml").write_text(yaml.safe_dump(data))


def reject(model: Path) -> None:
    data = yaml.safe_load((model / "model.yaml").read_text())
    data["variants"]["fp32"]["verdict"] = {"status": "rejected", "reasons": ["drop 0.25 > 0.05"]}
    (model / "model.yaml").write_text(yaml.safe_dump(data))


def move_outside(model: Path) -> None:
    (model / "fp32.onnx").rename(model.parent / "elsewhere.onnx")
    (model / "fp32.onnx").symlink_to(model.parent / "elsewhere.onnx")


@pytest.mark.parametrize(
    ("damage", "arguments", "named"),
    [
        (break_file, [], "fp32.onnx"),
        (lambda model: (model / "fp32.onnx").unlink(), [], "missing"),
        (lambda model: (model / "fp32.onnx").open("ab").write(b"x"), [], "sha256"),
        (lambda model: (model / "model.yaml").unlink(), [], "model.yaml"),
        (reject, [], "drop 0.25 > 0.05"),
        (move_outside, [], "allow_outside"),
        (None, ["-p", "transport:=zip"], "transport"),
        (None, ["-p", "variant:=int4"], "int4"),
        (None, ["-p", "backend:=abacus"], "abacus"),
        (None, ["-p", 'backend_options:=["color=red"]'], "color"),
        (None, ["-p", "score_threshold:=high"], "score_threshold"),
        (None, ["-p", "max_detections:=0"], "max_detections"),
    ],
    ids=[
        "corrupt", "missing", "hash", "no manifest", "rejected", "outside", "choice", "variant", "backend",
        "backend option", "type", "range",
    ],
)  # fmt: skip
def test_a_node_that_cannot_run_logs_one_line_and_exits_1(
    tmp_path: Path, damage: object, arguments: list[str], named: str
) -> None:
    model = write_detector(tmp_path / "model")
    if callable(damage):
        damage(model)
    with node_process("detection_node", "-p", f"model:={model}", *arguments, log=tmp_path / "log") as node:
        assert node.wait() == 1
        lines = [line for line in node.log.splitlines() if line.strip()]
        assert len(lines) == 1, node.log
        assert named in lines[0]


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    model = write_segmenter(tmp_path / "model")
    with node_process("detection_node", "-p", f"model:={model}", log=tmp_path / "log") as node:
        assert node.wait() == 1
        assert "is for task 'segmentation', not 'detection'" in node.log
        assert "Traceback" not in node.log


def test_a_rejected_variant_loads_with_allow_rejected(tmp_path: Path, recorder: Recorder) -> None:
    model = write_detector(tmp_path / "model")
    reject(model)
    arguments = ["-p", f"model:={model}", "-p", "allow_rejected:=true"]
    with node_process("detection_node", *arguments, log=tmp_path / "log") as node:
        state = recorder.call(GetState, "/detection/get_state", GetState.Request()).current_state
        assert state.label in ("configuring", "activating", "active", "unconfigured", "inactive")
        recorder.wait_for(lambda: "loaded in" in node.log)
        assert node.stop() == 0


def test_a_node_with_a_public_key_runs_what_was_signed_and_nothing_else(
    tmp_path: Path, recorder: Recorder
) -> None:
    pytest.importorskip("cryptography", reason="the extra [signature] is not installed")
    from ad_compressed_perception.workspace.sign import make_keys, sign_model

    model, public = write_detector(tmp_path / "model"), make_keys(tmp_path / "key.pem")
    sign_model(model, tmp_path / "key.pem")
    move_outside(model)
    arguments = ["-p", f"model:={model}", "-p", f"public_key:={public}", "-p", "allow_outside:=true"]
    with node_process("detection_node", *arguments, log=tmp_path / "log") as node:
        recorder.wait_for(lambda: "loaded in" in node.log)
        assert node.stop() == 0
    reject(model)
    with node_process("detection_node", *arguments, log=tmp_path / "log") as node:
        assert node.wait() == 1
        lines = [line for line in node.log.splitlines() if "configure refused" in line]
        assert len(lines) == 1
        assert "sign again" in lines[0]


def test_an_overlay_is_published_to_subscribers(tmp_path: Path, recorder: Recorder) -> None:
    model = write_detector(tmp_path / "model")
    publisher = recorder.node.create_publisher(Image, "/image", 1)
    recorder.listen("/detection/overlay", Image)
    with node_process("detection_node", "-p", f"model:={model}", log=tmp_path / "log"):
        message = image_message(draw_scene(0), STAMP_NS)
        overlays = recorder.received["/detection/overlay"]
        recorder.wait_for(lambda: overlays, lambda: publisher.publish(message))
        assert overlays[-1].header == message.header
        assert (overlays[-1].encoding, overlays[-1].step) == ("bgr8", 3 * 128)
        assert overlays[-1].data != message.data  # something was drawn


def test_an_incompatible_publisher_is_named_with_its_policy(tmp_path: Path, recorder: Recorder) -> None:
    model = write_detector(tmp_path / "model")
    profile = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    recorder.node.create_publisher(Image, "/image", profile)
    recorder.listen("/diagnostics", DiagnosticArray)
    arguments = [
        "-p", f"model:={model}", "-p", "qos_reliability:=reliable",
        "-p", "diagnostics_period_s:=0.2",
    ]  # fmt: skip
    with node_process("detection_node", *arguments, log=tmp_path / "log"):
        status = recorder.wait_for(
            lambda: [
                message.status[0]
                for message in recorder.received["/diagnostics"]
                if "reliability" in message.status[0].message
            ]
        )[-1]
        assert status.level == DiagnosticStatus.ERROR
        assert "/image" in status.message


def test_a_topic_nobody_publishes_is_reported_on_diagnostics(tmp_path: Path, recorder: Recorder) -> None:
    model = write_detector(tmp_path / "model")
    recorder.listen("/diagnostics", DiagnosticArray)
    arguments = ["-p", f"model:={model}", "-p", "diagnostics_period_s:=0.2"]
    with node_process("detection_node", *arguments, log=tmp_path / "log"):
        recorder.wait_for(
            lambda: [
                message
                for message in recorder.received["/diagnostics"]
                if "nobody publishes /image" in message.status[0].message
            ]
        )


def test_simulated_time_without_a_clock_is_reported_and_frames_are_processed(
    tmp_path: Path, recorder: Recorder
) -> None:
    model = write_detector(tmp_path / "model")
    publisher = recorder.node.create_publisher(Image, "/image", 1)
    recorder.listen("/diagnostics", DiagnosticArray)
    recorder.listen("/detection/timing", DiagnosticArray)
    arguments = ["-p", f"model:={model}", "-p", "use_sim_time:=true", "-p", "diagnostics_period_s:=0.2"]
    with node_process("detection_node", *arguments, log=tmp_path / "log"):
        message = image_message(draw_scene(0), STAMP_NS)
        timings = recorder.received["/detection/timing"]
        recorder.wait_for(lambda: timings, lambda: publisher.publish(message))
        timing = from_message(timings[-1]).timing
        assert timing.outcome == "processed"
        assert "transport_age" not in timing.stages_ms  # no clock, no age
        recorder.wait_for(
            lambda: [m for m in recorder.received["/diagnostics"] if "/clock" in m.status[0].message]
        )


def test_compose_runs_all_tasks_in_one_process_from_one_file(tmp_path: Path, recorder: Recorder) -> None:
    tasks = ("detection", "segmentation", "planning")
    parameters: dict[str, object] = {
        "/compose": {"ros__parameters": {"nodes": [f"{t}_node:/car/{t}" for t in tasks]}}
    }
    for task in tasks:
        model = str(WRITERS[task](tmp_path / task))
        parameters[f"/car/{task}"] = {"ros__parameters": {"model": model}}
        recorder.listen(f"/car/{task}/timing", DiagnosticArray)
    recorder.listen("/car/planning/trajectory", PathMessage)
    recorder.listen("/car/planning/command", TwistStamped)
    (tmp_path / "parameters.yaml").write_text(yaml.safe_dump(parameters))
    publisher = recorder.node.create_publisher(Image, "/car/image", 1)
    arguments = ["--params-file", str(tmp_path / "parameters.yaml")]
    with node_process("compose", *arguments, log=tmp_path / "log") as node:
        message = image_message(draw_scene(0), STAMP_NS)
        recorder.wait_for(
            lambda: (
                all(recorder.received[f"/car/{task}/timing"] for task in tasks)
                and recorder.received["/car/planning/trajectory"]
                and recorder.received["/car/planning/command"]
            ),
            lambda: publisher.publish(message),
        )
        path = recorder.received["/car/planning/trajectory"][-1]
        assert path.header.frame_id == "base_link"
        assert path.header.stamp == message.header.stamp
        assert len(path.poses) == 20
        assert recorder.received["/car/planning/command"][-1].twist.linear.x == 10.0
        assert node.stop() == 0
        assert "Traceback" not in node.log


@pytest.mark.parametrize(
    ("entries", "named"),
    [([], "empty"), (["robot_node:/a"], "robot_node"), (["detection_node"], "namespace/name")],
)
def test_compose_names_a_wrong_entry(tmp_path: Path, entries: list[str], named: str) -> None:
    parameters = {"/compose": {"ros__parameters": {"nodes": entries}}} if entries else {}
    arguments = []
    if parameters:
        (tmp_path / "parameters.yaml").write_text(yaml.safe_dump(parameters))
        arguments = ["--params-file", str(tmp_path / "parameters.yaml")]
    with node_process("compose", *arguments, log=tmp_path / "log") as node:
        assert node.wait() == 1
        assert named in node.log
        assert "Traceback" not in node.log


def test_a_node_that_refused_its_parameters_can_be_destroyed(ros_context: object) -> None:
    """Failed before: on Kilted the end of a context destroys its nodes; this one had no watching thread."""
    made = []

    class Refusing(DetectionNode):
        def declare_task_parameters(self) -> None:
            made.append(self)
            raise AdcpError("on purpose")

    with pytest.raises(AdcpError, match="on purpose"):
        Refusing(context=ros_context)
    made[0].destroy_node()
