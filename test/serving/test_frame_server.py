# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Every frame gets a result, whatever the primary does: real models in ONNX Runtime, no ROS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
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
from support.models import draw_scene, write_detector, write_segmenter, write_trajectory_planner
from support.scripted_backend import FAULTS, Script, scripted_backend

PERIOD_NS = 50_000_000
WRITERS = {
    "detection": write_detector,
    "segmentation": write_segmenter,
    "planning": write_trajectory_planner,
}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    with scripted_backend(monkeypatch) as made:
        yield made


@dataclass
class Drive:
    """Gives frames at 20 Hz to a server, with a clock of its own, and publishes what it answers."""

    server: FrameServer
    models: ModelSet
    now_s: float = 0.0
    stamp_ns: int = 10**18
    published: list[Answer] = field(default_factory=list)

    def frame(self, image: Any = None) -> Answer:
        self.now_s += 0.05
        self.stamp_ns += PERIOD_NS
        if image is None:  # brighter each time: the tiny planner sees the brightness alone
            image = np.maximum(draw_scene(len(self.published)), 25 + len(self.published) % 60).astype(
                np.uint8
            )
        pixels = image
        frame = Frame(pixels, "BGR", self.stamp_ns)
        answer = self.server.answer(frame, self.stamp_ns, None, lambda pipeline: None)
        self.server.published(answer, f"header {self.stamp_ns}", self.stamp_ns)
        self.published.append(answer)
        return answer

    def probation(self) -> None:
        """Let the primary run beside the last answer, and wait for it."""
        self.server.try_primary(self.published[-1])
        end = time.monotonic() + 30.0
        while self.server.probation_since is not None:
            assert time.monotonic() < end
            time.sleep(0.001)


Start = Callable[..., Drive]


@pytest.fixture
def start(script: Script, tmp_path: Path) -> Iterator[Start]:
    drives: list[Drive] = []

    def make(task: str = "detection", *, standby: bool = True, hold_s: float = 0.0) -> Drive:
        folder = str(WRITERS[task](tmp_path / task))
        models = ModelSet()
        models.exchange(open_model(ModelRequest(folder, backend="scripted"), task))
        if standby:
            models.standby = open_model(ModelRequest(folder), task)
        guard = Guard(GuardSettings(LadderSettings(hysteresis_s=5.0, probation_frames=3, hold_s=hold_s)))
        guard.begin(0.0, has_standby=standby)
        drive = Drive(FrameServer(models, guard, lambda: drives[-1].now_s), models)
        drives.append(drive)
        script.number = 0
        return drive

    yield make
    script.released.set()
    for drive in drives:
        for model in drive.models.take_all():
            model.close()


@pytest.mark.parametrize("task", WRITERS)
@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "slow"])
def test_the_same_frame_is_answered_by_the_standby(
    fault: str, task: str, start: Start, script: Script
) -> None:
    """Failed before: the frame had no result."""
    drive = start(task)
    script.act = lambda number, outputs: FAULTS[fault](number, outputs) if number == 2 else outputs

    levels = [drive.frame().level for _ in range(5)]

    assert levels == ["primary", "primary", "standby", "standby", "standby"]
    assert [answer.identity.backend for answer in drive.published] == ["scripted"] * 2 + ["onnxruntime"] * 3
    assert drive.server.guard.level is LadderLevel.STANDBY
    drive.now_s += 5.0
    for _ in range(3):
        drive.frame()
        drive.now_s += 0.1  # ten a second at most run beside the standby
        drive.probation()
    assert drive.frame().level == "primary"
    assert drive.server.guard.counters()["frames_none"] == 0


