# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which model of a guarded node answers, who decides it, and which settings are refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.parameter import Parameter
from std_msgs.msg import Empty
from std_srvs.srv import Trigger

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_compressed_perception.nodes.standby import MOST_REPLACEMENTS
from support.guarded_node import GUARDED, NODE, Camera, Start, state
from support.models import draw_scene, write_detector, write_segmenter
from support.ros import Recorder
from support.scripted_backend import FAULTS, Script
from support.variants import GATE, add_variant

pytestmark = pytest.mark.ros


def test_a_fallback_that_was_just_loaded_is_none_after_a_cleanup(start: Start) -> None:
    """Failed before: it came to be the next configuration's, whatever the parameters then named."""
    node = start(**GUARDED)
    loaded, leave = Event(), Event()
    settings_for = node.guard._standby._settings_for

    def wait(pipeline: Any) -> Any:
        loaded.set()
        assert leave.wait(30.0)
        return settings_for(pipeline)

    node.guard._standby._settings_for = wait
    standby = node.models.standby
    assert standby is not None
    node.guard._give_up(standby, "it did not return")
    assert loaded.wait(30.0)
    ending = Thread(target=lambda: (node.trigger_deactivate(), node.trigger_cleanup()))
    ending.start()
    time.sleep(0.3)  # time in which the transitions could overtake the watch
    leave.set()
    ending.join(30.0)

    time.sleep(0.3)

    assert not ending.is_alive()
    assert node.models.take_all() == []


def test_a_model_returns_although_its_fallback_was_given_up_for_good(
    start: Start, recorder: Recorder, script: Script
) -> None:
    """Failed before: nothing ran beside a fallback that was gone, and one fault was for ever."""
    node = start(**GUARDED)
    camera = Camera(recorder)
    camera.send()
    node.guard._standby._lost = MOST_REPLACEMENTS
    standby = node.models.standby
    assert standby is not None
    node.guard._give_up(standby, "it did not return")
    recorder.wait_for(lambda: node._server.is_alone)
    script.act = FAULTS["NaN"]
    assert camera.send().timing.outcome == "failed"
    recorder.wait_for(lambda: state(recorder).get("level") not in ("primary", None))
    script.act = lambda number, outputs: outputs

    camera.send_until(lambda: state(recorder).get("level") == "primary")

    assert camera.send().level == "primary"
    assert state(recorder)["risk"] == "redundancy_lost"
    assert "standby_sha256" not in state(recorder)  # failed before: it was named as if it were loaded


def test_heartbeats_that_end_bring_the_standby(start: Start, recorder: Recorder, script: Script) -> None:
    node = start(**GUARDED)
    recorder._executor.add_node(node)
    camera = Camera(recorder)
    camera.send()
    node.set_parameters([Parameter("heartbeat_timeout_s", value=0.5)])
    camera.send_until(lambda: state(recorder).get("level") == "standby")
    assert state(recorder)["reason"].startswith("heartbeat: none for 0.5 s")
    beat = recorder.node.create_publisher(Empty, f"{NODE}/heartbeat", 10)

    def returned() -> bool:
        beat.publish(Empty())
        return state(recorder).get("level") == "primary"

    camera.send_until(returned)


def test_somebody_chooses_the_level_and_availability_says_so(
    start: Start, recorder: Recorder, script: Script
) -> None:
    node = start(**GUARDED)
    camera = Camera(recorder)
    camera.send()
    assert node.set_parameters([Parameter("guard_level", value="standby")])[0].successful
    assert camera.send().level == "standby"
    assert node.set_parameters([Parameter("guard_level", value="stop")])[0].successful
    assert camera.send().timing.outcome == "failed"
    recorder.wait_for(lambda: state(recorder).get("level") == "stop")
    assert (state(recorder)["guard_level"], state(recorder)["risk"]) == ("stop", "no_result")
    refused = node.set_parameters([Parameter("guard_level", value="sideways")])[0]
    assert not refused.successful and "guard_level" in refused.reason
    refused = node.set_parameters([Parameter("fallback_variant", value="")])[0]
    assert not refused.successful and "takes effect at configure" in refused.reason
    node.set_parameters([Parameter("guard_level", value="auto")])
    camera.send_until(lambda: state(recorder).get("risk") == "none")
    node.trigger_deactivate()
    recorder.wait_for(lambda: recorder.received[f"{NODE}/availability"][-1].message == "not active")
    assert recorder.received[f"{NODE}/availability"][-1].level == DiagnosticStatus.ERROR


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"fallback_variant": "int9"}, "fallback: .*int9"),
        ({"fallback_model": "/nowhere"}, "fallback: .*nowhere"),
    ],
)
def test_a_standby_that_cannot_be_loaded_refuses_the_configuration(
    values: dict[str, Any], words: str, start: Start
) -> None:
    node = start(**values)
    with pytest.raises(AdcpError, match=words):
        node.configure()


