# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a guarded node answers while its model fails: each frame has its result or its reason."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.parameter import Parameter

from ad_compressed_perception.core.errors import ResultError
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.nodes.guard_options import GuardOptions, chosen_limit_s
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from support.guarded_node import GUARDED, NODE, Camera, Start, state, steps
from support.models import draw_scene, write_detector
from support.ros import Recorder, as_ns, image_message
from support.scripted_backend import FAULTS, Script
from support.variants import add_variant

pytestmark = pytest.mark.ros


def test_a_fault_costs_no_frame_and_the_model_returns_after_probation(
    start: Start, recorder: Recorder, script: Script
) -> None:
    """Failed before: the frame had no result, and nobody named who answered."""
    start(**GUARDED)
    camera = Camera(recorder)
    assert camera.send().level == "primary"

    script.act = FAULTS["NaN"]
    report = camera.send()

    assert (report.timing.outcome, report.level, report.backend) == ("processed", "standby", "onnxruntime")
    recorder.wait_for(lambda: state(recorder).get("level") == "standby")
    found = state(recorder)
    assert (found["risk"], found["frames_none"], found["faults_invalid_output"]) == (
        "redundancy_lost",
        "0",
        "1",
    )
    assert found["standby_sha256"] and float(found["standby_load_ms"]) > 0.0
    assert recorder.received[f"{NODE}/availability"][-1].level == DiagnosticStatus.WARN
    script.act = lambda number, outputs: outputs
    camera.send_until(lambda: state(recorder).get("level") == "primary")
    assert camera.send().level == "primary"
    changes = [(step["before"], step["after"]) for step in steps(recorder) if step["event"] == "level"]
    assert changes == [("primary", "standby"), ("standby", "primary")]
    recorder.wait_for(lambda: len(recorder.received[f"{NODE}/detections"]) >= camera.sent)
    stamps = [as_ns(message.header.stamp) for message in recorder.received[f"{NODE}/detections"]]
    assert len(stamps) == len(set(stamps)) == camera.sent


@pytest.mark.parametrize("given", [{"frame_timeout_ms": 150.0}, {}], ids=["given", "default"])
def test_a_hang_is_answered_by_the_standby_and_the_model_is_loaded_anew(
    given: dict[str, float], start: Start, recorder: Recorder, script: Script
) -> None:
    """Failed before: no frame for five seconds; by default the hung frame had no result at all."""
    start(**GUARDED, **given)
    camera = Camera(recorder)
    camera.send()
    script.act = lambda number, outputs: script.hang(30.0) or outputs if number == 1 else outputs
    begin = time.monotonic()

    report = camera.send()

    assert (report.timing.outcome, report.level) == ("processed", "standby")
    assert time.monotonic() - begin < 20.0  # the hang lasts 30 s
    recorder.wait_for(lambda: state(recorder).get("level") == "standby")
    camera.send_until(lambda: state(recorder).get("level") == "primary")
    assert script.loads == 2
    assert camera.send().level == "primary"
    assert state(recorder)["faults_timeout"] == "1"
    assert state(recorder)["frames_none"] == "0"
    script.released.set()  # the hung thread returns, and changes nothing
    assert camera.send().timing.outcome == "processed"
    stamps = [as_ns(message.header.stamp) for message in recorder.received[f"{NODE}/detections"]]
    assert len(stamps) == len(set(stamps))


@pytest.mark.parametrize(
    ("values", "camera_rate_hz", "run_ms", "limit_s"),
    [
        ({}, 20.0, 10.0, 0.0),  # nobody answers in its place
        ({"fallback_variant": "baseline"}, 0.0, 10.0, 0.5),
        ({"fallback_variant": "baseline"}, 4.0, 10.0, 0.5),
        ({"fallback_variant": "baseline"}, 20.0, 10.0, 0.25),
        ({"fallback_variant": "baseline"}, 20.0, 300.0, 1.5),  # a slow model is no hung one
        ({"fallback_variant": "baseline"}, 20.0, float("nan"), 1.0),
        ({"hold_last_ms": 300.0, "deadline_ms": 400.0}, 20.0, 10.0, 0.4),
        ({"fallback_variant": "baseline", "frame_timeout_ms": 0.0}, 20.0, 10.0, 0.0),
        ({"fallback_variant": "baseline", "frame_timeout_ms": 40.0}, 20.0, 300.0, 0.04),
    ],
)
def test_the_time_of_a_frame_is_known_without_a_parameter(
    values: dict[str, Any], camera_rate_hz: float, run_ms: float, limit_s: float
) -> None:
    assert chosen_limit_s(GuardOptions(**values), camera_rate_hz, run_ms) == pytest.approx(limit_s)