@pytest.mark.parametrize("fault", ["raises", "NaN", "ends the thread"])
def test_without_a_standby_the_last_result_is_held_under_its_own_header_for_its_time(
    fault: str, start: Start, script: Script
) -> None:
    drive = start(standby=False, hold_s=0.12)
    first = drive.frame()
    header = f"header {drive.stamp_ns}"
    script.act = FAULTS[fault]

    held = [drive.frame() for _ in range(2)]  # 50 and 100 ms later

    assert [answer.level for answer in held] == ["hold", "hold"]
    assert {answer.source for answer in held} == {header}
    assert held[0].result is first.result
    assert "50 ms before is held" in held[0].failure
    with pytest.raises(AdcpError, match="no model answered"):
        drive.frame()
    assert drive.server.guard.last == "none"
    script.act = lambda number, outputs: outputs
    assert drive.frame().level == "primary"


def test_nothing_is_held_across_stamps_that_go_back_or_stand_still(start: Start, script: Script) -> None:
    """A bag that loops, a jump of /clock, a camera that never sets stamps."""
    drive = start(standby=False, hold_s=0.5)
    drive.frame()
    script.act = FAULTS["raises"]
    drive.stamp_ns -= 10**10
    with pytest.raises(AdcpError, match="no model answered"):
        drive.frame()
    script.act = lambda number, outputs: outputs
    drive.stamp_ns = -PERIOD_NS
    drive.frame()
    script.act = FAULTS["raises"]
    for _ in range(10):
        drive.stamp_ns = -PERIOD_NS
        assert drive.frame().level == "hold"
    drive.stamp_ns, drive.now_s = -PERIOD_NS, drive.now_s + 0.1
    with pytest.raises(AdcpError, match="no model answered"):
        drive.frame()


def test_without_a_guard_the_error_is_that_of_the_model(start: Start, script: Script) -> None:
    drive = start(standby=False)
    script.act = FAULTS["raises"]
    with pytest.raises(RuntimeError, match="the accelerator"):
        drive.frame()
    assert drive.server.guard.counters()["frames_none"] == 1


def test_a_frame_that_hangs_is_answered_by_another_thread_and_its_late_result_changes_nothing(
    start: Start, script: Script
) -> None:
    drive = start()
    drive.frame()
    late: list[object] = []

    def first_thread() -> None:
        try:
            drive.frame()
        except AdcpError as error:
            late.append(error)

    script.act = lambda number, outputs: script.hang() or outputs if number == 1 else outputs
    hanging = Thread(target=first_thread)
    hanging.start()
    while drive.server.running is None:
        time.sleep(0.001)
    primary = drive.models.primary
    assert primary is not None and drive.server.running is primary

    answer = drive.frame()

    assert answer.level == "standby"
    script.released.set()
    hanging.join(30.0)
    assert "abandoned" in str(late[0])
    assert len(drive.published) == 2
    assert not any(key.startswith("faults") for key in drive.server.guard.counters())


@pytest.mark.parametrize("task", WRITERS)
def test_outputs_that_do_not_depend_on_the_scene_are_found(task: str, start: Start, script: Script) -> None:
    """The contract of outputs holds, and no frame looks wrong by itself."""
    drive = start(task)
    drive.frame()
    frozen: list[Any] = []

    def constant(number: int, outputs: Any) -> Any:
        frozen.append(outputs)
        return frozen[0]

    script.act = constant
    levels = [drive.frame().level for _ in range(8)]
    # The first frame has the outputs that it should have. Failed before: four more results were published.
    assert levels[1:] == ["standby"] * 7
    assert drive.server.guard.counters()["faults_constant"] == 1


@pytest.mark.parametrize("kind", ["of an earlier frame", "zero"])
def test_the_first_result_of_a_model_that_stopped_is_not_published(
    kind: str, start: Start, script: Script
) -> None:
    """Failed before: it was, and three more."""
    drive = start()
    given: list[Any] = []

    def stop(number: int, outputs: Any) -> Any:
        given.append(outputs)
        if number < 12:
            return outputs
        return given[3] if kind != "zero" else {key: array * 0 for key, array in outputs.items()}

    script.act = stop
    levels = [drive.frame().level for _ in range(20)]
    assert levels == ["primary"] * 12 + ["standby"] * 8
    assert drive.server.guard.counters()["faults_constant"] == 1


