# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Objects of two results matched with a margin of score, so that a score at the threshold counts once.

A score of 0.301 that becomes 0.299 moves a box across a threshold of 0.3: the strict comparison counts a
lost object, although nothing that matters has changed. Here an object that only one side has above the
threshold is matched as well where the other side has it below: same label, sufficient overlap, and scores
that differ by at most the margin. Matches are one to one, the strict ones first.

A detector that covers the image with boxes right below the threshold must not gain from that. A box of the
band below the threshold is unsupported where the other side has nothing like it (same label, sufficient
overlap, a score at most the margin lower); each unsupported box of a frame cancels one match by margin of
that frame. The other side must therefore be known down to two margins below the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.results import Detections
from ad_compressed_perception.metrics.agreement import (
    MATCH_IOU,
    MatchCounts,
    labels_of,
    match_table,
    pairwise_iou,
)

Indices = NDArray[np.int64]
# Rounding of float32 scores.
_EPSILON = 1e-6


@dataclass(frozen=True)
class ObjectComparison:
    """Objects above the threshold of one frame, matched strictly and with the margin.

    Attributes:
        strict_missed: indices of the baseline's objects without a strict match, ascending.
        strict_extra: likewise of the variant's.
        missed: indices of the baseline's objects without a match by margin either.
        extra: likewise of the variant's.
        strict: counts of the strict comparison.
        counts: counts with the margin; its matches include pairs that lie on both sides of the threshold.
        matched_boxes_xyxy: (matched, 4) one box of each pair: the baseline's where it is above the threshold.
    """

    strict_missed: Indices
    strict_extra: Indices
    missed: Indices
    extra: Indices
    strict: MatchCounts
    counts: MatchCounts
    matched_boxes_xyxy: NDArray[np.float32]


def effective_margin(threshold: float, margin: float) -> float:
    """Return the margin, at most a quarter of the threshold, so that scores far below it are never needed."""
    return min(margin, threshold / 4.0)


def lowest_score(threshold: float, margin: float) -> float:
    """Return the score down to which both sides must be known: two effective margins below the threshold."""
    return threshold - 2.0 * effective_margin(threshold, margin)


def above(detections: Detections, threshold: float) -> Detections:
    """Return the objects at or above a threshold, in the same order."""
    kept = detections.scores >= threshold
    return Detections(
        detections.boxes_xyxy[kept], detections.scores[kept], detections.class_ids[kept], detections.labels
    )


def compare_objects(
    baseline: Detections, variant: Detections, threshold: float, margin: float, iou: float = MATCH_IOU
) -> ObjectComparison:
    """Match objects strictly, and those left over with the margin.

    Args:
        baseline: objects down to ``lowest_score``.
        variant: likewise.
        threshold: score from which an object counts.
        margin: largest difference of the scores of a pair across the threshold; see ``effective_margin``.
        iou: overlap from which two boxes are the same object, in (0, 1].

    Returns:
        Indices into the given results' boxes. Swapping the sides swaps missed and extra.

    Raises:
        DataError: ``iou`` is out of range.
    """
    if not 0.0 < iou <= 1.0:
        raise DataError(f"iou must be in (0, 1], not {iou}")
    margin = effective_margin(threshold, margin)
    sides = [_Side.of(one, threshold, margin) for one in (baseline, variant)]
    first, second = sides
    strict_pairs: list[tuple[int, int]] = []
    near_first: list[tuple[int, int]] = []
    near_second: list[tuple[int, int]] = []
    unsupported = [0, 0]
    for label in sorted({*first.names, *second.names}):
        overlaps = _Overlaps.of(first, second, label, iou, margin)
        pairs = overlaps.strict_pairs()
        strict_pairs += pairs
        near = [overlaps.near_pairs(side, pairs) for side in (0, 1)]
        near_first += near[0]
        near_second += near[1]
        for side in (0, 1):
            # The band of this side was used by objects of the other one.
            unsupported[side] += overlaps.unsupported(side, {pair[side] for pair in near[1 - side]})
    # Objects of the baseline are matched by the variant's band and the other way round.
    near_first = near_first[: max(0, len(near_first) - unsupported[1])]
    near_second = near_second[: max(0, len(near_second) - unsupported[0])]
    strict_missed = _without(first.is_above, [pair[0] for pair in strict_pairs])
    strict_extra = _without(second.is_above, [pair[1] for pair in strict_pairs])
    missed = np.setdiff1d(strict_missed, [pair[0] for pair in near_first])
    extra = np.setdiff1d(strict_extra, [pair[1] for pair in near_second])
    boxes = [baseline.boxes_xyxy[pair[0]] for pair in (*strict_pairs, *near_first)]
    boxes += [variant.boxes_xyxy[pair[1]] for pair in near_second]
    matched = np.array(boxes, np.float32).reshape(-1, 4)
    return ObjectComparison(
        strict_missed,
        strict_extra,
        missed,
        extra,
        MatchCounts(len(strict_pairs), len(strict_missed), len(strict_extra)),
        MatchCounts(len(matched), len(missed), len(extra)),
        matched,
    )


