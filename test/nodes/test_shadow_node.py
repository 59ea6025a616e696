# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A shadow in a node: its results and figures, its faults, and a primary that none of them touches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Path as PathMessage
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2DArray

from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.messages.timing import reports_of
from ad_compressed_perception.monitor.gate import parse_model_info
from ad_compressed_perception.nodes import running_shadow, shadow_part
from ad_compressed_perception.nodes.detection_node import DetectionNode
from ad_compressed_perception.nodes.inference_node import InferenceNode
from ad_compressed_perception.nodes.planning_node import PlanningNode
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_compressed_perception.nodes.segmentation_node import SegmentationNode
from ad_compressed_perception.nodes.shadow_part import ShadowPart
from ad_compressed_perception.serving.served_model import open_model
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.models import WRITERS, draw_scene
from support.ros import PATIENCE_S, Recorder, image_message

pytestmark = pytest.mark.ros
STAMP_NS = 1_479_425_491_191_381_351
EVERY = {"shadow_schedule": "every_nth", "shadow_every_nth": 1}
NODES: dict[str, type[InferenceNode]] = {
    "detection": DetectionNode,
    "planning": PlanningNode,
    "segmentation": SegmentationNode,
}


@pytest.fixture(autouse=True)
def _figures_come_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_part, "_FIGURES_PERIOD_S", 0.2)


@pytest.fixture
def recorder(ros_context: Any) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


class Car:
    """A node in this process, and its frames."""

    def __init__(self, node: InferenceNode, recorder: Recorder) -> None:
        self.node, self.recorder = node, recorder
        self.sent = 0
        name = node.get_fully_qualified_name()
        self.figures_topic = f"{name}/shadow/figures"
        recorder.listen(self.figures_topic, DiagnosticArray, LATCHED_QOS)

    @property
    def part(self) -> ShadowPart:
        return next(part for part in self.node.parts if isinstance(part, ShadowPart))

    @property
    def running(self) -> Any:
        return self.part._running

    def wait_for_shadow(self) -> None:
        wait_until(lambda: self.running is not None)

    def answered(self) -> int:
        worker = self.node._supervised.worker
        assert worker is not None
        return worker.counters().counts["processed"]

    def drive(self, frames: int, *, waits: bool = True) -> None:
        """Send frames, each when the one before is answered; ``waits``: by the shadow, too."""
        for _ in range(frames):
            message = image_message(draw_scene(self.sent % 4), STAMP_NS + self.sent, "front")
            self.sent += 1
            self.node._frames.on_image(serialize_message(message), {}, 0.0)
            wait_until(lambda: self.answered() == self.sent)
            running = self.running
            if waits and running is not None:
                wait_until(lambda runner=running.runner: runner.is_idle or runner.is_closed)

    def figures(self, condition: Callable[[dict[str, str]], object]) -> dict[str, str]:
        """Return the first published figures that meet a condition."""

        def last() -> dict[str, str]:
            messages = self.recorder.received[self.figures_topic]
            found = {v.key: v.value for v in messages[-1].status[0].values} if messages else {}
            return found if found and condition(found) else {}

        found: dict[str, str] = self.recorder.wait_for(last)
        return found


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture
def start(ros_context: Any, recorder: Recorder, tmp_path: Path) -> Iterator[Callable[..., Car]]:
    made: list[InferenceNode] = []

    def make(task: str = "detection", **values: Any) -> Car:
        folder = WRITERS[task](tmp_path / task)
        values = {"model": str(folder), "timing_period_s": 0.0, "shadow_variant": "fp32"} | values
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        made.append(NODES[task](context=ros_context, parameter_overrides=overrides))
        assert made[-1].autostart()
        return Car(made[-1], recorder)

    yield make
    for node in made:
        node.close()
        node.destroy_node()


def other_detector(folder: Path) -> str:
    """Return a detector of other labels' order: it never agrees with the one of the node."""
    model = WRITERS["detection"](folder)
    manifest = load_manifest(model)
    save_manifest(manifest.model_copy(update={"labels": ["sign", "car", "person"], "name": "other"}), model)
    return str(model)


