# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Agreement of two classifications of a frame: the same strongest label, and how far the scores are apart."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.results import Classification
from ad_compressed_perception.metrics.match_counts import MatchCounts

NO_LABEL = "(no label)"
"""Stands for the strongest label of a frame on which no score reaches the threshold."""


@dataclass(frozen=True)
class ClassificationAgreement:
    """Frames with the same strongest label (top-1), over ``frames`` frames.

    Attributes:
        frames: frames pooled.
        per_class: label to frames on which both, only the baseline, only the variant have it as the
            strongest one; each frame that differs is missed by one label and extra of another.
        score_distance_sum: sum over frames of ``score_distance``.
        score_distance_max: its largest value.
    """

    frames: int = 0
    per_class: dict[str, MatchCounts] = field(default_factory=dict)
    score_distance_sum: float = 0.0
    score_distance_max: float = 0.0

    def __add__(self, other: ClassificationAgreement) -> ClassificationAgreement:
        """Pool two agreements; counts add up."""
        pooled = dict(self.per_class)
        for label, counts in other.per_class.items():
            pooled[label] = pooled.get(label, MatchCounts()) + counts
        return ClassificationAgreement(
            self.frames + other.frames,
            pooled,
            self.score_distance_sum + other.score_distance_sum,
            max(self.score_distance_max, other.score_distance_max),
        )

    @property
    def same(self) -> int:
        """Frames with the same strongest label."""
        return sum(counts.matched for counts in self.per_class.values())

    @property
    def mean_score_distance(self) -> float:
        """Mean over frames of ``score_distance``; 0 without a frame."""
        return self.score_distance_sum / self.frames if self.frames else 0.0

    @property
    def score(self) -> float:
        """Share of the frames with the same strongest label; 1 without a frame."""
        return self.same / self.frames if self.frames else 1.0


def strongest(found: Classification) -> str:
    """Return the strongest label, or NO_LABEL."""
    return found.label or NO_LABEL


def score_distance(baseline: Classification, variant: Classification) -> float:
    """Return the largest difference of a label's score, over labels of which both sides give one.

    Published results have their strongest labels only; 1 where no label has both scores.
    """
    apart = np.abs(baseline.scores.astype(np.float64) - variant.scores)
    known = apart[~np.isnan(apart)]
    if known.size:
        return float(known.max())
    return 0.0 if not (len(baseline.ranked) or len(variant.ranked)) else 1.0


def classification_agreement(baseline: Classification, variant: Classification) -> ClassificationAgreement:
    """Compare the strongest labels of one frame; raise DataError where the labels differ."""
    if baseline.labels != variant.labels:
        raise DataError(
            f"classes of different labels: baseline {list(baseline.labels)}, variant {list(variant.labels)}"
        )
    one, other = strongest(baseline), strongest(variant)
    counts = {one: MatchCounts(1)} if one == other else {one: MatchCounts(0, 1), other: MatchCounts(0, 0, 1)}
    apart = score_distance(baseline, variant)
    return ClassificationAgreement(1, counts, apart, apart)
