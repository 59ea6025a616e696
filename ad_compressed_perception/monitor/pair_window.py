# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Agreement of a variant with its baseline over the last seconds, by the measure of the accept gate.

The score and its interval are computed as the verdict's are (docs/guides/verdict.md), from published results:
strict F1, the weighted mean IoU, the share of paths within the tolerance, the share of equal labels. Pairs on
which there is nothing to compare (no object on either side, one label) count as pairs and not as informative
ones; without an informative pair there is no score, for two nodes that see nothing agree perfectly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import Result
from ad_compressed_perception.metrics.agreement import (
    Agreement,
    ClassificationAgreement,
    DetectionAgreement,
    MatchCounts,
    PlanningAgreement,
    SegmentationAgreement,
)
from ad_compressed_perception.metrics.interval import Ends
from ad_compressed_perception.metrics.label_weights import iou_of_sums
from ad_compressed_perception.metrics.share_interval import share_intervals
from ad_compressed_perception.monitor.figures import figures
from ad_compressed_perception.monitor.gate import Gate
from ad_compressed_perception.monitor.pair_parts import FEWEST, Pair, measure, pair_of
from ad_compressed_perception.monitor.windows import RollingWindow
from ad_compressed_perception.report.schemas.agreement import AgreementFigures, SegmentationFigures


@dataclass(frozen=True)
class Scored:
    """Agreement in a window.

    Attributes:
        pairs: compared frames.
        informative: those with something to compare.
        figures: pooled, in the report's form; None without a pair.
        score: 0..1; NaN without an informative pair.
        interval: its 95 % interval; NaN where there are too few pairs.
        worst_score: of the frame that agrees least, by the same measure; NaN without an informative pair.
        worst_stamp_ns: its stamp.
    """

    pairs: int = 0
    informative: int = 0
    figures: AgreementFigures | None = None
    score: float = math.nan
    interval: Ends = (math.nan, math.nan)
    worst_score: float = math.nan
    worst_stamp_ns: int | None = None


class PairWindow:
    """The pairs of the last seconds."""

    def __init__(self, horizon_s: float) -> None:
        """Keep ``horizon_s`` seconds."""
        self.rolling: RollingWindow[Pair] = RollingWindow(horizon_s)
        self._gate = Gate()
        self._labels: tuple[str, ...] = ()

    def measure_by(self, gate: Gate) -> None:
        """Measure as a gate does from now on; what was measured by another tolerance is dropped."""
        if gate != self._gate:
            self._gate = gate
            self.rolling.clear()

    def add(self, stamp_ns: int, results: tuple[Result, Result], agreed: Agreement, now_s: float) -> None:
        """Add a compared pair: results of baseline and variant, and their agreement."""
        if isinstance(agreed, SegmentationAgreement) and agreed.labels != self._labels:
            self._labels = agreed.labels
            self.rolling.clear()
        pair = pair_of(stamp_ns, results, agreed, self._gate)
        self.rolling.add(pair, now_s)

    def report(self, window_s: float, now_s: float) -> Scored:
        """Return the agreement of the last ``window_s`` seconds."""
        pairs = self.rolling.last(window_s, now_s)
        if not pairs:
            return Scored()
        found = measure(pairs, self._gate, self._labels)
        pooled = self._pool(pairs, found.parts)
        # Each pair alone, by the measure and the weights of the score; what has nothing to compare is last.
        scores = np.where(found.informative, found.shares(found.parts)[:, 0], math.inf)
        worst = int(np.lexsort((np.array([-pair.distance for pair in pairs]), scores))[0])
        informative, score = int(found.informative.sum()), math.nan
        interval: Ends = (math.nan, math.nan)
        if informative:
            score = float(found.shares(found.parts.sum(axis=0, dtype=np.float64)[None])[0, 0])
        if informative >= FEWEST:
            interval = share_intervals(found.parts, found.shares, trials=[found.trials])[0]
        if not informative:
            return Scored(len(pairs), 0, pooled)
        worst_score, stamp_ns = float(scores[worst]), pairs[worst].stamp_ns
        return Scored(len(pairs), informative, pooled, score, interval, worst_score, stamp_ns)

    def _pool(self, pairs: Sequence[Pair], parts: NDArray[np.int64]) -> AgreementFigures:
        # Of one kind: pooling of the whole run has refused others.
        agreed = [pair.agreed for pair in pairs]
        if objects := [each for each in agreed if isinstance(each, DetectionAgreement)]:
            overlap = sum(each.matched_iou_sum for each in objects)
            return figures(DetectionAgreement(len(objects), _add_up(objects), overlap))
        if paths := [each for each in agreed if isinstance(each, PlanningAgreement)]:
            return _paths(paths)
        if named := [each for each in agreed if isinstance(each, ClassificationAgreement)]:
            distances = [each.score_distance_max for each in named]
            return figures(
                ClassificationAgreement(len(named), _add_up(named), sum(distances), max(distances))
            )
        return self._pixels(parts.sum(axis=0))

    def _pixels(self, pixels: NDArray[np.int64]) -> SegmentationFigures:
        ious = zip(self._labels, iou_of_sums(pixels).tolist(), strict=True)
        per_class = {name: iou for name, iou in ious if not math.isnan(iou)}
        return SegmentationFigures(
            miou=float(np.mean(list(per_class.values()))) if per_class else 1.0,
            differing_pixels_share=1.0 - float(pixels[2].sum()) / max(1.0, float(pixels[0].sum())),
            per_class_iou=per_class,
        )


def _add_up(agreed: Sequence[DetectionAgreement | ClassificationAgreement]) -> dict[str, MatchCounts]:
    """Add up as ``+`` does, without a dictionary for every frame."""
    sums: dict[str, list[int]] = {}
    for each in agreed:
        for name, counts in each.per_class.items():
            own = sums.setdefault(name, [0, 0, 0])
            own[0] += counts.matched
            own[1] += counts.missed
            own[2] += counts.extra
    return {name: MatchCounts(*own) for name, own in sums.items()}


def _paths(agreed: Sequence[PlanningAgreement]) -> AgreementFigures:
    offsets_m = np.array([each.max_lateral_offset_m for each in agreed])
    return figures(
        PlanningAgreement(
            len(agreed),
            float(np.mean([each.ade_m for each in agreed])),
            float(np.mean([each.fde_m for each in agreed])),
            float(offsets_m.mean()),
            float(offsets_m.max()),
            max(each.max_fde_m for each in agreed),
        )
    )
