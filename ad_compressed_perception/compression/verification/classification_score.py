# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Share of frames on which the variant's strongest label is the baseline's (top-1), with a score near it.

A score that is 0.25 away has another meaning for every threshold downstream: a variant whose scores are all
near 1 / K would agree else.

Beside it each label that the baseline gives on enough frames has a limit of its own, on ``1 - F1`` of its
frames: a rare sign that is lost hardly shows in the whole. The strict figure also asks for alike scores, on
which thresholds downstream act.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.compression.verification.informative import BaselineInformation
from ad_compressed_perception.compression.verification.scores import (
    AgreementFigures,
    AgreementScore,
    Indices,
    PartDrop,
    find_lost,
    of_words,
)
from ad_compressed_perception.core.results import Classification
from ad_compressed_perception.metrics.class_agreement import NO_LABEL, score_distance, strongest
from ad_compressed_perception.metrics.share_interval import share_intervals

MIN_LABEL_FRAMES = 20
"""A label is judged by itself from so many frames on; on fewer its interval decides nothing."""

SCORE_TOLERANCE = 0.25
"""Most difference of the strongest label's score on a frame that agrees."""


class ClassificationScore(AgreementScore):
    """Top-1 agreement, with the distance of the scores."""

    difference_unit = "largest difference of a score, and 1 more where the labels differ"

    def __init__(self, score_margin: float, labels: Sequence[str] | None = None) -> None:
        """Compare labels.

        Args:
            score_margin: difference of scores up to which the strict figure calls two results alike.
            labels: compare the frames on which either side gives one of these; None for all frames.
        """
        super().__init__(BaselineInformation(labels=labels))
        self._margin, self._labels = score_margin, labels
        self._names: tuple[str, ...] = ()
        # Of each frame: the baseline's strongest label, the variant's, how far the scores are apart.
        self._strongest: list[tuple[str, str]] = []
        self._apart: list[float] = []
        self._is_moved: list[bool] = []

    def _add(self, baseline: Classification, variant: Classification | None) -> float:
        self._names = (*baseline.labels, NO_LABEL)
        first = strongest(baseline)
        # Without a result no label agrees.
        second = "" if variant is None else strongest(variant)
        self._strongest.append((first, second))
        self._apart.append(1.0 if variant is None else score_distance(baseline, variant))
        self._is_moved.append(variant is None or _is_moved(baseline, variant))
        return self._apart[-1] + float(first != second)

    def _figures(self, frames: Indices, failed: int) -> AgreementFigures:
        """Return the share with its interval, and the drop of each label."""
        pairs = [self._strongest[place] for place in frames]
        apart = np.array(self._apart, np.float64)[frames]
        shown, kept, found = (self._by_label(pairs, which) for which in ("baseline", "both", "variant"))
        compared = np.array([self._is_compared(*pair) for pair in pairs], np.float64)
        moved = np.array(self._is_moved, bool)[frames]
        differs = (moved | np.array([one != other for one, other in pairs], bool)) * compared
        unlike = np.maximum(differs, (apart > self._margin) * compared)
        judged = np.flatnonzero((shown.sum(axis=0) >= MIN_LABEL_FRAMES) & self._chosen())
        # (N, 2 + judged labels, 3): what differs and what is compared; both, the baseline's, the variant's.
        parts = np.zeros((len(pairs), 2 + len(judged), 3))
        parts[:, 0, 0], parts[:, 1, 0], parts[:, :2, 1] = differs, unlike, compared[:, None]
        parts[:, 2:] = np.stack([kept[:, judged], shown[:, judged], found[:, judged]], axis=2)
        trials = np.concatenate([[compared.sum()] * 2, shown.sum(axis=0)[judged]])
        values = _drops(parts.sum(axis=0)[None])[0]
        intervals = share_intervals(parts, _drops, trials=trials)
        per_class = {
            name: {"both": int(kept[:, place].sum()), "baseline": int(count), "variant": int(also)}
            for place, (name, count, also) in enumerate(
                zip(self._names, shown.sum(axis=0), found.sum(axis=0), strict=True)
            )
            if count or also
        }
        return AgreementFigures(
            f"top-1 agreement{of_words(self._labels)}",
            1.0 - float(values[0]),
            float(values[0]),
            *intervals[0],
            len(pairs),
            int(self._information.flags()[frames].sum()),
            failed,
            {
                "mean_score_distance": float(apart.mean()),
                "max_score_distance": float(apart.max()),
                "frames_of_other_score": int((moved * compared).sum()),
                "frames_by_label": per_class,
            },
            f"same label, scores within {self._margin:g}{of_words(self._labels)}",
            1.0 - float(values[1]),
            labels=tuple(
                PartDrop(
                    self._names[place],
                    float(values[2 + row]),
                    *intervals[2 + row],
                    int((shown[:, place] | found[:, place]).sum()),
                )
                for row, place in enumerate(judged)
            ),
            lost=find_lost(self._names, shown & self._chosen(), kept),
            rare=tuple(
                PartDrop(self._names[place], math.nan, math.nan, math.nan, int(count))
                for place, count in enumerate(shown.sum(axis=0))
                if count < MIN_LABEL_FRAMES and self._names[place] != NO_LABEL and self._chosen()[place]
            ),
            label_text="F1 of label {!r}",
        )

    def _by_label(self, pairs: Sequence[tuple[str, str]], which: str) -> NDArray[np.bool_]:
        """Return (N, L) whether a label is the strongest one of the baseline, the variant or both."""
        places = {name: place for place, name in enumerate(self._names)}
        table = np.zeros((len(pairs), len(self._names)), bool)
        for row, (one, other) in enumerate(pairs):
            name = other if which == "variant" else one
            if name in places and (which != "both" or one == other):
                table[row, places[name]] = True
        return table

    def _chosen(self) -> NDArray[np.bool_]:
        return np.array([self._labels is None or name in self._labels for name in self._names], bool)

    def _is_compared(self, one: str, other: str) -> bool:
        return self._labels is None or one in self._labels or other in self._labels


def _is_moved(baseline: Classification, variant: Classification) -> bool:
    """Return whether the score of the baseline's strongest label is beyond the tolerance."""
    if not len(baseline.ranked):
        return False
    label = int(baseline.ranked[0])
    return abs(float(baseline.scores[label]) - float(variant.scores[label])) > SCORE_TOLERANCE


def _drops(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (K, rows) shares that differ, then 1 - F1 of labels, of (K, rows, 3) sums; NaN without any."""
    first, second, third = np.moveaxis(sums.astype(np.float64), 2, 0)
    top, below = first.copy(), second.copy()
    top[:, 2:] = second[:, 2:] + third[:, 2:] - 2.0 * first[:, 2:]
    below[:, 2:] = second[:, 2:] + third[:, 2:]
    return np.divide(top, below, out=np.full(top.shape, np.nan), where=below > 0)