def test_a_standby_of_other_labels_is_refused(start: Start, tmp_path: Path) -> None:
    other = write_segmenter(tmp_path / "other")
    with pytest.raises(AdcpError, match="fallback: .*segmentation"):
        start(fallback_model=str(other)).configure()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"guard_level": "standby"}, "guard_level standby needs fallback_variant"),
        ({"frame_timeout_ms": 100.0}, "frame_timeout_ms needs"),
        ({"heartbeat_timeout_s": 1.0}, "heartbeat_timeout_s needs"),
        ({"fallback_backend": "openvino"}, "fallback_backend needs"),
    ],
)
def test_parameters_that_would_do_nothing_are_refused(
    values: dict[str, Any], words: str, start: Start
) -> None:
    with pytest.raises(AdcpError, match=words):
        start(**values)


def test_a_setting_in_one_request_with_a_new_model_is_kept(start: Start, tmp_path: Path) -> None:
    """Failed before: the request succeeded, and the value was that of the manifest again."""
    folder = write_detector(tmp_path / "other")
    add_variant(folder, "copy")
    node = start(model=str(folder), swap_check_frames=0)
    request = [Parameter("variant", value="copy"), Parameter("score_threshold", value=0.81)]

    assert node.set_parameters_atomically(request).successful

    assert node.get_parameter("variant").value == "copy"
    assert node.get_parameter("score_threshold").value == 0.81
    assert node._own_parameters.settings.score_threshold == 0.81


def test_a_standby_of_another_model_has_the_settings_of_its_own_manifest(
    start: Start, tmp_path: Path
) -> None:
    """Failed before: a threshold that was calibrated for the primary decided what the standby published."""
    other = write_detector(tmp_path / "other")
    data = yaml.safe_load((other / "model.yaml").read_text())
    data["output"].setdefault("settings", {})["score_threshold"] = 0.77
    (other / "model.yaml").write_text(yaml.safe_dump(data))
    node = start(**GUARDED, fallback_model=str(other))
    standby, frame = node.models.standby, Frame(draw_scene(1), "BGR", 1)
    assert standby is not None

    standby.run(frame, node._own_parameters.settings)
    assert standby.pipeline.task.settings.score_threshold == 0.77

    node.set_parameters_atomically([Parameter("score_threshold", value=0.6)])  # somebody's word is for all
    standby.run(frame, node._own_parameters.settings)
    assert standby.pipeline.task.settings.score_threshold == 0.6


def test_a_standby_that_is_the_model_itself_is_no_redundancy(start: Start, recorder: Recorder) -> None:
    """Failed before: risk none, and every wrong result confirmed by the same model."""
    start(**GUARDED, backend="onnxruntime")
    camera = Camera(recorder)

    camera.send()

    recorder.wait_for(lambda: state(recorder).get("frames_primary") == "1")
    assert state(recorder)["risk"] == "redundancy_lost"
    assert "same runtime" in recorder.received[f"{NODE}/availability"][-1].message


def test_a_swap_away_from_a_model_that_the_guard_left_is_compared_with_the_standby(
    start: Start, recorder: Recorder, tmp_path: Path
) -> None:
    """Failed before: a good candidate was refused because it disagrees with the bad model."""

    def with_classes(*rows: int) -> Callable[[Any], Any]:
        return lambda values: values[[0, 1, 2, 3, 4, *rows]] if len(values) == 8 else values

    model = write_detector(tmp_path / "bad")
    add_variant(model, "wrong", with_classes(6, 7, 5), provenance=GATE)  # other labels, else as the standby
    add_variant(model, "good", lambda values: values * 1.0001, provenance=GATE)
    add_variant(model, "worse", with_classes(7, 5, 6), provenance=GATE)
    node = start(**GUARDED, model=str(model), variant="wrong")
    recorder.listen(f"{NODE}/swap", DiagnosticArray, LATCHED_QOS)
    camera = Camera(recorder)
    for _ in range(8):
        assert camera.send().variant == "wrong"
    refused = node.set_parameters([Parameter("variant", value="good")])[0]
    assert "agrees with the running model by 0.000" in refused.reason  # while the guard trusts it
    node.set_parameters([Parameter("guard_level", value="standby")])
    for _ in range(8):
        assert camera.send().level == "standby"

    # What disagrees with the standby, too, is still refused.
    assert "by 0.000" in node.set_parameters([Parameter("variant", value="worse")])[0].reason
    assert node.set_parameters([Parameter("variant", value="good")])[0].successful

    def figures() -> dict[str, str]:
        return {pair.key: pair.value for pair in recorder.received[f"{NODE}/swap"][-1].status[0].values}

    recorder.wait_for(lambda: recorder.received[f"{NODE}/swap"] and figures()["outcome"] == "swapped")
    assert (figures()["checked_frames"], float(figures()["agreement"])) == ("8", 1.0)
    assert "not compared with the running model (guard_level standby)" in figures()["note"]


def test_every_refused_exchange_is_counted(start: Start, recorder: Recorder) -> None:
    """Failed before: those that were refused before they began were not."""
    node = start()
    promotion = node._swap._on_promote(Trigger.Request(), Trigger.Response())
    with pytest.raises(StopIteration):
        promotion.send(None)
    node._swap._on_rollback(Trigger.Request(), Trigger.Response())

    assert node._swap.values() == {"swaps": "0", "swaps_refused": "2"}