def test_a_model_of_more_than_a_second_a_frame_has_time_for_its_first_one(
    start: Start, recorder: Recorder, script: Script
) -> None:
    """Failed before: it never answered within the second, so that its time was never known."""
    node = start(**GUARDED)
    session = node.models.primary.pipeline.session
    session.info = replace(session.info, warmup_ms=3 * 1200.0)
    script.act = lambda number, outputs: script.hang(1.2) or outputs

    assert Camera(recorder).send().level == "primary"
    assert "faults_timeout" not in node._server.guard.counters()


def test_a_model_that_is_late_once_is_kept(start: Start, recorder: Recorder, script: Script) -> None:
    """Failed before: on a computer that was busy for a moment both models were given up and loaded anew."""
    start(**GUARDED, frame_timeout_ms=150.0)
    camera = Camera(recorder)
    camera.send()
    script.act = lambda number, outputs: script.hang(0.4) or outputs if number == 1 else outputs

    assert camera.send().level == "standby"

    recorder.wait_for(lambda: state(recorder).get("level") == "standby")
    camera.send_until(lambda: state(recorder).get("level") == "primary")
    assert script.loads == 1
    assert state(recorder)["faults_timeout"] == "1"


def test_a_held_result_keeps_its_own_stamp_and_the_frame_counts_as_failed(
    start: Start, recorder: Recorder, script: Script
) -> None:
    start(hold_last_ms=10_000.0, guard_hysteresis_s=0.1)
    camera = Camera(recorder)
    first = camera.send()
    script.act = FAULTS["raises"]

    report = camera.send()

    assert (report.timing.outcome, report.level) == ("failed", "hold")
    assert "is held" in report.timing.reason and "the accelerator is gone" in report.timing.reason
    recorder.wait_for(lambda: len(recorder.received[f"{NODE}/detections"]) == 2)
    stamps = [as_ns(message.header.stamp) for message in recorder.received[f"{NODE}/detections"]]
    assert stamps == [first.timing.stamp_ns] * 2
    recorder.wait_for(lambda: state(recorder).get("risk") == "held")
    script.act = lambda number, outputs: outputs
    camera.send_until(lambda: state(recorder).get("risk") == "none")


def test_a_standby_that_hangs_is_replaced_too_and_the_node_goes_on(
    start: Start, recorder: Recorder, script: Script
) -> None:
    start(**GUARDED, fallback_backend="scripted", frame_timeout_ms=150.0)
    camera = Camera(recorder)
    camera.send()

    def act(number: int, outputs: Any) -> Any:
        if number == 1:
            raise RuntimeError("the accelerator is gone")
        return script.hang(30.0) or outputs if number == 2 else outputs

    script.act = act

    report = camera.send()

    # The primary, which has no result of the frame at first, is asked again.
    assert (report.timing.outcome, report.level) == ("processed", "primary")
    recorder.wait_for(lambda: state(recorder).get("level") == "standby")
    camera.send_until(lambda: script.loads == 3 and state(recorder).get("level") == "primary")
    assert script.loads == 3  # primary, standby, and its replacement
    assert camera.send().level == "primary"


def test_a_model_that_became_slow_gives_way_where_the_standby_is_faster(
    start: Start, recorder: Recorder, script: Script
) -> None:
    start(**GUARDED, deadline_ms=100.0)
    camera = Camera(recorder)
    camera.send()
    script.act = FAULTS["slow"]
    camera.send_until(lambda: state(recorder).get("level") == "standby")
    assert "frames missed 100 ms" in state(recorder)["reason"]
    assert state(recorder)["faults_deadline"] == "1"
    script.act = lambda number, outputs: outputs
    camera.send_until(lambda: state(recorder).get("level") == "primary")


def test_a_result_that_cannot_be_published_is_answered_by_the_standby(
    start: Start, recorder: Recorder
) -> None:
    """Failed before: the frame had no result, and no counter of the availability had it."""
    node = start(**GUARDED)
    camera = Camera(recorder)
    camera.send()
    publish, failures = node.publish_result, [ResultError("no valid command")]

    def publish_result(result: Any, header: Any) -> None:
        if failures:
            raise failures.pop()
        publish(result, header)

    node.publish_result = publish_result  # type: ignore[method-assign]

    report = camera.send()

    assert (report.timing.outcome, report.level) == ("processed", "standby")
    recorder.wait_for(lambda: state(recorder).get("faults_invalid_output") == "1")
    failures[:] = [ResultError("no odometry")] * 2  # the standby's neither: no fault of a model
    assert camera.send().timing.outcome == "failed"
    recorder.wait_for(lambda: state(recorder).get("frames_none") == "1")
    assert state(recorder)["faults_invalid_output"] == "1"


def test_an_image_that_cannot_be_decoded_is_a_frame_without_a_result(
    start: Start, recorder: Recorder
) -> None:
    """Failed before: half of the frames could be broken, and the availability named none of them."""
    start(**GUARDED)
    camera = Camera(recorder)
    camera.send()
    message = image_message(draw_scene(0), time.time_ns())
    message.encoding = "no encoding"
    camera._publisher.publish(message)

    recorder.wait_for(lambda: state(recorder).get("frames_none") == "1")

    assert state(recorder)["frames_primary"] == "1"


