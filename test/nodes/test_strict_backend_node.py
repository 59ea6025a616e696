# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``strict_backend`` on a real node: a runtime that falls back is refused, and otherwise named on topics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.parameter import Parameter
from std_msgs.msg import String

from ad_compressed_perception.monitor.gate import parse_model_info
from ad_compressed_perception.nodes.detection_node import DetectionNode
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from support.models import write_detector
from support.ros import Recorder

pytestmark = pytest.mark.ros
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@pytest.fixture
def recorder(ros_context: Any) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    listener.listen("/detection/model_info", String, LATCHED_QOS)
    listener.listen("/diagnostics", DiagnosticArray)
    yield listener
    listener.close()


@pytest.fixture
def start(ros_context: Any, tmp_path: Path) -> Iterator[Any]:
    made: list[DetectionNode] = []

    def make(**values: Any) -> bool:
        values = {"model": str(tmp_path / "model"), "diagnostics_period_s": 0.2, **values}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        made.append(DetectionNode(context=ros_context, parameter_overrides=overrides))
        return made[-1].autostart()

    write_detector(tmp_path / "model")
    yield make
    for node in made:
        node.close()
        node.destroy_node()


def texts(recorder: Recorder) -> str:
    return " ".join(
        status.message for message in recorder.received["/diagnostics"] for status in message.status
    )


def needs_no_cuda() -> None:
    import onnxruntime

    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this build of ONNX Runtime has CUDA")


def test_a_fallback_to_the_cpu_is_published_with_what_was_asked_for(start: Any, recorder: Recorder) -> None:
    needs_no_cuda()
    assert start(backend_options=["provider=cuda"])
    info = parse_model_info(recorder.wait_for(lambda: recorder.received["/detection/model_info"])[-1].data)
    assert (info.backend, info.requested_provider, info.provider) == ("onnxruntime", CUDA, CPU)
    assert info.precision == "fp32"
    recorder.wait_for(lambda: f"runs on {CPU}, asked for {CUDA}" in texts(recorder))


def test_strict_refuses_the_same_node(start: Any, recorder: Recorder) -> None:
    needs_no_cuda()
    assert not start(backend_options=["provider=cuda"], strict_backend=True)
    recorder.wait_for(lambda: f"{CUDA} was asked for in strict mode" in texts(recorder))
    assert not recorder.received["/detection/model_info"]


@pytest.mark.parametrize(("stated", "starts"), [("fp32", True), ("int8", False), (None, True)])
def test_strict_refuses_another_precision_than_the_manifest_states(
    start: Any, recorder: Recorder, tmp_path: Path, stated: str | None, starts: bool
) -> None:
    """A variant judged in int8 that this processor's runtime computes in float."""
    path = tmp_path / "model" / "model.yaml"
    data = yaml.safe_load(path.read_text())
    data["variants"]["fp32"].pop("precision", None)
    if stated is not None:
        data["variants"]["fp32"]["precision"] = stated
    path.write_text(yaml.safe_dump(data))
    assert start(strict_backend=True) is starts
    if not starts:
        recorder.wait_for(lambda: "runs the model in fp32 here, its manifest says int8" in texts(recorder))
