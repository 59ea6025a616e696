# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Objects matched with a margin: a flicker at the threshold is nothing, a carpet of boxes gains nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.core.results import Detections
from ad_compressed_perception.metrics.agreement import MatchCounts, detection_agreement
from ad_compressed_perception.metrics.score_margin import (
    ObjectComparison,
    above,
    compare_objects,
    lowest_score,
)

THRESHOLD, MARGIN = 0.3, 0.05
LABELS = ("car", "person")


def objects(*rows: tuple[float, float, int]) -> Detections:
    """Return boxes of 10 by 10 pixels: left edge, score, class."""
    table = np.array(rows, np.float64).reshape(-1, 3)
    corners = [(left, 0.0, left + 10.0, 10.0) for left in table[:, 0]]
    return Detections(
        np.array(corners, np.float32).reshape(-1, 4),
        table[:, 1].astype(np.float32),
        table[:, 2].astype(np.int64),
        LABELS,
    )


def compared(baseline: Detections, variant: Detections) -> ObjectComparison:
    return compare_objects(baseline, variant, THRESHOLD, MARGIN)


def test_a_score_that_crosses_the_threshold_by_a_hundredth_is_no_lost_object() -> None:
    """The strict count loses 0.305 -> 0.295 and gains 0.295 -> 0.305: two of two."""
    found = compared(objects((0, 0.305, 0), (50, 0.295, 0)), objects((0, 0.295, 0), (50, 0.305, 0)))
    assert found.strict == MatchCounts(0, 1, 1)
    assert found.counts == MatchCounts(2, 0, 0)


@pytest.mark.parametrize(
    ("baseline", "variant"),
    [
        ((0, 0.9, 0), (0, 0.29, 0)),
        ((0, 0.31, 0), (0, 0.24, 0)),
        ((0, 0.31, 0), (0, 0.29, 1)),
        ((0, 0.31, 0), (6, 0.29, 0)),
    ],
    ids=["a sure object became doubtful", "scores differ by more", "another label", "another place"],
)
def test_what_is_lost_by_more_than_the_margin_stays_lost(
    baseline: tuple[float, float, int], variant: tuple[float, float, int]
) -> None:
    assert compared(objects(baseline), objects(variant)).counts == MatchCounts(0, 1, 0)


def test_a_carpet_of_boxes_below_the_threshold_gains_nothing() -> None:
    """Twenty boxes at 0.29 everywhere would match whatever the baseline has at 0.3 to 0.34."""
    baseline = objects((0, 0.9, 0), (40, 0.33, 0), (80, 0.32, 0))
    honest = objects((0, 0.9, 0))
    carpet = objects((0, 0.9, 0), *((20.0 * place, 0.29, 0) for place in range(20)))
    assert compared(baseline, carpet).counts == compared(baseline, honest).counts == MatchCounts(1, 2, 0)


def test_boxes_of_the_band_that_the_baseline_nearly_has_too_take_nothing_back() -> None:
    """The variant's other box at 0.26 has a counterpart at 0.22, below the band."""
    baseline = objects((0, 0.31, 0), (50, 0.22, 0))
    assert compared(baseline, objects((0, 0.29, 0), (50, 0.26, 0))).counts == MatchCounts(1, 0, 0)


def test_matches_are_one_to_one() -> None:
    """Two objects on each other's place, one box of the band: one of them is matched."""
    found = compared(objects((0, 0.33, 0), (1, 0.32, 0)), objects((0, 0.29, 0)))
    assert found.counts == MatchCounts(1, 1, 0)


def test_a_low_threshold_narrows_the_margin() -> None:
    """At a threshold of 0.01 a margin of 0.05 would reach below zero: it is a quarter of the threshold."""
    assert lowest_score(0.01, 0.05) == pytest.approx(0.005)
    assert lowest_score(0.3, 0.05) == pytest.approx(0.2)
    assert lowest_score(0.0, 0.05) == 0.0


rows = st.tuples(
    st.integers(0, 8).map(lambda place: 5.0 * place),
    st.integers(20, 60).map(lambda score: score / 100),
    st.integers(0, 1),
)
scenes = st.lists(rows, max_size=8).map(lambda some: objects(*sorted(some, key=lambda row: -row[1])))


@given(scenes)
def test_a_result_agrees_with_itself(scene: Detections) -> None:
    counts = compared(scene, scene).counts
    assert (counts.f1, counts.missed, counts.extra) == (1.0, 0, 0)


@given(scenes, scenes)
def test_bounds(one: Detections, other: Detections) -> None:
    """Every object above the threshold is counted once, and the margin never makes agreement smaller."""
    found = compared(one, other)
    strict = detection_agreement(above(one, THRESHOLD), above(other, THRESHOLD)).overall
    assert found.strict == strict
    assert strict.f1 <= found.counts.f1 <= 1.0
    assert found.counts.missed + found.counts.matched >= int((one.scores >= THRESHOLD).sum())
    assert len(found.matched_boxes_xyxy) == found.counts.matched


@given(scenes, scenes, st.integers(30, 99))
def test_an_invented_object_never_raises_agreement(one: Detections, other: Detections, score: int) -> None:
    """Far from all others, so that it matches nothing."""
    invented = objects(
        *zip(other.boxes_xyxy[:, 0], other.scores, other.class_ids, strict=True), (500, score / 100, 0)
    )
    before, after = compared(one, other).counts, compared(one, invented).counts
    assert after.extra == before.extra + 1
    assert after.f1 <= before.f1


@given(scenes, scenes, st.integers(0, 60))
def test_a_box_below_the_threshold_that_matches_nothing_never_raises_agreement(
    one: Detections, other: Detections, count: int
) -> None:
    more = [(500.0 + 20.0 * place, 0.29, 0) for place in range(count)]
    carpet = objects(*zip(other.boxes_xyxy[:, 0], other.scores, other.class_ids, strict=True), *more)
    assert compared(one, carpet).counts.f1 <= compared(one, other).counts.f1


def test_distant_objects_are_the_same_from_both_sides() -> None:
    """Swapping the sides swaps missed and extra where no two boxes compete for one place."""
    one, other = (
        objects((0, 0.9, 0), (50, 0.31, 0), (99, 0.5, 1)),
        objects((0, 0.8, 0), (50, 0.28, 0), (150, 0.4, 1)),
    )
    there, back = compared(one, other).counts, compared(other, one).counts
    assert (there.matched, there.missed, there.extra) == (back.matched, back.extra, back.missed) == (2, 1, 1)
