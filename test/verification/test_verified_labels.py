# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Agreement on some of the labels only, and on any choice of the compared frames."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from ad_compressed_perception.compression.verification.detection_score import DetectionScore
from ad_compressed_perception.compression.verification.planning_score import PlanningScore
from ad_compressed_perception.compression.verification.segmentation_score import SegmentationScore
from ad_compressed_perception.compression.verification.task_scores import create_score
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.core.results import Detections, LabelMask, Trajectory
from ad_compressed_perception.metrics.unmatched import unmatched_objects
from ad_compressed_perception.pass_api.terms import VerifySpec
from ad_compressed_perception.tasks.planning import arc_points
from support.models import write_detector, write_planner

LABELS = ("car", "cup")


def objects(*found: tuple[str, float, float]) -> Detections:
    """Return 10x10 boxes given as (label, left edge, score)."""
    return Detections(
        np.array([(left, 0.0, left + 10.0, 10.0) for _, left, _ in found], np.float32).reshape(-1, 4),
        np.array([score for _, _, score in found], np.float32),
        np.array([LABELS.index(label) for label, _, _ in found], np.int64),
        LABELS,
    )


def mask(text: str) -> LabelMask:
    """Return a mask of one row, a digit a pixel; labels background, road, curb."""
    return LabelMask(np.array([[int(digit) for digit in text]], np.uint8), ("background", "road", "curb"))


def test_objects_of_other_labels_are_not_looked_at() -> None:
    """The cup is lost and a cup appears: F1 of all is 2 / 4, that of cars is 1."""
    baseline = objects(("car", 0, 0.9), ("cup", 50, 0.6))
    variant = objects(("car", 1, 0.8), ("cup", 90, 0.5))
    everything, cars = DetectionScore(0.5), DetectionScore(0.5, ["car"])
    for score in (everything, cars):
        score.add(baseline, variant)
    assert everything.figures().score == pytest.approx(0.5)
    assert everything.differences == pytest.approx([0.6 + 0.5])
    assert cars.figures().score == 1.0
    assert cars.differences == [0.0]
    assert cars.figures().measure == "F1 at IoU 0.5 of car"


def test_a_frame_without_a_compared_label_is_not_informative() -> None:
    score = DetectionScore(0.5, ["car"])
    score.add(objects(("cup", 0, 0.9)), objects())
    assert score.figures().informative_frames == 0
    assert math.isnan(score.figures().score)


def test_iou_of_the_road_alone() -> None:
    """Two of ten pixels change from curb to background: the road's IoU is 1, the mean of all is not.

    Pixels of the side that has more: background 5, road 5, curb 2.
    """
    baseline, variant = mask("0001111122"), mask("0001111100")
    everything, road = SegmentationScore(), SegmentationScore(["road"])
    for score in (everything, road):
        score.add(baseline, variant)
    assert everything.figures().score == pytest.approx((5 * 3 / 5 + 5 * 1.0 + 2 * 0.0) / 12)
    assert everything.figures().strict_score == pytest.approx((3 / 5 + 1.0 + 0.0) / 3)
    assert everything.differences == pytest.approx([0.2])
    assert (road.figures().score, road.figures().measure) == (1.0, "IoU of road")
    assert road.differences == [0.0]
    # All labels given by name are the same as none named.
    named = SegmentationScore(["background", "road", "curb"])
    named.add(baseline, variant)
    assert named.figures().score == everything.figures().score
    # A road that is in neither mask gives nothing to compare.
    nowhere = SegmentationScore(["road"])
    nowhere.add(mask("000022"), mask("000000"))
    assert nowhere.figures().informative_frames == 0


def test_any_choice_of_frames_has_its_own_figures() -> None:
    score = DetectionScore(0.5)
    for lost in (False, False, True, True):
        score.add(objects(("car", 0, 0.9)), objects() if lost else objects(("car", 0, 0.9)))
    assert score.figures(np.array([0, 1])).score == 1.0
    assert score.figures(np.array([2, 3])).score == 0.0
    assert score.figures(np.array([1, 2])).frames == 2


def test_paths_are_ranked_by_their_lateral_offset_and_a_failure_comes_first() -> None:
    def path(curvature: float) -> Trajectory:
        return Trajectory(*arc_points(curvature, 30.0, 10), curvature, 10.0)

    score = PlanningScore(0.1)
    for variant in (path(0.0), path(0.0004), None):
        score.add(path(0.0), variant)
    # k s^2 / 2 = 0.0004 * 900 / 2
    assert score.differences == pytest.approx([0.0, 0.18, math.inf], abs=1e-3)
    assert score.figures(np.array([0])).score == 1.0
    assert score.figures(np.array([2])).failed_frames == 1


def test_unmatched_objects_are_named_by_their_places() -> None:
    baseline = objects(("car", 0, 0.9), ("car", 50, 0.8), ("cup", 100, 0.7))
    variant = objects(("cup", 100, 0.9), ("cup", 50, 0.8), ("car", 0, 0.2))
    missed, extra = unmatched_objects(baseline, variant)
    assert missed.tolist() == [1]  # a cup is not a car, wherever it stands
    assert extra.tolist() == [1]


def test_unknown_labels_and_tasks_without_labels_are_refused(tmp_path: Path) -> None:
    detector = load_manifest(write_detector(tmp_path / "detector"))
    with pytest.raises(RecipeError, match=r"no label 'lorry'; it has: car, person, sign"):
        create_score(detector, VerifySpec(labels=["car", "lorry"]))
    planner = load_manifest(write_planner(tmp_path / "planner"))
    with pytest.raises(RecipeError, match="planning has no labels"):
        create_score(planner, VerifySpec(labels=["car"]))
