# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The thread that compares frames with a reference: nobody waits for it, and nothing stops it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.drift.drift_watch import DriftWatch
from ad_compressed_perception.drift.reference import DriftReference
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.drift import driving_frames, learn
from support.models import write_planner, write_segmenter

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> DriftReference:
    return learn(write_planner(tmp_path_factory.mktemp("model") / "model"))


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def watch(errors: list[Exception]) -> Iterator[DriftWatch]:
    made = DriftWatch(errors.append)
    yield made
    made.stop()


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def offer_all(watch: DriftWatch, frames: list[Frame], result: Result | None = None) -> None:
    """Offer frames one after the other, each when the one before was compared."""
    for frame in frames:
        before = watch.state.measured
        watch.offer(frame, result, frame.stamp_ns * 1e-9)
        wait_until(lambda before=before: watch.state.measured > before)


def test_offering_never_waits_and_every_frame_is_measured_or_counted_as_skipped(
    watch: DriftWatch, reference: DriftReference
) -> None:
    """A burst of 200 frames comes faster than statistics are made of it."""
    watch.use(reference, 0.0, 0.1)
    for frame in driving_frames(200):
        watch.offer(frame, None, frame.stamp_ns * 1e-9)
    wait_until(lambda: watch.state.measured + watch.state.skipped == 200)
    assert watch.state.measured > 0


def test_a_frame_without_statistics_is_reported_and_the_next_one_is_measured(
    watch: DriftWatch, reference: DriftReference, errors: list[Exception]
) -> None:
    watch.use(reference, 0.0, 0.1)
    watch.offer(Frame(np.zeros((0, 0, 3), np.uint8), "BGR"), None, 1.0)
    wait_until(lambda: errors or watch.state.measured)
    before = watch.state.measured
    offer_all(watch, list(driving_frames(3)))
    assert watch.state.measured == before + 3


def test_a_frozen_camera_is_alarmed_and_another_reference_or_the_end_forgets_it(
    watch: DriftWatch, reference: DriftReference
) -> None:
    watch.use(reference, 0.0, 0.1)
    frames = list(driving_frames(160))
    offer_all(watch, frames[:40])
    assert watch.state.alarms == ()
    frozen = [Frame(frames[40].pixels, "BGR", frame.stamp_ns) for frame in frames[40:]]
    offer_all(watch, frozen)
    assert "camera" in {alarm.kind for alarm in watch.state.alarms}

    watch.use(reference, 0.0, 0.1)
    assert (watch.state.alarms, watch.state.measured) == ((), 0)

    watch.stop()
    watch.offer(frames[0], None, 1.0)
    assert watch.state.measured == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "adcp-drift"]


def test_a_node_that_answers_every_second_frame_has_no_unsteady_results(
    watch: DriftWatch, tmp_path: Path
) -> None:
    """Twice as much changes between frames twice as far apart; that is how often they come, not the model."""
    model = write_segmenter(tmp_path / "model")
    watch.use(learn(model), 0.0, 0.1)
    pipeline = open_pipeline(load_manifest(model), "fp32")
    for frame in list(driving_frames(160))[::2]:
        offer_all(watch, [frame], pipeline.run(frame)[0])
        assert watch.state.alarms == ()
    pipeline.close()
