# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The thread of a shadow, and the agreement that it reports: a real tiny model, no ROS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.results import Classification, Detections, Trajectory
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.monitor.gate import Gate
from ad_compressed_perception.serving.served_model import ModelRequest, ServedModel, open_model
from ad_compressed_perception.serving.shadow_agreement import ShadowAgreement
from ad_compressed_perception.serving.shadow_runner import ShadowAnswer, ShadowJob, ShadowRunner
from ad_compressed_perception.tasks.planning import arc_points
from support.models import draw_scene, write_detector

LIMIT_S = 30.0


@pytest.fixture
def model(tmp_path: Path) -> Iterator[ServedModel]:
    opened = open_model(ModelRequest(str(write_detector(tmp_path / "model"))), "detection")
    yield opened
    opened.close()


def job(number: int, **fields: Any) -> ShadowJob:
    frame = Frame(draw_scene(number), "BGR")
    return ShadowJob(frame, number, None, None, lambda pipeline: None, number, **fields)


def runner_of(
    model: ServedModel, finish: Callable[[ShadowJob, ShadowAnswer], None] | None = None
) -> tuple[ShadowRunner, list[ShadowAnswer]]:
    answers: list[ShadowAnswer] = []
    taken = finish or (lambda _, answer: answers.append(answer))
    return ShadowRunner(model, taken, lambda now_s, took_s: None), answers


def test_jobs_are_answered_one_at_a_time_and_none_waits(model: ServedModel) -> None:
    gate = Event()
    infer = model.pipeline.session.infer
    model.pipeline.session.infer = lambda feeds: (gate.wait(LIMIT_S), infer(feeds))[1]  # type: ignore[method-assign]
    runner, answers = runner_of(model)
    assert runner.offer(job(0))
    assert not runner.offer(job(1)), "the slot is full: the frame is dropped at once"
    assert runner.busy_s(time.monotonic()) >= 0.0
    gate.set()
    assert runner.wait(LIMIT_S)
    [answer] = answers
    assert isinstance(answer.result, Detections) and not answer.reason
    runner.close()
    assert not runner.offer(job(2))


@pytest.mark.parametrize("error", [RuntimeError("gone\nfor good"), SystemExit(3), MemoryError()])
def test_whatever_a_runtime_raises_is_an_answer(error: BaseException, model: ServedModel) -> None:
    def fail(feeds: Any) -> Any:
        raise error

    infer, model.pipeline.session.infer = model.pipeline.session.infer, fail  # type: ignore[method-assign]
    runner, answers = runner_of(model)
    assert runner.offer(job(0)) and runner.wait(LIMIT_S)
    model.pipeline.session.infer = infer  # type: ignore[method-assign]
    assert runner.offer(job(1)) and runner.wait(LIMIT_S)
    failed, good = answers
    assert failed.result is None and failed.reason and "\n" not in failed.reason
    assert good.result is not None
    runner.close()


def test_what_reporting_raises_does_not_end_the_thread(model: ServedModel) -> None:
    seen: list[int] = []

    def finish(done: ShadowJob, answer: ShadowAnswer) -> None:
        seen.append(done.number)
        raise ValueError("no such topic")

    runner, _ = runner_of(model, finish)
    for number in (0, 1):
        assert runner.offer(job(number)) and runner.wait(LIMIT_S)
    assert seen == [0, 1]
    runner.close()


def test_closing_waits_for_nobody_and_an_answer_that_comes_later_is_dropped(model: ServedModel) -> None:
    gate, entered = Event(), Event()
    infer, closed = model.pipeline.session.infer, Event()
    close = model.pipeline.session.close

    def hang(feeds: Any) -> Any:
        entered.set()
        gate.wait(LIMIT_S)
        return infer(feeds)

    model.pipeline.session.infer = hang  # type: ignore[method-assign]
    model.pipeline.session.close = lambda: (close(), closed.set())[0]  # type: ignore[method-assign, func-returns-value]
    runner, answers = runner_of(model)
    runner.offer(job(0))
    assert entered.wait(LIMIT_S)
    runner.close()
    assert not closed.is_set(), "a session in use is not freed"
    assert not runner.wait(0.01)
    gate.set()
    assert closed.wait(LIMIT_S), "by the thread that was in it"
    assert not answers


def test_ended_without_closing_the_model_serves_on(model: ServedModel) -> None:
    runner, _ = runner_of(model)
    runner.end()
    result, _ = model.run(Frame(draw_scene(0), "BGR"))
    assert isinstance(result, Detections)


# Agreement of the window ------------------------------------------------------------------------


def path(curvature_per_m: float) -> Trajectory:
    points, headings = arc_points(curvature_per_m, 30.0, 10)
    return Trajectory(points, headings, curvature_per_m, 10.0)


def test_the_estimate_covers_the_minute_and_counts_a_failure_as_a_difference() -> None:
    """Every tenth of 1,200 frames is compared; a tenth of those differ, and a tenth fail."""
    agreement = ShadowAgreement(Gate())
    for number in range(1200):
        agreement.note_frame(number, 10.0, path(0.0), number * 0.05)
        if number % 10 == 0:
            turn = number // 10 % 10
            shadow = None if turn == 0 else path(0.1 if turn == 1 else 0.0)
            agreement.note_pair(number, 10.0, number, path(0.0), shadow)
    score = agreement.score()
    assert (score.estimate.frames, score.estimate.compared, score.failed) == (1200, 120, 12)
    assert score.estimate.score == pytest.approx(0.8)
    low, high = score.estimate.interval
    assert 0.65 < low < 0.8 < high < 0.9


def test_frames_older_than_the_window_are_forgotten_with_their_pairs() -> None:
    agreement = ShadowAgreement(Gate())
    for number in range(2000):
        agreement.note_frame(number, 10.0, path(0.0), number * 0.05)
        agreement.note_pair(number, 1.0, number, path(0.0), path(0.1 if number < 700 else 0.0))
    score = agreement.score()
    assert score.estimate.frames == score.estimate.compared == 1200
    assert score.estimate.score == 1.0


def test_models_that_see_nothing_have_no_agreement() -> None:
    empty = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("car",))
    agreement = ShadowAgreement(Gate())
    for number in range(50):
        agreement.note_frame(number, 10.0, empty, number * 0.05)
        agreement.note_pair(number, 1.0, number, empty, empty)
    score = agreement.score()
    assert score.informative == 0 and np.isnan(score.estimate.score)


def test_results_that_cannot_be_compared_are_failures_with_a_reason() -> None:
    other = Classification(np.ones(1, np.float32), np.zeros(1, np.int64), ("road",))
    agreement = ShadowAgreement(Gate())
    agreement.note_frame(0, 10.0, path(0.0), 0.0)
    with pytest.raises(DataError, match="cannot compare"):
        agreement.note_pair(0, 1.0, 0, path(0.0), other)
    score = agreement.score()
    assert score.failed == score.estimate.compared == 1
    assert score.estimate.score == 0.0
