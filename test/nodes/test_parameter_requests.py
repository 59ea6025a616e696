# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Setting parameters: a value that is there already is no change, another one is applied or refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.bags import road_frames, write_bag
from support.models import write_detector, write_planner
from support.ros import Recorder, node_process

rclpy = pytest.importorskip("rclpy")
from rcl_interfaces.msg import Parameter, ParameterValue, SetParametersResult  # noqa: E402
from rcl_interfaces.srv import (  # noqa: E402
    GetParameters,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)

from ad_compressed_perception.nodes.detection_node import DetectionNode  # noqa: E402

pytestmark = pytest.mark.ros
TEXT, DOUBLE, BOOLEANS = 4, 3, 6


@pytest.fixture
def recorder(ros_context: Any) -> Iterator[Recorder]:
    recorder = Recorder(ros_context)
    yield recorder
    recorder.close()


def dump(recorder: Recorder, node: str) -> list[Parameter]:
    """Return all parameters of a node as ``ros2 param dump`` and ``load`` pass them on.

    The type of an empty array is lost on that way: it is loaded as one of booleans.
    """
    listed = recorder.call(ListParameters, f"{node}/list_parameters", ListParameters.Request()).result.names
    request = GetParameters.Request(names=listed)
    values = recorder.call(GetParameters, f"{node}/get_parameters", request).values
    for value in values:
        arrays = (value.string_array_value, value.double_array_value, value.integer_array_value)
        if value.type > BOOLEANS and not any(len(array) for array in arrays):
            value.type = BOOLEANS
    return [Parameter(name=name, value=value) for name, value in zip(listed, values, strict=True)]


def failures(recorder: Recorder, node: str, given: list[Parameter]) -> dict[str, str]:
    request = SetParameters.Request(parameters=given)
    results = recorder.call(SetParameters, f"{node}/set_parameters", request).results
    return {
        one.name: result.reason for one, result in zip(given, results, strict=True) if not result.successful
    }


def test_every_node_takes_its_own_parameters_again(tmp_path: Path, recorder: Recorder) -> None:
    """Failed before: parameters of configure and of the start, rclpy's read-only one, and empty arrays."""
    nodes = {
        "/detection": {"model": str(write_detector(tmp_path / "detector"))},
        "/planning": {"model": str(write_planner(tmp_path / "planner"))},
        "/latency_monitor": {"detection.baseline": "/detection"},
        "/road_camera": {"width": 64, "height": 32, "rate_hz": 0.5},
    }
    composed = {"/compose": {"nodes": [f"{name[1:]}_node:{name}" for name in nodes]}}
    file = tmp_path / "parameters.yaml"
    sections = {name: {"ros__parameters": values} for name, values in {**nodes, **composed}.items()}
    file.write_text(yaml.safe_dump(sections))

    with node_process("compose", "--params-file", str(file), log=tmp_path / "log") as process:
        recorder.meet(*nodes)
        for node in nodes:
            given = dump(recorder, node)
            assert len(given) > 10
            assert failures(recorder, node, given) == {}, node
            request = SetParametersAtomically.Request(parameters=given)
            answer = recorder.call(SetParametersAtomically, f"{node}/set_parameters_atomically", request)
            assert answer.result.successful, node
        # Another value than the present one is refused with the reason.
        for node, name, reason in (
            ("/detection", "transport", "takes effect at configure"),
            ("/detection", "model", "no model at dusk"),
            ("/detection", "autostart", "read once, at the node's start"),
            ("/planning", "use_odometry", "takes effect at configure"),
            ("/latency_monitor", "report_path", "at the monitor's start"),
            ("/road_camera", "weather", "at the camera's start"),
        ):
            value = ParameterValue(type=TEXT, string_value="dusk")
            if name in ("autostart", "use_odometry"):
                value = ParameterValue(type=1, bool_value=False)
            assert reason in failures(recorder, node, [Parameter(name=name, value=value)])[name]
        assert process.stop() == 0


def test_the_player_refuses_what_it_reads_once(tmp_path: Path, recorder: Recorder) -> None:
    """Failed before: another rate was taken without a word, and had no effect."""
    bag = write_bag(tmp_path / "drive", road_frames(2))

    with node_process(
        "bag_player", "-p", f"bag:={bag}", "-p", "wait_for_subscribers:=9", log=tmp_path / "log"
    ):
        assert failures(recorder, "/bag_player", dump(recorder, "/bag_player")) == {}
        faster = Parameter(name="rate", value=ParameterValue(type=DOUBLE, double_value=2.0))
        assert "at the player's start" in failures(recorder, "/bag_player", [faster])["rate"]


def test_a_value_takes_effect_only_once_it_is_set(ros_context: Any) -> None:
    """Failed before: it took effect while it was proposed, also where another callback then refused it."""
    node = DetectionNode(context=ros_context)
    try:
        refusal = SetParametersResult(successful=False, reason="a test refuses all")
        # rclpy calls the newest callback first: this one is to be asked last.
        node._on_set_parameters_callbacks.append(lambda changed: refusal)
        proposed = rclpy.Parameter("min_rate_hz", value=7.0)

        assert not node.set_parameters([proposed])[0].successful
        assert node._own_parameters.health.min_rate_hz == 0.0
        node._on_set_parameters_callbacks.pop()
        assert node.set_parameters([proposed])[0].successful
        assert node._own_parameters.health.min_rate_hz == 7.0
    finally:
        node.destroy_node()
