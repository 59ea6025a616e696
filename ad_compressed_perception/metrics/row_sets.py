# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Agreement of two tables of rows whose order and number mean nothing: objects after suppression in the file.

A row of one table matches a row of the other where every column agrees: a column of whole numbers (class ids)
if it is equal, any other within a share of the column's range. Each row matches once. The agreement is the
share of matched rows in both tables together (Dice; F1 of detections), each row weighted by its score where
a column ranks the rows, so that the many rows of no score decide nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 0.02
"""Share of a column's range within which two numbers agree."""

SCORE_TOLERANCE = 0.1
"""The same of the column that ranks the rows."""


@dataclass(frozen=True)
class Columns:
    """What the columns of all frames' tables have in common.

    Attributes:
        tolerances: (K,) differences up to which numbers agree; 0 for whole numbers.
        score: the column that ranks the rows in every frame, by falling values; None without one.
    """

    tolerances: NDArray[np.float64]
    score: int | None


def describe_columns(tables: Sequence[NDArray[np.float64]]) -> Columns:
    """Return the columns of the baseline's tables, (n, K) each with its own n.

    Args:
        tables: of all frames, at least one.
    """
    rows = np.concatenate(tables)
    count = tables[0].shape[1]
    if not len(rows):
        return Columns(np.zeros(count), None)
    is_whole = (rows == np.rint(rows)).all(axis=0)
    spans = rows.max(axis=0) - rows.min(axis=0)
    tolerances = np.where(is_whole, 0.0, TOLERANCE * spans)
    ranked = [column for column in range(count) if not is_whole[column] and spans[column] > 0.0]
    ranked = [
        column
        for column in ranked
        if rows[:, column].min() >= 0.0 and all((np.diff(one[:, column]) <= 0.0).all() for one in tables)
    ]
    score = ranked[0] if ranked and max(map(len, tables)) > 1 else None
    if score is not None:
        tolerances[score] = SCORE_TOLERANCE * spans[score]
    return Columns(tolerances, score)


def match_rows(
    baseline: NDArray[np.float64], variant: NDArray[np.float64], columns: Columns
) -> NDArray[np.int64]:
    """Return (n,) the variant's row that each of the baseline's matches, -1 without one.

    Rows of the baseline choose in their order, each the nearest row that is left.

    Args:
        baseline: (n, K).
        variant: (m, K).
        columns: of ``describe_columns``.
    """
    left = np.ones(len(variant), bool)
    chosen = np.full(len(baseline), -1, np.int64)
    safe = np.where(columns.tolerances > 0.0, columns.tolerances, 1.0)
    for place, row in enumerate(baseline):
        apart = np.abs(variant - row)
        agrees = left & (apart <= columns.tolerances).all(axis=1)
        if agrees.any():
            distance = np.where(agrees, (apart / safe).max(axis=1, initial=0.0), np.inf)
            nearest = int(np.argmin(distance))
            left[nearest] = False
            chosen[place] = nearest
    return chosen


def matched_weight(
    baseline: NDArray[np.float64], variant: NDArray[np.float64], columns: Columns, chosen: NDArray[np.int64]
) -> tuple[float, float]:
    """Return the weight of the matched rows of both tables, and that of all their rows.

    Args:
        baseline: (n, K).
        variant: (m, K).
        columns: of ``describe_columns``.
        chosen: of ``match_rows``.
    """
    own, other = (row_weights(table, columns) for table in (baseline, variant))
    matched = own[chosen >= 0].sum() + other[chosen[chosen >= 0]].sum()
    return float(matched), float(own.sum() + other.sum())


def row_weights(table: NDArray[np.float64], columns: Columns) -> NDArray[np.float64]:
    """Return (n,) how much each row counts: its score, or 1."""
    if columns.score is None:
        return np.ones(len(table))
    return np.asarray(np.maximum(table[:, columns.score], 0.0))
