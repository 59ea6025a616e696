# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The agreement of the last seconds: measured as the verdict measures it, and never an old one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ad_compressed_perception.compression.verification.segmentation_score import SegmentationScore
from ad_compressed_perception.core.results import Detections, LabelMask, Result, Trajectory
from ad_compressed_perception.metrics.agreement import agreement
from ad_compressed_perception.monitor.gate import Gate
from ad_compressed_perception.monitor.pair_window import PairWindow, Scored
from ad_compressed_perception.report.schemas.agreement import (
    DetectionFigures,
    PlanningFigures,
    SegmentationFigures,
)

HZ = 20


def cars(count: int, kind: int = 0) -> Detections:
    left = np.arange(count, dtype=np.float32) * 20
    table = np.stack([left, left * 0, left + 10, left * 0 + 10], axis=1)
    scores = np.linspace(0.9, 0.5, count, dtype=np.float32)
    return Detections(table, scores, np.full(count, kind, np.int64), ("car", "dog"))


def path(offset_m: float, points: int = 20) -> Trajectory:
    x = np.arange(1.0, points + 1.0)
    return Trajectory(np.stack([x, np.full(points, offset_m)], axis=1), np.zeros(points), 0.0, 5.0)


def played(pairs: list[tuple[Result, Result]], gate: Gate | None = None) -> PairWindow:
    """Return a window after these pairs, at 20 Hz from second 0, stamps 1, 2, ..."""
    window = PairWindow(60.0)
    if gate is not None:
        window.measure_by(gate)
    for index, (baseline, variant) in enumerate(pairs):
        window.add(index + 1, (baseline, variant), agreement(baseline, variant), index / HZ)
    return window


def test_the_score_is_that_of_the_window_and_the_worst_frame_is_named() -> None:
    """Sixty good seconds and then bad ones: the whole run would still look good."""
    good, bad = (cars(2), cars(2)), (cars(2), cars(1))
    window = played([good] * 1000 + [bad] * 200)
    now_s = 1199 / HZ
    recent = window.report(10.0, now_s)
    assert isinstance(recent.figures, DetectionFigures)
    # One of two objects is missed: F1 = 2 / (2 + 1).
    assert recent.score == recent.figures.f1 == pytest.approx(2 / 3)
    assert (recent.figures.matched, recent.figures.missed, recent.pairs) == (200, 200, 200)
    assert recent.worst_stamp_ns == 1001
    assert window.report(60.0, now_s).score > 0.9


def test_after_a_silence_there_is_no_agreement() -> None:
    window = played([(cars(1), cars(1))] * 40)
    assert window.report(10.0, 2.0).score == 1.0
    assert window.report(10.0, 13.0) == Scored(), "failed before: the monitor repeated the old figure"


def test_two_nodes_that_see_nothing_do_not_agree() -> None:
    """A covered camera: no object on either side is perfect agreement and no information."""
    found = played([(cars(0), cars(0))] * 200).report(10.0, 199 / HZ)
    assert (found.pairs, found.informative) == (200, 0)
    assert math.isnan(found.score)


def test_few_pairs_have_a_wide_interval() -> None:
    few = played([(cars(1), cars(1))] * 5).report(10.0, 0.3)
    many = played([(cars(1), cars(1))] * 200).report(10.0, 199 / HZ)
    assert few.score == many.score == 1.0
    assert few.interval[0] < 0.6, "five trials without a loss say little"
    assert many.interval[0] > 0.97


def test_only_the_labels_of_the_gate_count() -> None:
    pairs = [(cars(1, kind=1), cars(0))] * 30 + [(cars(1), cars(1))] * 30
    assert played(pairs).report(10.0, 3.0).score < 0.7
    assert played(pairs, Gate(labels=["car"])).report(10.0, 3.0).score == 1.0


