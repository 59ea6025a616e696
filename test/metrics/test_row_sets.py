# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tables of rows without an order: agreement by matched rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.metrics.row_sets import describe_columns, match_rows, matched_weight


def boxes(seed: int, count: int = 6) -> np.ndarray:
    """Return (n, 4): two coordinates in pixels, falling scores, class ids."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0.0, 400.0, (count, 2))
    return np.column_stack([places, np.sort(rng.uniform(0.3, 1.0, count))[::-1], rng.integers(0, 3, count)])


TABLES = [boxes(seed) for seed in range(4)]
COLUMNS = describe_columns(TABLES)


def agreement(baseline: np.ndarray, variant: np.ndarray) -> float:
    matched, total = matched_weight(baseline, variant, COLUMNS, match_rows(baseline, variant, COLUMNS))
    return matched / total


def test_the_columns_are_scores_places_and_ids() -> None:
    assert COLUMNS.score == 2
    assert COLUMNS.tolerances[3] == 0.0  # class ids are equal or not
    assert 6.0 < COLUMNS.tolerances[0] < 8.0  # 2 % of the columns' 300 to 400 pixels


@given(st.permutations(range(6)))
def test_the_order_of_rows_means_nothing(order: list[int]) -> None:
    assert agreement(TABLES[0], TABLES[0][order]) == pytest.approx(1.0)


def test_a_moved_box_another_class_and_a_lost_row_do_not_match() -> None:
    moved, other = TABLES[0].copy(), TABLES[0].copy()
    moved[:, 0] += 30.0
    other[:, 3] += 1.0
    assert agreement(TABLES[0], moved) < 0.4
    assert agreement(TABLES[0], other) == 0.0
    assert 0.7 < agreement(TABLES[0], TABLES[0][1:]) < 1.0
    assert agreement(TABLES[0], np.zeros((0, 4))) == 0.0


def test_rows_of_no_score_decide_nothing() -> None:
    """A head of 300 rows has a handful of objects: 290 rows near zero that change places are no loss."""
    rng = np.random.default_rng(5)
    tail = np.column_stack([rng.uniform(0, 400, (290, 2)), np.full(290, 1e-4), np.zeros(290)])
    other = tail.copy()
    other[:, :2] = rng.uniform(0, 400, (290, 2))
    baseline, variant = np.concatenate([TABLES[0], tail]), np.concatenate([TABLES[0], other])
    assert agreement(baseline, variant) > 0.98