def test_a_shadow_answers_the_same_frames_on_its_own_topics(start: Any, recorder: Recorder) -> None:
    recorder.listen("/detection/shadow/detections", Detection2DArray)
    recorder.listen("/detection/detections", Detection2DArray)
    recorder.listen("/detection/shadow/timing", DiagnosticArray)
    recorder.listen("/detection/shadow/model_info", String, LATCHED_QOS)
    car = start(**EVERY)
    car.wait_for_shadow()
    mine, shadow = (
        recorder.received["/detection/detections"],
        recorder.received["/detection/shadow/detections"],
    )

    def both() -> list[tuple[Detection2DArray, Detection2DArray]]:
        return [(a, b) for a in mine for b in shadow if a.header == b.header]

    first, last = recorder.wait_for(both, lambda: car.drive(1))[-1]
    assert first == last
    assert last.header.frame_id == "front"
    timings = recorder.received["/detection/shadow/timing"]
    report = reports_of(recorder.wait_for(lambda: timings)[-1])[-1]
    assert (report.node, report.variant, report.timing.outcome) == ("/detection/shadow", "fp32", "processed")
    assert {"prepare", "infer", "post", "publish"} <= set(report.timing.stages_ms)
    infos = recorder.wait_for(lambda: recorder.received["/detection/shadow/model_info"])
    assert parse_model_info(infos[-1].data).variant == "fp32", "for a monitor that takes it for a node"
    car.drive(10)
    figures = car.figures(lambda found: int(found["window_compared"]) >= 10)
    assert float(figures["agreement"]) == float(figures["agreement_high"]) == 1.0
    assert float(figures["agreement_low"]) <= 1.0
    assert figures["sha256"] == car.running.model.identity.sha256
    assert car.part.agreement().estimate.score == 1.0
    assert car.part.values()["shadow"] == "tiny_detector/fp32"


def test_a_planner_in_the_shadow_publishes_no_command_of_the_vehicle(start: Any, recorder: Recorder) -> None:
    for prefix in ("/planning", "/planning/shadow"):
        recorder.listen(f"{prefix}/trajectory", PathMessage)
        recorder.listen(f"{prefix}/command", TwistStamped)
    car = start("planning", **EVERY)
    car.wait_for_shadow()
    node: Any = car.node
    commands = recorder.received["/planning/shadow/command"]
    recorder.wait_for(lambda: commands, lambda: car.drive(1))
    for topic in ("trajectory", "command"):
        mine = recorder.received[f"/planning/{topic}"]
        recorder.wait_for(lambda messages=mine: messages)
        stamps = [(each.header.stamp.sec, each.header.stamp.nanosec) for each in mine]
        assert len(stamps) == len(set(stamps)) <= car.sent, f"{topic}: one a frame, the primary's"
    primary, shadow = node.models.primary, node.models.shadow
    assert shadow.pipeline.task is not primary.pipeline.task
    assert car.running._topics is not node._results


def test_a_mask_is_compared_as_the_monitor_does(start: Any) -> None:
    car = start("segmentation", **EVERY)
    car.wait_for_shadow()
    car.drive(8)
    figures = car.figures(lambda found: int(found["window_compared"]) >= 6)
    assert float(figures["agreement"]) == 1.0
    assert int(figures["window_informative"]) > 0


def test_a_shadow_that_sees_other_objects_does_not_agree(start: Any, tmp_path: Path) -> None:
    car = start(shadow_model=other_detector(tmp_path / "other"), shadow_variant="", **EVERY)
    car.wait_for_shadow()
    car.drive(12)
    figures = car.figures(lambda found: int(found["window_compared"]) >= 10)
    assert float(figures["agreement"]) < 0.2
    assert float(figures["agreement_high"]) < 0.7


def raising(feeds: Any) -> Any:
    raise RuntimeError("the accelerator\nis gone")


def ending(feeds: Any) -> Any:
    raise SystemExit(3)


