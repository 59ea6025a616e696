# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames of several cameras alternate in one server: each is compared with those of its camera alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.serving.answer import Answer
from ad_compressed_perception.serving.frame_server import FrameServer
from ad_compressed_perception.serving.guard import Guard, GuardSettings
from ad_compressed_perception.serving.ladder import LadderLevel, LadderSettings
from ad_compressed_perception.serving.model_set import ModelSet
from ad_compressed_perception.serving.served_model import ModelRequest, open_model
from support.models import draw_scene, write_trajectory_planner
from support.scripted_backend import FAULTS, Script, scripted_backend

PERIOD_NS = 50_000_000
# Paths of a black image and of a white one contradict each other.
DARK, BRIGHT = 10, 190


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    with scripted_backend(monkeypatch) as made:
        yield made


@dataclass
class Car:
    """Cameras of 20 Hz that are triggered together, with a clock of their own."""

    models: ModelSet
    guard: Guard
    now_s: float = 0.0
    stamp_ns: int = 10**18
    published: list[tuple[str, Answer]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = FrameServer(self.models, self.guard, lambda: self.now_s)

    def trigger(self, **brightness: int) -> dict[str, Answer]:
        """Show each camera a scene of its brightness; a little noise, as cameras have."""
        self.now_s += 0.05
        self.stamp_ns += PERIOD_NS
        return {camera: self.show(camera, value) for camera, value in brightness.items()}

    def show(self, camera: str, value: int) -> Answer:
        rng = np.random.default_rng(len(self.published))
        scene = draw_scene(0, 64, 96) // 4 + value  # up to 63 more
        pixels = (scene + rng.integers(-1, 2, scene.shape)).astype(np.uint8)
        frame = Frame(pixels, "BGR", self.stamp_ns)
        # A camera that is called "one" stands for a node that does not distinguish its cameras.
        name = "" if camera.startswith("one") else camera
        answer = self.server.answer(frame, self.stamp_ns, None, lambda pipeline: None, name)
        self.server.published(answer, f"{camera} {self.stamp_ns}", self.stamp_ns, name)
        self.published.append((camera, answer))
        return answer


@pytest.fixture
def start(script: Script, tmp_path: Path) -> Iterator[Any]:
    cars: list[Car] = []

    def make(*, standby: bool = True, hold_s: float = 0.0, **settings: Any) -> Car:
        folder = str(write_trajectory_planner(tmp_path / "planner"))
        models = ModelSet()
        models.exchange(open_model(ModelRequest(folder, backend="scripted"), "planning"))
        if standby:
            models.standby = open_model(ModelRequest(folder), "planning")
        ladder = LadderSettings(hysteresis_s=5.0, probation_frames=3, hold_s=hold_s)
        guard = Guard(GuardSettings(ladder, **settings))
        guard.begin(0.0, has_standby=standby)
        script.number = 0
        cars.append(Car(models, guard))
        return cars[-1]

    yield make
    script.released.set()
    for car in cars:
        for model in car.models.take_all():
            model.close()


@pytest.mark.parametrize("distinguished", [True, False])
def test_a_jump_between_two_cameras_is_no_doubt(distinguished: bool, start: Any, script: Script) -> None:
    """The second half shows that this figure could be another: there every bright frame is doubted."""
    car = start()
    names = ("front", "rear") if distinguished else ("one_a", "one_b")
    for _ in range(60):
        if not distinguished:
            car.stamp_ns += PERIOD_NS // 2
        car.trigger(**{names[0]: DARK})
        car.stamp_ns += 0 if distinguished else PERIOD_NS // 2
        car.show(names[1], BRIGHT)
    levels = {answer.level for _, answer in car.published}
    assert (levels == {"primary"}) is distinguished
    assert (car.guard.confirmed == 0) is distinguished
    assert car.guard.level is LadderLevel.PRIMARY


def test_a_jump_of_one_camera_is_judged_by_its_own_history(start: Any, script: Script) -> None:
    """The wrong path on the dark camera is the right one on the bright camera."""
    car = start()
    for _ in range(130):
        assert {answer.level for answer in car.trigger(front=DARK, rear=BRIGHT).values()} == {"primary"}
    bend = np.where(np.arange(14) < 11, 4.0, 0.0).astype(np.float32)
    script.act = lambda number, outputs: {key: array + bend for key, array in outputs.items()}
    assert car.trigger(front=DARK)["front"].level == "standby"
    assert "implausible: " in car.guard.reason  # one model: it is distrusted for all cameras
    script.act = lambda number, outputs: outputs
    assert car.trigger(rear=BRIGHT)["rear"].level == "standby"


def test_what_is_held_is_the_cameras_own(start: Any, script: Script) -> None:
    car = start(standby=False, hold_s=0.5)
    car.trigger(front=DARK, left=BRIGHT)
    stamp_ns = car.stamp_ns
    script.act = FAULTS["raises"]
    held = car.trigger(left=BRIGHT, front=DARK)
    assert {camera: answer.source for camera, answer in held.items()} == {
        camera: f"{camera} {stamp_ns}" for camera in ("front", "left")
    }
    assert held["left"].result is not held["front"].result
    with pytest.raises(AdcpError, match="no model answered"):
        car.trigger(rear=DARK)  # another camera's result is none of it


def test_at_a_change_of_model_each_cameras_path_is_joined_to_its_own(start: Any, script: Script) -> None:
    car = start()
    for _ in range(5):
        before = car.trigger(front=DARK, rear=BRIGHT)
    script.act = FAULTS["raises"]
    after = car.trigger(front=DARK, rear=BRIGHT)
    assert car.guard.counters()["paths_joined"] == 2
    for camera, answer in after.items():
        assert answer.level == "standby"
        step = np.abs(answer.result.points_xy_m - before[camera].result.points_xy_m).max()
        assert step < 0.1  # meters; between the two cameras it is more than 5
    apart = np.abs(before["front"].result.points_xy_m - before["rear"].result.points_xy_m).max()
    assert apart > 1.0


def test_a_camera_whose_frames_are_no_images_does_not_stop_the_others(start: Any, script: Script) -> None:
    car = start(hold_s=0.2)
    car.now_s = 100.0
    for _ in range(200):  # 10 s, longer than the hysteresis time
        car.trigger(front=DARK)
        car.server.unpublished("no image", car.stamp_ns, "left")
        assert car.guard.level is LadderLevel.PRIMARY
    assert car.guard.last_of("left")[0] == "none" and car.guard.last_of("front")[0] == "primary"
    for _ in range(200):
        car.now_s += 0.05
        for camera in ("front", "left"):
            car.server.unpublished("no image", car.stamp_ns, camera)
    assert car.guard.level is LadderLevel.STOP  # now nothing is answered


def test_a_model_that_stopped_is_found_on_each_camera_and_a_standing_view_is_no_fault(
    start: Any, script: Script
) -> None:
    """Two cameras whose scenes do not change give two kinds of outputs, each for good."""
    car = start()
    for _ in range(40):
        assert {answer.level for answer in car.trigger(front=DARK, rear=BRIGHT).values()} == {"primary"}
    frozen: dict[bool, Any] = {}

    def stopped(number: int, outputs: Any) -> Any:
        """Each camera has its own last outputs for good: none follows from the other camera's."""
        return frozen.setdefault(len(car.published) % 2 == 0, outputs)

    script.act = stopped
    for index in range(20):
        last = car.trigger(front=DARK + 3 * index, rear=BRIGHT - 3 * index)
    assert car.guard.counters()["faults_constant"] == 1
    assert {answer.level for answer in last.values()} == {"standby"}


def test_deadlines_and_their_misses_are_those_of_the_camera(start: Any) -> None:
    """All frames of one camera are late by its own deadline, none by that of the others."""
    settings = {"deadline_ms": 100.0, "max_miss_rate": 0.5, "camera_deadlines_ms": {"rear": 20.0}}
    car = start(**settings)
    guard = car.guard
    for _ in range(20):
        guard.note_run("standby", 1.0)
    for index in range(40):
        guard.note_times("primary", 30.0, 50.0, index * 0.05, "front")
    assert "faults_deadline" not in guard.counters()
    for index in range(40, 50):
        guard.note_times("primary", 30.0, 50.0, index * 0.05, "rear")
    assert guard.counters()["faults_deadline"] >= 1
    assert "missed 20 ms" in guard.reason
