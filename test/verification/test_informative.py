# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A frame is informative only where the baseline's result is; agreement over nothing accepts no variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ad_compressed_perception.compression.verification.detection_score import DetectionScore
from ad_compressed_perception.compression.verification.informative import BaselineInformation
from ad_compressed_perception.compression.verification.planning_score import PlanningScore
from ad_compressed_perception.compression.verification.scores import AgreementScore
from ad_compressed_perception.compression.verification.segmentation_score import SegmentationScore
from ad_compressed_perception.core.results import Detections, LabelMask, Result, Trajectory
from ad_compressed_perception.tasks.planning import arc_points

FRAMES = 30


def mask(others: int, height: int = 100, width: int = 100, name: int = 1) -> LabelMask:
    """Return a mask of label 0 with so many pixels of another label."""
    ids = np.zeros(height * width, np.uint8)
    ids[:others] = name
    return LabelMask(ids.reshape(height, width), ("sky", "road", "curb"))


def path(curvature_per_m: float) -> Trajectory:
    points, headings = arc_points(curvature_per_m, 30.0, 10)
    return Trajectory(points, headings, curvature_per_m, 10.0)


def boxes(*lefts: float, class_id: int = 0) -> Detections:
    corners = [(left, 0.0, left + 10.0, 10.0) for left in lefts]
    return Detections(
        np.array(corners, np.float32).reshape(-1, 4),
        np.full(len(lefts), 0.9, np.float32),
        np.full(len(lefts), class_id, np.int64),
        ("car", "cup"),
    )


def informative(score: AgreementScore, results: Sequence[Result]) -> int:
    """Compare each result with itself; agreement is 1 wherever it is defined."""
    for result in results:
        score.add(result, result)
    return score.figures().informative_frames


@pytest.mark.parametrize(
    ("score", "result"),
    [
        (SegmentationScore(), mask(0)),
        (SegmentationScore(), mask(9)),  # less than 0.1 % of 10,000 pixels
        (SegmentationScore(), mask(3000)),
        (SegmentationScore(["road"]), mask(10_000)),
        (PlanningScore(0.1), path(0.0)),
        (PlanningScore(0.1), path(0.01)),
        (DetectionScore(0.5), boxes()),
        (DetectionScore(0.5), boxes(0, 50)),
    ],
    ids=["one label", "a speck", "same mask", "all road", "straight", "same curve", "empty", "same boxes"],
)
def test_a_baseline_that_never_varies_is_not_informative(score: AgreementScore, result: Result) -> None:
    """Each frame that anything could be compared on counted before, so that the gate accepted."""
    assert informative(score, [result] * FRAMES) == 0


def test_a_single_label_that_changes_from_frame_to_frame_is_not_informative() -> None:
    assert informative(SegmentationScore(), [mask(0), mask(10_000)] * 10) == 0


def test_frames_with_two_labels_of_area_are_informative() -> None:
    """0.1 % is ten of 10,000 pixels: 3000 and 10 of them, not 9 and none."""
    assert informative(SegmentationScore(), [mask(3000), mask(10), mask(9), mask(0)]) == 2


def test_a_compared_label_must_have_area_in_the_baseline() -> None:
    score = SegmentationScore(["curb"])
    assert informative(score, [mask(3000), mask(200, name=2), mask(10_000, name=2)]) == 1


def test_the_same_mask_in_another_size_is_the_same() -> None:
    """A constant network on a folder of images of two sizes."""
    small, large = mask(3000), mask(12_000, 200, 200)
    assert informative(SegmentationScore(), [small, large] * 10) == 0


@pytest.mark.parametrize(
    "changes",
    [{"points_xy_m": path(0.0).points_xy_m * 0.5}, {"speed_mps": 5.0}, {"collision_probability": 0.7}],
    ids=["reach", "speed", "probability"],
)
def test_trajectories_on_a_straight_road_differ_in_reach_speed_or_probability(
    changes: dict[str, Any],
) -> None:
    """Such a planner reacts to what it sees, although its paths lie on each other."""
    first = replace(path(0.0), collision_probability=0.1)
    assert informative(PlanningScore(0.1), [first, replace(first, **changes)]) == 2


def test_what_counts_as_informative_does_not_depend_on_the_tolerance_of_the_verdict() -> None:
    """A looser recipe would else refuse gentle curves: 0.0004 1/m is 0.18 m aside after 30 m."""
    assert informative(PlanningScore(0.5), [path(0.0), path(0.0004)] * 10) == 20