def test_equal_outputs_of_both_models_are_no_fault(start: Start, script: Script, tmp_path: Path) -> None:
    """Networks that choose boxes themselves give the same for every empty road."""
    drive = start()
    standby, drive.models.standby = (
        drive.models.standby,
        open_model(ModelRequest(str(tmp_path / "detection"), backend="scripted"), "detection"),
    )
    assert standby is not None
    standby.close()
    script.act = lambda number, outputs: {key: array * 0 for key, array in outputs.items()}

    levels = {drive.frame().level for _ in range(20)}

    assert levels == {"standby"}
    assert drive.server.guard.level is LadderLevel.PRIMARY
    script.act = lambda number, outputs: outputs
    assert drive.frame().level == "primary"


def test_a_camera_that_shows_the_same_scene_is_no_fault_of_the_model(start: Start, script: Script) -> None:
    drive = start("planning")
    image = draw_scene(0)
    noise = np.random.default_rng(0)
    frozen: list[Any] = []
    script.act = lambda number, outputs: frozen.append(outputs) or frozen[0]
    for _ in range(40):
        noisy = np.clip(image + noise.normal(0.0, 1.0, image.shape), 0, 255).astype(np.uint8)
        assert drive.frame(noisy).level == "primary"


def test_an_implausible_path_is_not_published_but_a_scene_that_changes_is(
    start: Start, script: Script
) -> None:
    drive = start("planning")
    rng = np.random.default_rng(0)
    for _ in range(130):  # from the 101st on there are limits
        drive.frame(np.full((64, 64, 3), rng.integers(20, 40), np.uint8))
    assert {answer.level for answer in drive.published} == {"primary"}

    bright = drive.frame(np.full((64, 64, 3), 255, np.uint8))

    assert bright.level == "standby"  # both say so: the scene changed
    assert (drive.server.guard.confirmed, drive.server.guard.level) == (1, LadderLevel.PRIMARY)
    for _ in range(3):
        assert drive.frame(np.full((64, 64, 3), 250, np.uint8)).level == "primary"
    bend = np.where(np.arange(14) < 11, 4.0, 0.0).astype(np.float32)  # 0.08 1/m more: 12 m of radius
    script.act = lambda number, outputs: {key: array + bend for key, array in outputs.items()}
    wrong = drive.frame(np.full((64, 64, 3), 250, np.uint8))
    assert wrong.level == "standby"
    assert drive.server.guard.level is LadderLevel.STANDBY
    assert "implausible: " in drive.server.guard.reason


def test_somebody_who_chooses_is_obeyed_and_frames_are_still_answered(start: Start, script: Script) -> None:
    drive = start(hold_s=1.0)
    drive.frame()
    guard = drive.server.guard
    guard.set_override("standby", 0.1)
    assert drive.frame().level == "standby"
    guard.set_override("hold", 0.2)
    assert drive.frame().level == "hold"
    guard.set_override("stop", 0.3)
    with pytest.raises(AdcpError, match="guard_level is stop"):
        drive.frame()
    guard.set_override("primary", 0.4)
    script.act = FAULTS["raises"]
    assert drive.frame().level == "standby"
    script.act = lambda number, outputs: outputs
    assert drive.frame().level == "primary"


@pytest.mark.parametrize(("fault", "helps"), [("raises", True), ("constant", False)])
def test_without_its_standby_a_model_that_gave_no_wrong_results_still_answers(
    fault: str, helps: bool, start: Start, script: Script
) -> None:
    drive = start()
    frozen: list[Any] = []
    script.act = FAULTS["raises"] if helps else lambda number, outputs: frozen.append(outputs) or frozen[0]
    while drive.server.guard.level is LadderLevel.PRIMARY:
        drive.frame()
    standby, drive.models.standby = drive.models.standby, None
    assert standby is not None
    script.act = lambda number, outputs: outputs

    if helps:
        assert drive.frame().level == "primary"
    else:
        with pytest.raises(AdcpError, match="the standby is not loaded"):
            drive.frame()

    drive.models.standby = standby
    assert drive.frame().level == "standby"