def test_a_hang_without_a_time_out_leaves_the_frames_to_the_standby_while_the_model_is_loaded(
    start: Start, recorder: Recorder, script: Script
) -> None:
    """Failed before: no frame was answered until the watchdog's replacement was loaded."""
    node = start(**GUARDED, watchdog_error_s=0.3, frame_timeout_ms=0.0)
    camera = Camera(recorder)
    camera.send()
    script.act = lambda number, outputs: script.hang(30.0) or outputs if number == 1 else outputs
    leave, load = Event(), node._supervised._load

    def wait_and_load() -> Any:
        assert leave.wait(30.0)
        return load()

    node._supervised._load = wait_and_load

    assert camera.send().timing.outcome == "failed"  # the hung frame
    assert [camera.send().level for _ in range(3)] == ["standby"] * 3

    recorder.wait_for(lambda: state(recorder).get("level") == "standby")
    # Failed before: frames_none was 0, and the counters did not add up to the frames.
    recorder.wait_for(lambda: state(recorder).get("frames_none") == "1")
    leave.set()
    camera.send_until(lambda: state(recorder).get("level") == "primary")
    assert camera.send().level == "primary"
    assert script.loads == 2


def test_frames_held_after_an_exchange_are_frames_without_a_result(
    start: Start, recorder: Recorder, script: Script, tmp_path: Path
) -> None:
    """Failed before: a held result of the old model passed for its answer, and the gap was 1."""
    folder = write_detector(tmp_path / "other")
    add_variant(folder, "copy")
    node = start(model=str(folder), hold_last_ms=10_000.0, swap_check_frames=0)
    recorder.listen(f"{NODE}/swap", DiagnosticArray, LATCHED_QOS)
    camera = Camera(recorder)
    camera.send()
    assert node.set_parameters_atomically([Parameter("variant", value="copy")]).successful
    script.act = FAULTS["raises"]

    assert [camera.send().level for _ in range(3)] == ["hold"] * 3
    script.act = lambda number, outputs: outputs
    assert camera.send().variant == "copy"

    def gap() -> str:
        received = recorder.received[f"{NODE}/swap"]
        values = {pair.key: pair.value for pair in received[-1].status[0].values} if received else {}
        return values.get("swap_gap_frames", "nan")

    recorder.wait_for(lambda: gap() != "nan")
    assert gap() == "3"


def test_a_slow_model_in_a_later_frame_is_not_taken_for_one_that_never_returned(
    start: Start, script: Script
) -> None:
    """Failed before: it was given up where it was in some frame at every look."""
    node = start(hold_last_ms=10_000.0, frame_timeout_ms=60_000.0)
    model, frame = node.models.primary, Frame(draw_scene(1), "BGR", 1)
    assert model is not None
    model.run(frame)
    begun = Event()
    script.act = lambda number, outputs: begun.set() or script.hang(30.0) or outputs
    thread = Thread(target=model.run, args=(frame,))
    thread.start()
    assert begun.wait(30)
    earlier = model.run_number - 1
    node.guard._late.append((model, earlier, time.monotonic() - 1000.0))

    node.guard._watch_late(time.monotonic())

    assert node.models.primary is model
    script.released.set()
    thread.join()


def test_another_model_takes_the_place_of_one_that_hung_and_cannot_be_loaded_again(
    start: Start, recorder: Recorder, script: Script, tmp_path: Path
) -> None:
    """Failed before: every exchange was refused, since the model "is being replaced"."""
    folder = write_detector(tmp_path / "other")
    add_variant(folder, "copy")
    add_variant(folder, "spare", backend="onnxruntime")
    node = start(model=str(folder), **GUARDED | {"fallback_variant": "spare"})
    camera = Camera(recorder)
    camera.send()
    (folder / "fp32.onnx").unlink()
    script.act = lambda number, outputs: script.hang(30.0) or outputs

    assert camera.send().level == "standby"
    camera.send_until(lambda: "cannot be loaded" in node._supervised._problem)
    script.act = lambda number, outputs: outputs
    result = node.set_parameters_atomically([Parameter("variant", value="copy")])

    assert result.successful, result.reason
    camera.send_until(lambda: state(recorder).get("level") == "primary")
    assert camera.send().variant == "copy"


def test_a_model_that_returned_just_when_it_was_late_is_kept_at_the_end(start: Start) -> None:
    """Failed before: it was closed, as if it had not returned."""
    node = start(**GUARDED)
    primary = node.models.primary
    assert primary is not None
    node.guard._active_s = None  # the watch's thread looks no more
    node.guard._late.append((primary, 0, time.monotonic()))

    node.trigger_deactivate()

    assert node.models.primary is primary
