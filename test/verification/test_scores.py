# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Agreement scores on results whose agreement is counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ad_compressed_perception.compression.verification.scores import (
    DetectionScore,
    PlanningScore,
    SegmentationScore,
    wilson_interval,
)
from ad_compressed_perception.core.results import Detections, LabelMask, Trajectory
from ad_compressed_perception.tasks.planning import arc_points


def boxes(*lefts: float) -> Detections:
    corners = [(left, 0.0, left + 10.0, 10.0) for left in lefts]
    return Detections(
        np.array(corners, np.float32).reshape(-1, 4),
        np.full(len(lefts), 0.9, np.float32),
        np.zeros(len(lefts), np.int64),
        ("car",),
    )


def mask(*rows: str) -> LabelMask:
    return LabelMask(np.array([[int(c) for c in row] for row in rows], np.uint8), ("a", "b"))


def path(curvature_per_m: float) -> Trajectory:
    points, headings = arc_points(curvature_per_m, 30.0, 10)
    return Trajectory(points, headings, curvature_per_m, 10.0)


def test_f1_is_pooled_over_frames_and_empty_frames_are_not_informative() -> None:
    score = DetectionScore(0.5)
    score.add(boxes(0, 50, 100), boxes(0, 50))  # two matched, one missed
    score.add(boxes(), boxes(200))  # one extra
    score.add(boxes(), boxes())
    figures = score.figures()
    assert figures.score == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert (figures.frames, figures.informative_frames) == (3, 2)
    assert figures.drop_low <= figures.drop <= figures.drop_high


def test_no_object_anywhere_is_no_agreement_of_one() -> None:
    score = DetectionScore(0.5)
    for _ in range(30):
        score.add(boxes(), boxes())
    figures = score.figures()
    assert math.isnan(figures.score)
    assert figures.informative_frames == 0
    assert figures.as_dict()["score"] is None  # JSON knows no NaN


def test_mean_iou_is_pooled_over_frames() -> None:
    """Label b has 8 pixels on both sides in one frame and 1 pixel of dispute in the other."""
    score = SegmentationScore()
    score.add(mask("0000", "1111", "1111"), mask("0000", "1111", "1111"))
    score.add(mask("0000", "0000", "0001"), mask("0000", "0000", "0000"))
    figures = score.figures()
    assert figures.score == pytest.approx((15 / 16 + 8 / 9) / 2)
    assert figures.details["differing_pixels_share"] == pytest.approx(1 / 24)


def test_a_failed_frame_agrees_in_nothing() -> None:
    detection, segmentation, planning = DetectionScore(0.5), SegmentationScore(), PlanningScore(0.1)
    detection.add(boxes(0, 50), None)
    segmentation.add(mask("0101"), None)
    planning.add(path(0.0), None)
    for score in (detection, segmentation, planning):
        assert score.figures().score == pytest.approx(0.0)
        assert score.figures().failed_frames == 1


def test_planning_counts_frames_within_the_tolerance() -> None:
    """A curvature of 0.0002 is 0.09 m aside after 30 m (k s^2 / 2), one of 0.0004 is 0.18 m."""
    score = PlanningScore(0.10)
    for curvature in (0.0002, 0.0004, 0.0, 0.0002):
        score.add(path(0.0), path(curvature))
    assert score.figures().score == pytest.approx(3 / 4)


def test_all_frames_within_still_leaves_a_doubt_that_shrinks_with_frames() -> None:
    """The exact upper end without a miss is 1 - 0.025^(1/n): 0.168 for 20 frames, 0.036 for 100."""
    ends = []
    for frames in (20, 100):
        score = PlanningScore(0.10)
        for _ in range(frames):
            score.add(path(0.001), path(0.001))
        ends.append(score.figures().drop_high)
    assert ends == pytest.approx([0.168, 0.036], abs=0.001)
    assert wilson_interval(0, 0) == (0.0, 1.0)