@pytest.mark.parametrize("fault", ["raises", "constant"])
def test_without_a_standby_for_good_the_model_proves_itself_alone(
    fault: str, start: Start, script: Script
) -> None:
    """Failed before: there was no probation any more, and after wrong results no result."""
    drive = start()
    frozen: list[Any] = []

    def freeze(number: int, outputs: Any) -> Any:
        frozen.append(outputs)
        return frozen[0]

    script.act = FAULTS["raises"] if fault == "raises" else freeze
    while drive.server.guard.level is LadderLevel.PRIMARY:
        drive.frame()
    standby, drive.models.standby = drive.models.standby, None
    assert standby is not None
    standby.close()
    drive.server.is_alone = True

    def answers(count: int) -> list[str]:
        found = []
        for _ in range(count):
            try:
                found.append(drive.frame().level)
            except AdcpError:
                found.append("none")
        return found

    assert answers(200) == ["none"] * 200
    script.act = lambda number, outputs: outputs
    drive.now_s += 200.0  # more than the longest time between two attempts
    assert answers(1) == ["primary" if fault == "raises" else "none"]
    answers(100)
    assert answers(1) == ["primary"]
    assert drive.server.guard.level is LadderLevel.PRIMARY


def test_a_candidate_that_keeps_failing_is_tried_ever_more_rarely(start: Start, script: Script) -> None:
    drive = start()
    script.act = FAULTS["raises"]
    for _ in range(20 * 60):
        drive.frame()
        drive.probation()
    # A minute with 5 s of hysteresis: at 0, at once beside the standby, then after 10, 20 and 40 s.
    assert script.number <= 4
    assert {answer.level for answer in drive.published} == {"standby"}


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_doubt_is_no_fault_where_no_standby_can_be_asked(
    is_gone: bool, start: Start, script: Script
) -> None:
    """Failed before: without its standby a model gave no results after a change that is doubtful only."""
    drive = start("planning")
    rng = np.random.default_rng(0)
    for _ in range(130):  # from the 101st on there are limits
        drive.frame(np.full((64, 64, 3), rng.integers(20, 40), np.uint8))
    standby, drive.models.standby = drive.models.standby, None
    assert standby is not None
    standby.close()
    drive.server.is_alone = is_gone
    guard, image = drive.server.guard, np.full((64, 64, 3), 30, np.uint8)
    drive.frame(image)
    bend = np.where(np.arange(14) < 11, 0.15, 0.0).astype(np.float32)  # 0.003 1/m, doubtful from 0.0025
    script.act = lambda number, outputs: {key: array + bend for key, array in outputs.items()}

    assert drive.frame(image).level == "primary"

    assert not any(key.startswith("faults") for key in guard.counters())
    script.act = lambda number, outputs: {key: array + 8.0 * bend for key, array in outputs.items()}
    with pytest.raises(AdcpError, match="changed by"):
        drive.frame(image)
    assert guard.counters()["faults_implausible"] == 1


def test_shapes_are_looked_at_from_the_moment_on_at_which_results_are_held(
    start: Start, script: Script
) -> None:
    """Failed before: a mask of another size was published where hold_last_ms was set on a running node."""
    drive = start("segmentation", standby=False)
    drive.frame()
    guard = drive.server.guard
    guard.configure(GuardSettings(LadderSettings(hold_s=1.0)))
    drive.frame()
    script.act = FAULTS["wrong shape"]

    assert drive.frame().level == "hold"


def test_times_of_the_standby_before_are_not_those_of_another_one(start: Start) -> None:
    """Failed before: another fallback had the times of the one before, and deadlines were judged by them."""
    guard = start().server.guard
    for _ in range(50):
        guard.note_run("standby", 100.0)

    guard.new_standby()
    guard.note_run("standby", 3.0)

    assert guard.run_ms("standby") == 3.0