def test_masks_are_scored_as_the_gate_scores_them() -> None:
    """The weighted mean IoU of the verdict, computed by its own class."""
    rng = np.random.default_rng(0)
    names = ("road", "curb", "sign")
    pairs: list[tuple[Result, Result]] = []
    gate_score = SegmentationScore()
    for _ in range(40):
        ids = rng.choice(3, (24, 32), p=[0.7, 0.25, 0.05]).astype(np.uint8)
        other = np.where(rng.random(ids.shape) < 0.1, 0, ids).astype(np.uint8)
        pairs.append((LabelMask(ids, names), LabelMask(other, names)))
        gate_score.add(*pairs[-1])
    found, expected = played(pairs).report(10.0, 39 / HZ), gate_score.figures()
    assert found.score == pytest.approx(expected.score)
    assert 1.0 - np.array(found.interval[::-1]) == pytest.approx(
        [expected.drop_low, expected.drop_high], abs=0.01
    )
    assert isinstance(found.figures, SegmentationFigures)
    assert found.figures.miou == pytest.approx(expected.strict_score)
    assert found.figures.differing_pixels_share == pytest.approx(expected.details["differing_pixels_share"])


def test_the_worst_mask_is_the_one_that_lost_most_by_the_measure_of_the_gate() -> None:
    """Failed before: one pixel of a label that is nowhere else was worse than a lost third of the image."""
    names = ("road", "sky", "car")
    whole = np.repeat(np.uint8([0, 0, 1, 2]), 250).reshape(20, 50)
    lost, speck = np.where(whole == 1, 0, whole).astype(np.uint8), np.zeros_like(whole)
    speck[0, 0] = 2
    base = LabelMask(whole, names)
    pairs: list[tuple[Result, Result]] = [(base, base)] * 20
    pairs[4] = base, LabelMask(lost, names)
    pairs[8] = LabelMask(np.zeros_like(whole), names), LabelMask(speck, names)
    assert played(pairs).report(10.0, 1.0).worst_stamp_ns == 5
    # The gate does not compare the sky: then a lost car is worse.
    pairs[6] = base, LabelMask(np.where((whole == 2) & (np.arange(50) < 9), 0, whole).astype(np.uint8), names)
    assert played(pairs, Gate(labels=["road", "car"])).report(10.0, 1.0).worst_stamp_ns in (5, 7)


def test_a_path_that_leads_backwards_does_not_agree() -> None:
    """Failed before: it lies on the line that the baseline's path is extended by, and is as long."""
    backwards = Trajectory(-path(0.0).points_xy_m, np.full(20, np.pi), 0.0, 5.0)
    assert played([(path(0.0), backwards)] * 10).report(10.0, 1.0).score == 0.0
    assert played([(path(0.0), path(0.05, points=24))] * 10).report(10.0, 1.0).score == 1.0


def test_paths_are_scored_by_the_tolerance_of_the_gate() -> None:
    """0.35 m beside is outside of 0.1 m + 0.01 m/m near the vehicle, and within 0.5 m."""
    pairs: list[tuple[Result, Result]] = [(path(0.0), path(0.0))] * 30 + [(path(0.0), path(0.35))] * 10
    found = played(pairs).report(10.0, 39 / HZ)
    assert isinstance(found.figures, PlanningFigures)
    assert found.score == 0.75
    assert found.worst_stamp_ns == 31
    assert played(pairs, Gate(lateral_tolerance_m=0.5)).report(10.0, 39 / HZ).score == 1.0
    short = played([(path(0.0), path(0.0, points=5))] * 10).report(10.0, 1.0)
    assert short.score == 0.0, "a path that ends at once is beside nothing"


def test_what_was_measured_by_another_tolerance_is_dropped() -> None:
    window = played([(path(0.0), path(0.35))] * 40)
    window.measure_by(Gate(lateral_tolerance_m=0.5))
    assert window.report(10.0, 2.0) == Scored()
    window.add(50, (path(0.0), path(0.35)), agreement(path(0.0), path(0.35)), 2.0)
    assert window.report(10.0, 2.0).score == 1.0
