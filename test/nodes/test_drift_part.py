# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Drift alarms of a node over the wire; the node is in the test's process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.drift.reference import DriftReference
from ad_compressed_perception.nodes.camera_parts import CameraParts
from ad_compressed_perception.nodes.drift_part import DriftPart
from ad_compressed_perception.nodes.expected_changes import expected_changes
from ad_compressed_perception.nodes.planning_node import PlanningNode
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_compressed_perception.serving.served_model import ModelRequest, open_model
from ad_compressed_perception.workspace.save_manifest import save_manifest
from ad_compressed_perception.workspace.store_references import store_references
from support.drift import PERIOD_NS, START_NS, driving_image, learn
from support.models import write_planner
from support.replay import add_variant
from support.ros import Recorder, image_message

pytestmark = pytest.mark.ros
View = Callable[[int], NDArray[np.uint8]]
USUAL_FRAMES = 60
"""15 s of the drive."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> DriftReference:
    return learn(write_planner(tmp_path_factory.mktemp("model") / "model"))


@pytest.fixture
def model(tmp_path: Path, reference: DriftReference) -> Path:
    folder = write_planner(tmp_path / "model")
    assert store_references(folder, {"fp32": reference}) == ["fp32"]
    return folder


class Car:
    """A planning node, its camera and who listens to it."""

    def __init__(self, context: Any, recorder: Recorder, model: Path, **values: Any) -> None:
        overrides = [
            Parameter(name, value=value)
            for name, value in ({"model": str(model), "qos_reliability": "reliable"} | values).items()
        ]
        self.recorder = recorder
        recorder.listen("/planning/drift", DiagnosticArray, LATCHED_QOS)
        recorder.listen("/diagnostics", DiagnosticArray)
        self.node = PlanningNode(context=context, parameter_overrides=overrides)
        of_cameras = next(part for part in self.node.parts if isinstance(part, CameraParts))
        self.part: DriftPart = of_cameras.parts[""]
        assert self.node.autostart()
        self._camera = recorder.node.create_publisher(Image, "/image", 10)
        recorder.wait_for(self._camera.get_subscription_count)
        recorder.wait_for(lambda: recorder.received["/planning/drift"])
        self._index = 0

    @property
    def measured(self) -> int:
        return int(self.part.values().get("drift_measured", -1))

    def drive(self, view: View, until: Callable[[], object], most: int = 400) -> None:
        """Publish images, each when the one before was compared, until a condition is true."""
        for _ in range(most):
            if until():
                return
            before = self.measured
            stamp_ns = START_NS + self._index * PERIOD_NS
            self._camera.publish(image_message(view(self._index), stamp_ns))
            self._index += 1
            self.recorder.wait_for(lambda before=before: self.measured != before)
        assert until(), self.messages()

    def jump(self, frames: int) -> None:
        """Go on at another stamp."""
        self._index += frames

    def messages(self) -> dict[str, str]:
        """Return kind of alarm to its line in the last message on ~/drift."""
        last = self.recorder.received["/planning/drift"][-1]
        return {status.name.rpartition(" ")[2]: status.message for status in last.status}

    def kinds(self) -> set[str]:
        """Return the kinds that the last message on ~/drift alarms."""
        last = self.recorder.received["/planning/drift"][-1]
        return {status.name.rpartition(" ")[2] for status in last.status if status.level != b"\0"}


@pytest.fixture
def start(ros_context: Any) -> Iterator[Callable[..., Car]]:
    cars: list[Car] = []
    recorder = Recorder(ros_context)

    def make(model: Path, **values: Any) -> Car:
        cars.append(Car(ros_context, recorder, model, diagnostics_period_s=0.1, **values))
        return cars[-1]

    yield make
    for car in cars:
        car.node.close()
        car.node.destroy_node()
    recorder.close()


def frozen(index: int) -> NDArray[np.uint8]:
    return driving_image(0)


def larger(index: int) -> NDArray[np.uint8]:
    return np.repeat(np.repeat(driving_image(index), 2, axis=0), 2, axis=1)


@pytest.mark.parametrize(
    ("view", "kind", "words"),
    [
        (frozen, "camera", "the camera changed"),
        (larger, "camera", "the camera changed"),
    ],
)
def test_what_changed_is_named_on_the_topic_and_in_the_diagnostics(
    start: Callable[..., Car], model: Path, view: View, kind: str, words: str
) -> None:
    car = start(model)
    car.drive(driving_image, lambda: car.measured >= USUAL_FRAMES)
    assert car.part.active_alarms() == ()

    car.drive(view, lambda: kind in car.kinds())

    assert car.messages()[kind].startswith(words)
    diagnosed = car.recorder.received["/diagnostics"]
    car.recorder.wait_for(lambda: words in diagnosed[-1].status[0].message)
    status = next(one for one in car.recorder.received["/planning/drift"][-1].status if kind in one.name)
    figures = {one.key: one.value for one in status.values}
    assert float(figures["statistic"]) >= float(figures["threshold"])
    assert float(figures["since_stamp_s"]) > START_NS * 1e-9
    assert figures["sha256"] == load_manifest(model).variant("fp32").sha256


def test_a_loop_of_the_recording_raises_no_alarm(start: Callable[..., Car], model: Path) -> None:
    """Stamps run backwards by 15 s, then ahead by an hour: other drives begin, nothing has changed."""
    car = start(model)
    for jump in (-USUAL_FRAMES, 4 * 3600, 0):
        before = car.measured
        car.drive(driving_image, lambda before=before: car.measured >= before + USUAL_FRAMES)
        assert car.part.active_alarms() == ()
        car.jump(jump)


def test_drift_is_switched_off_and_on_live_and_bad_values_are_refused(
    start: Callable[..., Car], model: Path
) -> None:
    car = start(model)
    assert car.part.values()["drift"].startswith("compared with")

    assert car.node.set_parameters([Parameter("drift", value=False)])[0].successful
    car.recorder.wait_for(lambda: car.part.values()["drift"] == "off")
    refused = car.node.set_parameters([Parameter("drift_false_alarms_per_hour", value=0.0)])[0]
    assert not refused.successful
    assert car.node.set_parameters([Parameter("drift", value=True)])[0].successful
    car.recorder.wait_for(lambda: car.measured == 0)
    refused = car.node.set_parameters([Parameter("drift_window_s", value=3.0)])[0]
    assert "no window of 3 s; it has: 2" in refused.reason
    assert car.node.set_parameters([Parameter("drift_window_s", value=8.0)])[0].successful


def test_another_model_brings_its_own_reference_or_says_that_it_has_none(
    start: Callable[..., Car], model: Path
) -> None:
    add_variant(model)
    car = start(model)
    car.drive(driving_image, lambda: car.measured >= 3)
    models = car.node._supervised.models

    models.exchange(open_model(ModelRequest(str(model), "int8"), "planning"))

    car.recorder.wait_for(lambda: "no reference for 'int8'" in car.messages()["model"])
    assert "there is one for fp32" in car.messages()["model"]
    assert models.roll_back()
    car.recorder.wait_for(lambda: car.measured == 0)
    car.drive(driving_image, lambda: car.measured >= 3)


def test_without_a_reference_the_node_runs_and_says_that_there_are_no_alarms(
    start: Callable[..., Car], tmp_path: Path
) -> None:
    car = start(write_planner(tmp_path / "without"))
    assert set(car.messages().values()) == {
        "no reference for 'fp32': no drift alarms; adcp replay --learn makes one"
    }
    assert car.kinds() == set()
    assert not [line for _, line in car.part.problems()]


def test_a_broken_reference_is_a_problem_and_the_node_runs(start: Callable[..., Car], model: Path) -> None:
    manifest = load_manifest(model)
    assert manifest.drift_reference is not None
    manifest.drift_reference["fp32"]["spread"] = []
    save_manifest(manifest, model)
    car = start(model)
    diagnosed = car.recorder.received["/diagnostics"]
    car.recorder.wait_for(lambda: diagnosed and "drift_reference" in diagnosed[-1].status[0].message)


def test_a_node_that_compares_no_window_does_not_say_that_all_is_as_in_the_reference(
    start: Callable[..., Car], model: Path
) -> None:
    """The driver's stamps stand still: every frame is answered, no window is ever complete."""
    car = start(model)
    first = car.recorder.received["/planning/drift"][0]
    assert {status.message for status in first.status} == {"no window is complete yet"}
    car.drive(driving_image, lambda: "as in the reference" in car.messages()["world"])

    def stand_still() -> None:
        before = car.measured
        car.jump(-1)
        car.drive(driving_image, lambda: car.measured > before)

    end = time.monotonic() + 60.0
    while "nothing compared" not in car.messages()["model"]:
        assert time.monotonic() < end
        stand_still()
    stand_still()
    assert ["drift is not watched" in line for _, line in car.part.problems()] == [True]

    car.drive(driving_image, lambda: "as in the reference" in car.messages()["world"])
    assert not car.part.problems()


def test_a_reference_that_the_comparison_fails_on_is_a_problem_and_never_ok(
    start: Callable[..., Car], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a check of the manifest has overlooked: no status may say that all is as usual."""

    def fail(*_: Any) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("ad_compressed_perception.drift.drift_watch.DriftMonitor", fail)
    car = start(model)
    assert {line.partition(":")[0] for line in car.messages().values()} == {
        "the drift reference of 'fp32' cannot be used"
    }
    assert [line for _, line in car.part.problems()]


def test_the_reference_says_how_far_normal_plans_of_neighboring_frames_differ(
    model: Path, reference: DriftReference
) -> None:
    """Failed before: the guard of a node began with the same limits whatever was known of its model."""
    served = open_model(ModelRequest(str(model)), "planning")
    mean = reference.center[reference.names.index("curvature_change")]
    assert expected_changes(served) == {"curvature_per_m": pytest.approx(5.0 * mean)}
    served.close()
    assert expected_changes(None) == {}
