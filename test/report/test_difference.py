# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Differences between two results: described in one line, and drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ad_compressed_perception.core.results import Detections, LabelMask, Trajectory
from ad_compressed_perception.report.difference import (
    LOST_BGR,
    NEW_BGR,
    describe_difference,
    difference_image,
    draw_difference,
)
from ad_compressed_perception.tasks.planning import arc_points

LABELS = ("car", "person")


def gray(width: int = 320, height: int = 240) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


def boxes(*found: tuple[float, float, int]) -> Detections:
    """Return 40x40 boxes given as left, top and label."""
    return Detections(
        np.array([(x, y, x + 40, y + 40) for x, y, _ in found], np.float32).reshape(-1, 4),
        np.full(len(found), 0.5, np.float32),
        np.array([label for _, _, label in found], np.int64),
        LABELS,
    )


def path(angle_rad: float, curvature: float) -> Trajectory:
    return Trajectory(*arc_points(curvature, 30.0, 20), curvature, 10.0, angle_rad)


def test_only_objects_without_a_partner_are_drawn() -> None:
    baseline = boxes((20, 100, 0), (120, 100, 0))
    variant = boxes((20, 100, 0), (220, 100, 1))
    drawn = draw_difference(gray(), baseline, variant)
    assert tuple(drawn[120, 120]) == LOST_BGR
    assert tuple(drawn[120, 220]) == NEW_BGR
    # Both found the first one: nothing but the dimmed image there.
    assert drawn[120, 20].tolist() == [55, 55, 55]
    assert describe_difference(baseline, variant) == "lost (orange): 1 car; new (blue): 1 person"
    assert describe_difference(baseline, baseline) == "lost (orange): none; new (blue): none"


def test_changed_pixels_are_marked_and_the_commonest_change_named() -> None:
    ids = np.zeros((240, 320), np.uint8)
    changed = ids.copy()
    changed[:24] = 1  # a tenth of the rows
    baseline, variant = LabelMask(ids, ("road", "curb")), LabelMask(changed, ("road", "curb"))
    drawn = draw_difference(gray(), baseline, variant)
    assert tuple(drawn[10, 160]) == LOST_BGR
    assert drawn[100, 160].tolist() == [55, 55, 55]
    assert describe_difference(baseline, variant) == "10.0% of pixels; most: road to curb, 10.0%"
    assert describe_difference(baseline, baseline) == "no pixel differs"


def test_both_paths_are_drawn_and_the_turn_is_named() -> None:
    left, right = path(0.1, 0.02), path(-0.1, -0.02)
    drawn = draw_difference(gray(), left, right)
    for color in (LOST_BGR, NEW_BGR):
        assert (drawn == color).all(axis=2).any()
    assert describe_difference(left, right) == "baseline orange, variant blue, 11.5 deg more to the right"
    unknown = path(math.nan, 0.0)
    assert describe_difference(unknown, unknown) == "baseline orange, variant blue"


@pytest.mark.parametrize(("gives_result", "shown"), [(True, 3), (False, 1)])
def test_the_image_has_a_panel_for_each(gives_result: bool, shown: int) -> None:
    """Baseline, variant and what differs; the baseline alone where the variant gave nothing."""
    variant = boxes((220, 100, 1)) if gives_result else None
    image = difference_image(gray(), boxes((20, 100, 0)), variant, names=("fp32", "int8"), headline="frame 1")
    assert image.shape[1] == shown * 566 - 6
