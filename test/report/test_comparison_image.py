# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The live image: a row for each compared variant, and what is missing is seen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.results import Detections, LabelMask, Result, Trajectory
from ad_compressed_perception.metrics.agreement import agreement
from ad_compressed_perception.report.comparison_image import (
    Row,
    Side,
    describe_agreement,
    draw_comparison,
    draw_notice,
)
from ad_compressed_perception.report.difference import LOST_BGR
from ad_compressed_perception.tasks.planning import arc_points

PANEL, GAP = 320, 6
TOP = 30 + 46  # headline and captions


def gray() -> np.ndarray:
    return np.full((240, 320, 3), 100, np.uint8)


def boxes(*lefts: float) -> Detections:
    """Return 40x40 cars at y = 100."""
    return Detections(
        np.array([(x, 100, x + 40, 140) for x in lefts], np.float32).reshape(-1, 4),
        np.full(len(lefts), 0.5, np.float32),
        np.zeros(len(lefts), np.int64),
        ("car",),
    )


def path(curvature: float) -> Trajectory:
    """Return a path as it comes by message: without curvature and speed."""
    return Trajectory(*arc_points(curvature, 30.0, 20), math.nan, math.nan)


def drawn(*pairs: tuple[Result | None, Result | None]) -> np.ndarray:
    rows = [Row("task", Side("baseline", one), Side("compressed", other)) for one, other in pairs]
    return draw_comparison(gray(), rows, headline="frame 1.000000000", panel_width=PANEL)


def panel(image: np.ndarray, place: int) -> np.ndarray:
    """Return the frame of a panel of the first row."""
    left = place * (PANEL + GAP)
    return image[TOP : TOP + 240, left : left + PANEL]


def test_a_lost_object_is_marked_in_the_third_panel_only() -> None:
    image = drawn((boxes(20, 220), boxes(20)))
    assert tuple(panel(image, 2)[120, 220]) == LOST_BGR
    assert not (panel(image, 0) == LOST_BGR).all(axis=2).any()
    assert panel(image, 2)[120, 20].tolist() == [55, 55, 55], "found by both: not marked"


def test_every_variant_has_a_row() -> None:
    mask = LabelMask(np.zeros((240, 320), np.uint8), ("road",))
    one = drawn((boxes(20), boxes(20)))
    three = drawn((boxes(20), boxes(20)), (mask, mask), (path(0.01), path(0.0)))
    assert one.shape[1] == three.shape[1] == 3 * PANEL + 2 * GAP
    assert three.shape[0] > 3 * (TOP + 240) - 1


@pytest.mark.parametrize("missing", [0, 1])
def test_a_side_without_a_result_is_dark_and_nothing_is_compared(missing: int) -> None:
    """Failed before for a live view of pairs: a dead node's last image stood there as if it were now."""
    pair = [boxes(20), boxes(20)]
    pair[missing] = None  # type: ignore[call-overload]
    image = drawn((pair[0], pair[1]))
    assert panel(image, missing).max() <= 40
    assert panel(image, 1 - missing)[20, 20].tolist() == [100, 100, 100]
    assert panel(image, 2).max() <= 40


def test_results_that_cannot_be_compared_are_shown_as_such() -> None:
    other = Detections(*(getattr(boxes(20), key) for key in ("boxes_xyxy", "scores", "class_ids")), ("bus",))
    masks = [LabelMask(np.zeros((240, 320), np.uint8), labels) for labels in (("road",), ("road", "curb"))]
    assert drawn((masks[0], masks[1])).shape == drawn((masks[0], masks[0])).shape
    assert drawn((boxes(20), other)).shape == drawn((boxes(20), boxes(20))).shape


@pytest.mark.parametrize("far", [1e30, -3e38, math.inf])
def test_boxes_far_outside_of_the_image_are_drawn(far: float) -> None:
    """Failed before: OpenCV raised, and the live image stood still "for no frame that the nodes answered"."""
    outside = boxes(20)
    outside.boxes_xyxy[0, 2] = far
    assert drawn((outside, boxes(220))).shape == drawn((boxes(20), boxes(20))).shape


def test_an_image_of_one_column_is_refused() -> None:
    """Failed before: 2000 rows became 640,000, of 2 GB."""
    row = Row("detection", Side("", boxes(20)), Side("", boxes(20)))
    with pytest.raises(DataError, match="too narrow"):
        draw_comparison(np.zeros((2000, 1, 3), np.uint8), [row], headline="", panel_width=PANEL)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ((boxes(20, 220), boxes(20, 120)), "F1 0.50 (1 in both, 1 lost, 1 new)"),
        ((boxes(), boxes()), "F1 1.00 (0 in both, 0 lost, 0 new)"),
        ((path(0.0), path(0.0)), "path ends 0.00 m apart, at most 0.00 m aside"),
    ],
)
def test_the_agreement_of_the_frame_is_written(pair: tuple[Result, Result], words: str) -> None:
    assert describe_agreement(agreement(*pair)) == words


def test_a_notice_darkens_what_is_no_longer_live() -> None:
    notice = draw_notice(gray(), ["NOT LIVE: no image on /camera/image, for 3 s"])
    assert notice[200, 200].tolist() == [40, 40, 40]
    assert (notice == LOST_BGR).all(axis=2).any()