def test_paths_vary_by_more_than_the_tolerance() -> None:
    """A curvature of 0.0002 1/m is 0.09 m aside after 30 m (k s^2 / 2), one of 0.0004 is 0.18 m."""
    assert informative(PlanningScore(0.1), [path(0.0), path(0.0002)] * 10) == 0
    assert informative(PlanningScore(0.1), [path(0.0), path(0.0004)] * 10) == 20


@pytest.mark.parametrize(
    ("score", "same", "other"),
    [
        (PlanningScore(0.1), path(0.0), path(0.0004)),
        (SegmentationScore(), mask(3000), mask(500)),
        (DetectionScore(0.5), boxes(0), boxes(40)),
    ],
    ids=["paths", "masks", "objects"],
)
def test_an_outlier_makes_no_constant_baseline_informative(
    score: AgreementScore, same: Result, other: Result
) -> None:
    """Of thirty equal results and one other, that one and one of the thirty count; all did before."""
    assert informative(score, [same] * 15 + [other] + [same] * 15) == 2


def test_a_constant_result_is_found_after_many_different_ones() -> None:
    """Twelve different paths first, more than are remembered: forty equal ones count twelve times."""
    curves = [path(0.001 * number) for number in range(1, 13)]
    assert informative(PlanningScore(0.1), curves + [path(0.0)] * 40) == 24


def test_half_a_drive_of_equal_frames_is_informative() -> None:
    """A car that waits at a light for half of the frames."""
    drive = [path(0.0)] * 10 + [path(0.001 * number) for number in range(1, 11)]
    assert informative(PlanningScore(0.1), drive) == 20


def test_boxes_that_tremble_are_the_same() -> None:
    """0.2 of 10 pixels are an overlap of 0.96; a constant baseline's boxes tremble with the noise."""
    assert informative(DetectionScore(0.5), [boxes(0.02 * (number % 11)) for number in range(20)]) == 0
    assert informative(DetectionScore(0.5), [boxes(2.0 * number) for number in range(20)]) == 20


def test_a_small_object_that_moves_in_a_large_mask_is_informative() -> None:
    """A cone of 10 by 10 pixels is 0.03 % of 640 by 480: 64 pixels are area in any mask."""
    masks = []
    for number in range(20):
        ids = np.zeros((480, 640), np.uint8)
        ids[200:210, 30 * number : 30 * number + 10] = 1
        masks.append(LabelMask(ids, ("road", "cone")))
    assert informative(SegmentationScore(), masks) == 20
    assert informative(SegmentationScore(), masks[:1] * 20) == 0


def test_an_object_of_either_side_is_informative() -> None:
    """A baseline without an object is informative where the variant invents one: the drop is 1."""
    score = DetectionScore(0.5)
    for _ in range(FRAMES):
        score.add(boxes(), boxes(20))
    assert (score.figures().informative_frames, score.figures().drop) == (FRAMES, 1.0)
    assert informative(DetectionScore(0.5), [boxes(0), boxes(), boxes(40)]) == 2


def test_objects_of_other_labels_are_not_informative() -> None:
    found = [boxes(0), boxes(5, class_id=1), boxes(10)]
    assert informative(DetectionScore(0.5, ["car"]), found) == 2


def test_agreement_is_over_all_frames() -> None:
    """Frames that are not informative count in the agreement as before."""
    score = PlanningScore(0.1)
    for _ in range(4):
        score.add(path(0.0), path(0.0))
    figures = score.figures()
    assert (figures.score, figures.frames, figures.informative_frames) == (1.0, 4, 0)
    some = SegmentationScore()
    informative(some, [mask(3000), mask(0), mask(500)])
    assert some.figures(np.array([0, 1])).informative_frames == 1


@pytest.mark.parametrize(
    ("results", "words"),
    [
        (
            [mask(0)] * 3,
            "each of the 3 frames has one label only with area: 0.1 % of its pixels, or 64 ('sky')",
        ),
        ([mask(0), mask(10_000)], "or 64 ('road', 'sky')"),
        ([mask(3000)] * 3, "all 3 frames have the same mask"),
        ([path(0.0)] * 3, "(curvature 0 1/m, end at x 30.00 m, y 0.00 m)"),
        ([boxes()] * 3, "none of 3 frames has an object"),
        ([boxes(0, 50)] * 3, "all 3 frames have the same 2 objects (car, car)"),
    ],
)
def test_what_is_constant_is_named(results: Sequence[Result], words: str) -> None:
    found = BaselineInformation()
    for result in results:
        found.add(result)
    assert words in found.what_is_constant()
