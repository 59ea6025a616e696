# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""References under which nothing is ever alarmed, or that end the comparison: each is refused in one line."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ad_compressed_perception.core.errors import DataError, ManifestError
from ad_compressed_perception.core.manifest import Manifest, load_manifest
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.drift.drift_watch import DriftWatch
from ad_compressed_perception.drift.frame_statistics import StatisticsReader
from ad_compressed_perception.drift.manifest_references import find_reference, join_references
from ad_compressed_perception.drift.monitor import DriftMonitor
from ad_compressed_perception.drift.reference import DriftReference
from ad_compressed_perception.drift.reference_builder import ReferenceBuilder
from support.drift import PERIOD_NS, driving_frames, learn
from support.models import write_planner

Document = dict[str, Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planner(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def reference(model: Path) -> DriftReference:
    return learn(model)


def _tails(document: Document, **changed: float) -> None:
    for tail in document["windows"][0]["tails"].values():
        tail.update(changed)


def _few(document: Document, *names: str) -> None:
    window = document["windows"][0]
    window["tails"] = {name: window["tails"].get(name, window["tails"]["image"]) for name in names}


FAULTS: dict[str, Callable[[Document], object]] = {
    "no thresholds": lambda one: _few(one),
    "thresholds of results alone": lambda one: _few(one, "results"),
    "a threshold of an unknown figure": lambda one: _few(one, "image", "taste"),
    "a threshold that nothing exceeds": lambda one: _tails(one, largest=1e300),
    "a scale that nothing exceeds": lambda one: _tails(one, scale=1e308),
    "a window shorter than a bin": lambda one: one["windows"][0].update(window_s=0.1),
    "centers that overflow": lambda one: one.update(center=[1e308] * len(one["center"])),
    "spreads that hide a spot": lambda one: one.update(spread=[1e300] * len(one["spread"])),
    "a camera that may be frozen for an hour": lambda one: one.update(longest_repeat_s=3600.0),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_reference_that_would_alarm_nothing_is_refused_in_one_line(
    model: Path, reference: DriftReference, fault: str
) -> None:
    manifest = _planted(model, reference, FAULTS[fault])
    with pytest.raises(ManifestError, match="adcp replay --learn makes a new one") as refused:
        find_reference(manifest, "fp32")
    assert "\n" not in str(refused.value)


def test_an_unusable_reference_that_claims_a_long_recording_is_replaced(
    model: Path, reference: DriftReference
) -> None:
    """Adcp compress keeps the reference of a longer recording; one that no node can use is none."""
    manifest = _planted(model, reference, lambda one: one.update(duration_s=1e9, center=[]))
    joined = join_references(manifest, {"fp32": reference}, keep_longer=True)
    assert joined is not None
    assert joined["fp32"]["duration_s"] == reference.duration_s


def _planted(model: Path, reference: DriftReference, change: Callable[[Document], object]) -> Manifest:
    document = copy.deepcopy(reference.model_dump(mode="json", by_alias=True))
    change(document)
    manifest = load_manifest(model)
    manifest.drift_reference = {"fp32": document}
    return manifest


def _add_all(builder: ReferenceBuilder, frozen_from: int, turning: float) -> None:
    """Add 75 s of frames with paths whose curvature varies by this much."""
    reader = StatisticsReader()
    first = None
    for index, frame in enumerate(driving_frames()):
        first = first if first is not None and index > frozen_from else frame
        x_m = np.linspace(1.0, 20.0, 5)
        curvature = 0.001 + turning * np.sin(index / 10.0)
        path = np.stack([x_m, curvature * x_m**2 / 2.0], axis=1)
        headings = curvature * x_m
        result = Trajectory(path, headings, curvature_per_m=float(curvature), speed_mps=10.0)
        builder.add(reader.compute(first, result), frame.stamp_ns * 1e-9)


@pytest.mark.parametrize(
    ("frozen_from", "turning", "reason"),
    [(10, 1e-3, "the same image for"), (1000, 0.0, "results are the same in all frames")],
    ids=["a frozen camera", "a model that answers the same to everything"],
)
def test_nothing_is_learned_from_a_broken_recording(frozen_from: int, turning: float, reason: str) -> None:
    """What is broken while learning would be usual for good."""
    builder = ReferenceBuilder("0" * 64)
    _add_all(builder, frozen_from, turning)
    with pytest.raises(DataError, match=reason):
        builder.build()


def test_frames_that_come_twice_with_a_stamp_make_a_reference() -> None:
    """Two publishers of a topic: failed before, since half of the steps from stamp to stamp are 0."""
    builder, reader = ReferenceBuilder("0" * 64), StatisticsReader()
    for index, frame in enumerate(driving_frames()):
        builder.add(reader.compute(frame, None), index // 2 * 0.5)
    assert builder.build().period_s == 0.5


def test_frames_of_which_no_usable_reference_can_be_made_are_an_error_of_one_line() -> None:
    """Statistics of a broken camera: thresholds would be beyond what a node takes."""
    builder, reader = ReferenceBuilder("0" * 64), StatisticsReader()
    for index, frame in enumerate(driving_frames()):
        statistics = reader.compute(frame, None)
        values = statistics.values * np.float32(1e6 if index == 100 else 1.0)
        builder.add(dataclasses.replace(statistics, values=values), frame.stamp_ns * 1e-9)
    with pytest.raises(DataError, match="no drift reference of these frames") as refused:
        builder.build()
    assert "\n" not in str(refused.value)


def test_an_image_that_is_the_same_after_a_gap_is_not_frozen(reference: DriftReference) -> None:
    """A parked car in simulation: its node answers a frame, is paused for a minute and answers the next."""
    monitor, reader = DriftMonitor(reference), StatisticsReader()
    (frame,) = driving_frames(1)
    assert monitor.add(reader.compute(frame, None), 100.0) == []
    assert monitor.add(reader.compute(frame, None), 160.0) == []


@pytest.mark.parametrize("step_ns", [0, 8 * PERIOD_NS], ids=["stamps stand still", "one frame in 2 s"])
def test_frames_that_cannot_be_compared_are_not_counted_as_looks(
    reference: DriftReference, step_ns: int
) -> None:
    """No alarm means nothing here: whoever reads the state can see that no window was compared."""
    monitor, reader = DriftMonitor(reference), StatisticsReader()
    for index, frame in enumerate(driving_frames(60)):
        monitor.add(reader.compute(frame, None), 1e9 + index * step_ns * 1e-9)
    assert monitor.looks == 0


def test_the_state_counts_the_windows_that_were_compared(reference: DriftReference) -> None:
    """60 frames at 4 Hz are 29 complete bins; the first window of 2 s is complete with the fourth."""
    monitor, reader = DriftMonitor(reference), StatisticsReader()
    for frame in driving_frames(60):
        monitor.add(reader.compute(frame, None), frame.stamp_ns * 1e-9)
    assert monitor.looks == 26
    assert DriftWatch(print).state.looks == 0