@dataclass(frozen=True)
class _Side:
    """One side's objects, and which of them are above the threshold or in the band below it."""

    found: Detections
    names: list[str]
    is_above: NDArray[np.bool_]
    is_in_band: NDArray[np.bool_]

    @classmethod
    def of(cls, found: Detections, threshold: float, margin: float) -> _Side:
        is_above = found.scores >= threshold
        return cls(
            found, labels_of(found), is_above, ~is_above & (found.scores >= threshold - margin - _EPSILON)
        )

    def indices(self, label: str) -> Indices:
        """Return the objects of a label in descending score."""
        places = np.flatnonzero(np.array([name == label for name in self.names], bool))
        return places[np.argsort(-self.found.scores[places], kind="stable")]


@dataclass(frozen=True)
class _Overlaps:
    """Objects of one label on both sides: (A, B) overlaps and differences of scores."""

    sides: tuple[_Side, _Side]
    places: tuple[Indices, Indices]
    table: NDArray[np.float64]
    rise: NDArray[np.float64]
    iou: float
    margin: float

    @classmethod
    def of(cls, first: _Side, second: _Side, label: str, iou: float, margin: float) -> _Overlaps:
        places = (first.indices(label), second.indices(label))
        boxes = [side.found.boxes_xyxy[chosen] for side, chosen in zip((first, second), places, strict=True)]
        scores = [
            side.found.scores[chosen].astype(np.float64)
            for side, chosen in zip((first, second), places, strict=True)
        ]
        rise = scores[1][None, :] - scores[0][:, None]
        return cls((first, second), places, pairwise_iou(boxes[0], boxes[1]), rise, iou, margin)

    def strict_pairs(self) -> list[tuple[int, int]]:
        """Return pairs above the threshold: the variant's best score first takes the largest overlap."""
        rows, columns = (side.is_above[chosen] for side, chosen in zip(self.sides, self.places, strict=True))
        table = np.where(rows[:, None] & columns[None, :], self.table, -1.0)
        return self._named([(row, column) for column, row, _ in match_table(table.T, self.iou)])

    def near_pairs(self, side: int, strict: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return pairs of a side's unmatched objects above the threshold with the other side's band."""
        taken = {pair[side] for pair in strict}
        masks = [one.is_in_band[chosen] for one, chosen in zip(self.sides, self.places, strict=True)]
        masks[side] = np.array(
            [self.sides[side].is_above[place] and place not in taken for place in self.places[side].tolist()],
            bool,
        )
        allowed = masks[0][:, None] & masks[1][None, :] & (np.abs(self.rise) <= self.margin + _EPSILON)
        table = np.where(allowed, self.table, -1.0)
        if side == 0:
            return self._named([(row, column) for row, column, _ in match_table(table, self.iou)])
        return self._named([(row, column) for column, row, _ in match_table(table.T, self.iou)])

    def unsupported(self, side: int, used: set[int]) -> int:
        """Return how many boxes of a side's band the other side has nothing like."""
        higher = self.rise if side == 1 else -self.rise.T
        table = self.table if side == 1 else self.table.T
        # higher[i, j]: by how much this side's j exceeds the other side's i.
        is_like = (table >= self.iou) & (higher <= self.margin + _EPSILON)
        supported = is_like.any(axis=0)
        band = self.sides[side].is_in_band[self.places[side]]
        free = np.array([place not in used for place in self.places[side].tolist()], bool)
        return int((band & free & ~supported).sum())

    def _named(self, pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
        return [(int(self.places[0][row]), int(self.places[1][column])) for row, column in pairs]


def _without(mask: NDArray[np.bool_], taken: list[int]) -> Indices:
    left = mask.copy()
    left[taken] = False
    return np.flatnonzero(left)