@pytest.mark.parametrize("fault", [raising, ending, "nan", "shape"], ids=["raises", "ends", "nan", "shape"])
def test_a_failing_shadow_is_reported_and_the_primary_goes_on(fault: Any, start: Any) -> None:
    car = start(**EVERY)
    car.wait_for_shadow()
    session = car.running.model.pipeline.session
    infer = session.infer
    changed: dict[str, Callable[[Any], Any]] = {
        "nan": lambda feeds: {name: each * np.nan for name, each in infer(feeds).items()},
        "shape": lambda feeds: {name: each[:, :-1] for name, each in infer(feeds).items()},
    }
    session.infer = changed.get(fault, fault) if isinstance(fault, str) else fault
    car.drive(8)
    wait_until(lambda: car.part.agreement().failed >= 4)
    figures = car.figures(lambda found: int(found["window_failed"]) >= 4)
    assert float(figures["agreement"]) == 0.0, "a shadow that answers nothing agrees in nothing"
    assert figures["last_failure"]
    [(level, line)] = car.part.problems()
    assert level.name == "WARN" and "failed on" in line
    assert car.answered() == car.sent


def test_a_hanging_shadow_is_given_up_and_the_primary_never_waits(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of a hang is 0.5 s here; with a primary that waited, a frame would take as long."""
    monkeypatch.setattr(shadow_part, "HANG_S", 0.5)
    car = start(**EVERY)
    car.wait_for_shadow()
    gate, running = Event(), car.running
    running.model.pipeline.session.infer = lambda feeds: gate.wait(PATIENCE_S)
    try:
        car.drive(20, waits=False)
        assert running.runner.busy_s(time.monotonic()) > 0.0 or running.is_given_up, "and still hangs"
        wait_until(lambda: running.is_given_up)
        assert running._schedule.busy >= 1, "frames of its turn were left out, and counted"
        [(_, line)] = car.part.problems()
        assert "given up" in line
        wait_until(lambda: car.node.models.shadow is None)
        car.drive(5)
        assert car.answered() == car.sent
    finally:
        gate.set()
    car.node.set_parameters([Parameter("shadow_backend", value="onnxruntime")])
    wait_until(lambda: car.running not in (None, running))
    assert not car.part.problems()


def test_the_primary_waits_for_a_hanging_shadow_once_where_they_alternate(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_shadow, "WAIT_LIMIT_S", 0.3)
    car = start(shadow_schedule="alternating")
    car.wait_for_shadow()
    gate, running = Event(), car.running
    running.model.pipeline.session.infer = lambda feeds: gate.wait(PATIENCE_S)
    try:
        car.drive(6)
        assert running.is_given_up
        assert car.answered() == 6
    finally:
        gate.set()


def test_alternating_runs_both_on_every_frame_in_turn(start: Any) -> None:
    car = start(shadow_schedule="off")
    car.wait_for_shadow()
    order: list[str] = []
    models = car.node.models
    for name, model in (("primary", models.primary), ("shadow", models.shadow)):
        session = model.pipeline.session
        infer = session.infer

        def noting(feeds: Any, name: str = name, infer: Any = infer) -> Any:
            order.append(name)
            return infer(feeds)

        session.infer = noting
    car.drive(2)
    assert order == ["primary"] * 2, "off: the shadow is loaded and runs on nothing"
    car.node.set_parameters([Parameter("shadow_schedule", value="alternating")])
    order.clear()
    car.drive(4)
    wait_until(lambda: len(order) == 8)
    assert order == ["primary", "shadow", "shadow", "primary"] * 2
    figures = car.figures(lambda found: found["compared"] == "4")
    assert float(figures["speedup_infer_paired_p50"]) > 0.0
    assert figures["window_frames"] == "4"
    assert figures["agreement_low"] == figures["agreement"] == "1", "all frames were compared: no doubt"


def test_a_shadow_that_cannot_be_loaded_is_a_warning(start: Any) -> None:
    car = start(shadow_variant="int3")
    wait_until(car.part.problems)
    [(level, line)] = car.part.problems()
    assert level.name == "WARN" and "int3" in line
    car.drive(3)
    car.node.set_parameters([Parameter("shadow_variant", value="fp32")])
    car.wait_for_shadow()
    assert not car.part.problems()
    car.node.set_parameters([Parameter("shadow_variant", value="")])
    assert car.running is None and car.node.models.shadow is None


def test_a_promoted_shadow_is_let_go_and_stays_open(start: Any) -> None:
    """Another primary has its own agreement: pairs with the one before do not count for it."""
    car = start(**EVERY)
    car.wait_for_shadow()
    car.drive(3)
    models, shadow = car.node.models, car.running.model
    models.shadow = None
    models.exchange(shadow)
    car.drive(3)
    wait_until(lambda: car.running is None)
    car.drive(3)
    assert car.answered() == 9
    assert car.part.agreement().estimate.frames == 0


def test_the_node_says_what_its_shadow_costs(start: Any) -> None:
    car = start(shadow_cost_blocks=10, **EVERY)
    car.wait_for_shadow()
    car.drive(100)
    figures = car.figures(lambda found: found.get("cost_rounds") == "5")
    assert figures["cost_frames"] == str(5 * 2 * 9)
    for key in ("p50", "p99"):
        low, ratio, high = (float(figures[f"cost_{key}_ratio{end}"]) for end in ("_low", "", "_high"))
        assert 0.0 < low <= ratio <= high or low == high
    assert 40 <= int(figures["compared"]) + int(figures["skipped_busy"]) + int(figures["failed"]) <= 50
    assert figures["skipped_block_without_shadow"] == "50"


def test_every_frame_is_in_one_counter(start: Any) -> None:
    car = start(shadow_max_rate_hz=1000.0)
    car.wait_for_shadow()
    car.drive(60)
    wait_until(lambda: car.running.runner.is_idle)
    figures = car.figures(lambda found: int(found["window_frames"]) == 60)
    counted = ("compared", "failed", "waiting", "skipped_not_chosen", "skipped_busy", "skipped_without_time")
    assert sum(int(figures[key]) for key in counted) == 60


def test_images_and_deactivation_leave_nothing_waiting(start: Any, recorder: Recorder) -> None:
    """Through the camera's topic, and two activations with one shadow."""
    car = start(**EVERY)
    car.wait_for_shadow()
    camera = recorder.node.create_publisher(Image, "/image", 1)
    running = car.running
    message = image_message(draw_scene(0), STAMP_NS)
    recorder.wait_for(lambda: running._counters.counts["processed"] > 1, lambda: camera.publish(message))
    assert car.node.trigger_deactivate().name == "SUCCESS"
    assert car.node.trigger_activate().name == "SUCCESS"
    assert car.running is running
    assert car.node.trigger_deactivate().name == "SUCCESS"
    assert car.node.trigger_cleanup().name == "SUCCESS"
    assert car.running is None
    with pytest.raises(Exception, match="closed"):
        running.model.run(np.zeros(1))


def test_a_shadow_is_promoted_by_service_and_its_parameter_is_free_for_another(
    start: Any, recorder: Recorder
) -> None:
    """Failed before: shadow_variant named a shadow that was none any more."""
    car = start(**EVERY)
    recorder._executor.add_node(car.node)
    car.wait_for_shadow()
    car.drive(10)
    shadow = car.running.model
    answer = recorder.call(Trigger, "/detection/promote", Trigger.Request())
    assert answer.success, answer.message
    assert car.node.models.primary is shadow
    wait_until(lambda: car.running is None)
    car.drive(3)
    assert car.answered() == car.sent
    assert car.node.get_parameter("shadow_variant").value == ""
    car.node.set_parameters([Parameter("shadow_variant", value="fp32")])
    car.wait_for_shadow()
    assert car.running.model is not shadow


def test_a_shadow_that_is_promoted_just_before_it_would_be_given_up_stays_open(start: Any) -> None:
    """Failed before: it was closed as the primary, and no frame had a result any more."""
    car = start(**EVERY)
    car.wait_for_shadow()
    running, models = car.running, car.node.models
    models.promote_shadow(running.model)

    running.give_up("has been at one frame for 11 s")

    car.drive(3)
    assert models.primary is running.model
    assert car.answered() == car.sent


def test_a_frame_for_which_the_shadow_ran_first_has_its_whole_time(start: Any) -> None:
    """Failed before: the time of the shadow was the primary's, and a slow one a time-out of that."""
    car = start(
        shadow_schedule="alternating",
        fallback_variant="baseline",
        frame_timeout_ms=600.0,
        watchdog_error_s=60.0,
    )
    car.wait_for_shadow()
    session = car.running.model.pipeline.session
    infer = session.infer

    def slow(feeds: Any) -> Any:
        time.sleep(0.8)
        return infer(feeds)

    session.infer = slow
    car.drive(4)
    assert car.node._server.guard.counters()["frames_primary"] == 4
    assert "faults_timeout" not in car.node._server.guard.counters()


def test_a_shadow_that_is_refused_as_primary_stays_a_shadow(
    start: Any, recorder: Recorder, tmp_path: Path
) -> None:
    other = other_detector(tmp_path / "other")
    car = start(shadow_model=other, shadow_variant="", swap_min_agreement=0.9, **EVERY)
    recorder._executor.add_node(car.node)
    car.wait_for_shadow()
    car.drive(10)
    primary, running = car.node.models.primary, car.running
    answer = recorder.call(Trigger, "/detection/promote", Trigger.Request())
    assert not answer.success
    assert car.node.models.primary is primary and car.node.models.shadow is running.model
    before = running._counters.counts["processed"]
    car.drive(5)
    wait_until(lambda: running._counters.counts["processed"] > before)
    assert car.answered() == car.sent


def test_parameters_of_the_shadow_changed_at_random_lose_no_frame_and_leave_no_thread(start: Any) -> None:
    """60 changes, some of them refused or to a variant that does not exist, with frames in between."""
    car = start(shadow_variant="")
    car.drive(2)
    random = Random(7)
    choices: dict[str, tuple[Any, ...]] = {
        "shadow_variant": ("", "fp32", "int3"),
        "shadow_backend": ("", "onnxruntime", "no_such"),
        "shadow_schedule": ("off", "slack", "every_nth", "alternating", "sometimes"),
        "shadow_every_nth": (1, 3, 0),
        "shadow_max_rate_hz": (0.5, 1000.0),
        "shadow_cost_blocks": (0, 2, 5),
        "score_threshold": (0.3, 0.6),
    }
    for _ in range(60):
        name = random.choice(sorted(choices))
        car.node.set_parameters([Parameter(name, value=random.choice(choices[name]))])
        car.drive(random.randrange(3), waits=False)
        if random.random() < 0.3:
            time.sleep(0.02)
    car.node.set_parameters([Parameter("shadow_variant", value="fp32")])
    car.node.set_parameters([Parameter("shadow_backend", value="")])
    car.node.set_parameters([Parameter("shadow_schedule", value="every_nth")])
    car.node.set_parameters([Parameter("shadow_every_nth", value=1)])
    car.wait_for_shadow()
    car.drive(10)
    figures = car.figures(lambda found: found["variant"] == "fp32" and found["failed"] == "0")
    assert figures["schedule"] == "every_nth"
    assert car.answered() == car.sent
    wait_until(lambda: sum(each.name == "adcp-shadow" for each in threading.enumerate()) == 1)


def test_figures_of_a_shadow_end_with_it_and_those_of_both_models_with_the_primary(start: Any) -> None:
    """Failed before: the latched figures of a shadow that was gone, and the speed of a primary that was."""
    car = start(**EVERY)
    car.wait_for_shadow()
    car.drive(4)
    assert car.figures(lambda found: found["speedup_frames"] == "4")
    models = car.node.models
    other = open_model(replace(models.primary.request, variant="fp32", backend="onnxruntime"), "detection")
    other.identity = replace(other.identity, variant="another one")
    models.exchange(other)
    car.drive(2)
    assert car.figures(lambda found: found["speedup_frames"] == "2")

    car.node.set_parameters([Parameter("shadow_variant", value="")])

    def last() -> Any:
        return car.recorder.received[car.figures_topic][-1].status[0]

    car.recorder.wait_for(lambda: last().level == DiagnosticStatus.STALE)
    assert not last().values
