# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cases in which swap, shadow and guard meet; each of them was answered or counted wrongly before. No ROS."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.monitor.gate import Gate
from ad_compressed_perception.serving.frame_server import FrameServer
from ad_compressed_perception.serving.guard import Guard, GuardSettings
from ad_compressed_perception.serving.ladder import LadderLevel, LadderSettings
from ad_compressed_perception.serving.model_set import ModelSet
from ad_compressed_perception.serving.served_model import ModelRequest, ServedModel, open_model
from ad_compressed_perception.serving.shadow_agreement import WINDOW_S, ShadowAgreement
from support.models import draw_scene, write_detector, write_trajectory_planner
from support.scripted_backend import Script, scripted_backend

PERIOD_NS = 50_000_000


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    with scripted_backend(monkeypatch) as made:
        yield made


def serve(*, has_standby: bool, hold_s: float = 0.0, least: float = 0.0) -> FrameServer:
    ladder = LadderSettings(hysteresis_s=0.01, probation_frames=1, hold_s=hold_s)
    guard = Guard(GuardSettings(ladder, min_agreement=least))
    guard.begin(time.monotonic(), has_standby=has_standby)
    return FrameServer(ModelSet(), guard)


def open_detector(folder: Path, backend: str = "") -> ServedModel:
    return open_model(ModelRequest(str(write_detector(folder)), backend=backend), "detection")


def test_a_promoted_model_that_is_still_in_a_frame_of_the_shadow_answers(
    script: Script, tmp_path: Path
) -> None:
    """Failed before: the frame was held, as if the model did not return from it."""
    server, frame = serve(has_standby=False, hold_s=10.0), Frame(draw_scene(1), "BGR", 1)
    models = server._models
    models.exchange(open_detector(tmp_path / "one"))
    models.shadow = shadow = open_detector(tmp_path / "two", "scripted")
    server.published(server.answer(frame, PERIOD_NS, None, lambda pipeline: None), "header", PERIOD_NS)
    begun = Event()

    def slow(number: int, outputs: dict[str, object]) -> dict[str, object]:
        begun.set()
        script.hang(0.3)
        return outputs

    script.act = slow
    thread = Thread(target=shadow.run, args=(frame,))
    thread.start()
    assert begun.wait(30)
    models.promote_shadow(shadow)

    answer = server.answer(frame, 2 * PERIOD_NS, None, lambda pipeline: None)

    thread.join()
    assert (answer.level, answer.identity) == ("primary", shadow.identity)


def test_a_new_model_is_not_kept_from_its_probation_by_the_agreement_of_the_one_before(
    script: Script, tmp_path: Path
) -> None:
    """Failed before: the condition stayed until the next activation, as no shadow ran on its frames."""
    server, frame = serve(has_standby=True, least=0.9), Frame(draw_scene(1), "BGR", 1)
    models = server._models
    models.exchange(open_detector(tmp_path / "one"))
    models.standby = open_detector(tmp_path / "two")
    server.answer(frame, 1, None, lambda pipeline: None)
    server.guard.note_agreement(0.1, time.monotonic())
    models.exchange(open_detector(tmp_path / "three"))
    stamp_ns, end = 1, time.monotonic() + 30.0

    while server.guard.level is not LadderLevel.PRIMARY or not server.guard.trusts_primary:
        assert time.monotonic() < end
        stamp_ns += PERIOD_NS
        answer = server.answer(frame, stamp_ns, None, lambda pipeline: None)
        server.published(answer, "header", stamp_ns)
        server.try_primary(answer)
        time.sleep(0.02)

    assert answer.level == "standby"  # until then


def test_a_shadow_that_goes_takes_its_low_agreement_with_it() -> None:
    guard = serve(has_standby=True, least=0.9).guard
    guard.note_agreement(0.1, 1.0)
    assert not guard.trusts_primary

    guard.note_agreement(float("nan"), 2.0)
    guard.probation("", 3.0)
    guard.tick(4.0)

    assert guard.trusts_primary


def test_a_model_swapped_in_while_somebody_chose_the_standby_passes_a_probation_first(
    tmp_path: Path,
) -> None:
    """Failed before: with guard_level back at auto it answered at once."""
    server, frame = serve(has_standby=True), Frame(draw_scene(1), "BGR", 1)
    models = server._models
    models.exchange(open_detector(tmp_path / "one"))
    models.standby = open_detector(tmp_path / "two")
    server.answer(frame, PERIOD_NS, None, lambda pipeline: None)
    server.guard.set_override("standby", 1.0)
    models.exchange(open_detector(tmp_path / "three"))
    server.try_primary(server.answer(frame, 2 * PERIOD_NS, None, lambda pipeline: None))

    server.guard.set_override("auto", 2.0)

    assert server.answer(frame, 3 * PERIOD_NS, None, lambda pipeline: None).level == "standby"


def test_models_are_compared_by_their_own_paths_and_not_by_joined_ones(tmp_path: Path) -> None:
    """Failed before: for 2 s after a switch agreement and checks were those of the joined path."""
    server = serve(has_standby=True)
    folder = str(write_trajectory_planner(tmp_path / "planner"))
    frame = Frame(draw_scene(1), "BGR", 1)
    for use in ("primary", "standby"):
        setattr(server._models, use, open_model(ModelRequest(folder), "planning"))
    first = server.answer(frame, PERIOD_NS, None, lambda pipeline: None)
    assert isinstance(first.result, Trajectory)
    bent = replace(first.result, points_xy_m=first.result.points_xy_m + np.array([0.0, 3.0]))
    server.guard.join(bent, 2 * PERIOD_NS, "another model")

    answer = server.answer(frame, 3 * PERIOD_NS, None, lambda pipeline: None)

    assert isinstance(answer.result, Trajectory)
    assert isinstance(answer.own, Trajectory)
    assert np.array_equal(answer.own.points_xy_m, first.result.points_xy_m)
    assert not np.allclose(answer.result.points_xy_m, answer.own.points_xy_m)


def test_an_agreement_without_further_frames_is_none_after_its_window(tmp_path: Path) -> None:
    """Failed before: the figure of the last frames was published for ever, as one of the last 60 s."""
    model = open_detector(tmp_path / "one")
    result = model.run(Frame(draw_scene(1), "BGR", 1))[0]
    agreement = ShadowAgreement(Gate())
    for number in range(1, 9):
        agreement.note_frame(number, 10.0, result, float(number))
        agreement.note_pair(number, 1.0, number, result, result)

    assert agreement.score(9.0).estimate.compared == 8
    assert agreement.score(9.0 + WINDOW_S).estimate.compared == 0
