# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Agreement of a variant with its baseline over the last seconds, by the measure of the accept gate.

The score and its interval are computed as the verdict's are (docs/verdict.md), from published results:
strict F1, the weighted mean IoU, the share of paths within the tolerance, the share of equal labels. Pairs on
which there is nothing to compare (no object on either side, one label) count as pairs and not as informative
ones; without an informative pair there is no score, for two nodes that see nothing agree perfectly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import Classification, Result, Trajectory
from ad_compressed_perception.metrics.agreement import (
    Agreement,
    ClassificationAgreement,
    DetectionAgreement,
    MatchCounts,
    PlanningAgreement,
    SegmentationAgreement,
)
from ad_compressed_perception.metrics.class_agreement import NO_LABEL, strongest
from ad_compressed_perception.metrics.label_weights import (
    MIN_SHARE,
    informative_of_pixels,
    iou_of_sums,
    weighted_mean,
    weights_of_pixels,
)
from ad_compressed_perception.metrics.path_tolerance import is_offset, is_other_length
from ad_compressed_perception.metrics.share_interval import (
    Interval,
    independent_frames,
    share_intervals,
)
from ad_compressed_perception.monitor.figures import figures
from ad_compressed_perception.monitor.gate import Gate
from ad_compressed_perception.monitor.windows import RollingWindow
from ad_compressed_perception.report import schema

_FEWEST = 4
"""Pairs below which no interval is computed."""


Shares = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class _Pair(NamedTuple):
    """What a pair contributes.

    Attributes:
        stamp_ns: of its frame.
        agreed: its agreement; None for masks, whose table of pixels may be large.
        parts: matched, missed and extra objects; (3, L) pixels; or whether a path or label agrees, and 1.
        distance: the largest lateral offset of a path, m, or difference of a score; 0 for other tasks.
        label: a classification's strongest one of the baseline.
    """

    stamp_ns: int
    agreed: DetectionAgreement | PlanningAgreement | ClassificationAgreement | None
    parts: Any
    distance: float = 0.0
    label: str = ""


class _Measured(NamedTuple):
    """Pairs, measured: what each contributes to the sums of which ``shares`` makes the score.

    Attributes:
        figures: pooled, in the report's form.
        parts: (N, ...) sums of each pair.
        informative: (N,) bool.
        trials: independent trials that a score of exactly 0 or 1 is the result of.
        shares: maps (K, ...) sums to (K, 1) scores.
    """

    figures: schema.AgreementFigures
    parts: NDArray[Any]
    informative: NDArray[np.bool_]
    trials: float
    shares: Shares


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
    figures: schema.AgreementFigures | None = None
    score: float = math.nan
    interval: Interval = (math.nan, math.nan)
    worst_score: float = math.nan
    worst_stamp_ns: int | None = None


class PairWindow:
    """The pairs of the last seconds."""

    def __init__(self, horizon_s: float) -> None:
        """Keep ``horizon_s`` seconds."""
        self.rolling: RollingWindow[_Pair] = RollingWindow(horizon_s)
        self._gate = Gate()
        self._labels: tuple[str, ...] = ()

    def measure_by(self, gate: Gate) -> None:
        """Measure as a gate does from now on; what was measured by another tolerance is dropped."""
        if gate != self._gate:
            self._gate = gate
            self.rolling.clear()

    def add(self, stamp_ns: int, results: tuple[Result, Result], agreed: Agreement, now_s: float) -> None:
        """Add a compared pair: results of baseline and variant, and their agreement."""
        if isinstance(agreed, SegmentationAgreement):
            if agreed.labels != self._labels:
                self._labels = agreed.labels
                self.rolling.clear()
            table = agreed.confusion
            parts = np.stack([table.sum(axis=1), table.sum(axis=0), np.diagonal(table)])
            pair = _Pair(stamp_ns, None, parts)
        elif isinstance(agreed, DetectionAgreement):
            counts = self._chosen(agreed)
            pair = _Pair(stamp_ns, agreed, (counts.matched, counts.missed, counts.extra))
        elif isinstance(agreed, ClassificationAgreement):
            pair = self._classified(stamp_ns, results, agreed)
        else:
            within = self._is_within(*results)
            pair = _Pair(stamp_ns, agreed, (within, 1.0), agreed.max_lateral_offset_m)
        self.rolling.add(pair, now_s)

    def report(self, window_s: float, now_s: float) -> Scored:
        """Return the agreement of the last ``window_s`` seconds."""
        pairs = self.rolling.last(window_s, now_s)
        if not pairs:
            return Scored()
        found = self._measure(pairs)
        # Each pair alone, by the measure and the weights of the score; what has nothing to compare is last.
        scores = np.where(found.informative, found.shares(found.parts)[:, 0], math.inf)
        worst = int(np.lexsort((np.array([-pair.distance for pair in pairs]), scores))[0])
        informative, score = int(found.informative.sum()), math.nan
        interval: Interval = (math.nan, math.nan)
        if informative:
            score = float(found.shares(found.parts.sum(axis=0, dtype=np.float64)[None])[0, 0])
        if informative >= _FEWEST:
            interval = share_intervals(found.parts, found.shares, trials=[found.trials])[0]
        if not informative:
            return Scored(len(pairs), 0, found.figures)
        worst_score, stamp_ns = float(scores[worst]), pairs[worst].stamp_ns
        return Scored(len(pairs), informative, found.figures, score, interval, worst_score, stamp_ns)

    def _measure(self, pairs: Sequence[_Pair]) -> _Measured:
        # Of one kind: pooling of the whole run has refused others.
        parts = np.array([pair.parts for pair in pairs])
        objects = [pair.agreed for pair in pairs if isinstance(pair.agreed, DetectionAgreement)]
        if objects:
            informative = np.asarray(parts.sum(axis=1) > 0)
            return _Measured(_pool(objects), parts, informative, float(parts[:, :2].sum()), _f1)
        paths = [pair.agreed for pair in pairs if isinstance(pair.agreed, PlanningAgreement)]
        if paths:
            return _paths(paths, parts)
        return _labels(pairs, parts) if pairs[0].label else self._pixels(parts)

    def _chosen(self, agreed: DetectionAgreement) -> MatchCounts:
        """Counts of the labels that the gate compares."""
        labels = self._gate.labels
        if labels is None:
            return agreed.overall
        chosen = [counts for name, counts in agreed.per_class.items() if name in labels]
        return sum(chosen, MatchCounts())

    def _classified(
        self, stamp_ns: int, results: tuple[Result, Result], agreed: ClassificationAgreement
    ) -> _Pair:
        """A frame on which neither side has a label that the gate compares has nothing to compare."""
        labels = self._gate.labels
        is_compared = labels is None or any(name in labels for name in agreed.per_class)
        baseline = results[0]
        label = strongest(baseline) if isinstance(baseline, Classification) else NO_LABEL
        parts = (float(agreed.same * is_compared), float(is_compared))
        return _Pair(stamp_ns, agreed, parts, agreed.score_distance_max, label)

    def _is_within(self, baseline: Result, variant: Result) -> float:
        if not (isinstance(baseline, Trajectory) and isinstance(variant, Trajectory)):
            return math.nan
        limits = self._gate.lateral_tolerance_m, self._gate.lateral_tolerance_per_m
        return float(not (is_offset(baseline, variant, *limits) or is_other_length(baseline, variant)))

    def _pixels(self, parts: NDArray[np.int64]) -> _Measured:
        labels = self._gate.labels
        compared = np.array([labels is None or name in labels for name in self._labels], bool)
        pixels = parts.sum(axis=0)
        shown = np.maximum(parts[:, 0], parts[:, 1]) * compared
        more = np.maximum(pixels[0], pixels[1]) * compared
        weights = weights_of_pixels(more, informative_of_pixels(more, shown))
        ious = zip(self._labels, iou_of_sums(pixels).tolist(), strict=True)
        per_class = {name: iou for name, iou in ious if not math.isnan(iou)}
        pooled = schema.SegmentationFigures(
            miou=float(np.mean(list(per_class.values()))) if per_class else 1.0,
            differing_pixels_share=1.0 - float(pixels[2].sum()) / max(1.0, float(pixels[0].sum())),
            per_class_iou=per_class,
        )
        totals = parts[:, 0].sum(axis=1, keepdims=True)
        has_area = parts[:, 0] >= np.maximum(1.0, MIN_SHARE * totals)
        informative = np.asarray(has_area.sum(axis=1) >= 2)
        return _Measured(
            pooled,
            parts,
            informative,
            float(len(parts)),
            lambda table: weighted_mean(iou_of_sums(table), weights)[:, None],
        )


def _pool(agreed: Sequence[DetectionAgreement]) -> schema.AgreementFigures:
    overlap = sum(each.matched_iou_sum for each in agreed)
    return figures(DetectionAgreement(len(agreed), _add_up(agreed), overlap))


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


def _f1(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (K, 1) F1 of (K, 3) matched, missed and extra objects; NaN without any."""
    matched, missed, extra = np.moveaxis(counts.astype(np.float64), 1, 0)
    total = 2.0 * matched + missed + extra
    return np.divide(2.0 * matched, total, out=np.full(total.shape, np.nan), where=total > 0)[:, None]


def _labels(pairs: Sequence[_Pair], parts: NDArray[np.float64]) -> _Measured:
    """Without a difference no more frames of a label are informative than there are others, as in a verdict.

    Two classifiers that always give the same label agree perfectly, which means nothing.
    """
    agreed = [pair.agreed for pair in pairs if isinstance(pair.agreed, ClassificationAgreement)]
    informative = np.asarray(parts[:, 1] > 0)
    if not (parts[:, 0] < parts[:, 1]).any():
        names = np.array([pair.label for pair in pairs])
        informative &= names != NO_LABEL
        for name, frames in zip(*np.unique(names, return_counts=True), strict=True):
            informative[np.flatnonzero(names == name)[len(names) - int(frames) :]] = False
    distances = [each.score_distance_max for each in agreed]
    pooled = ClassificationAgreement(len(agreed), _add_up(agreed), sum(distances), max(distances))
    return _Measured(
        figures(pooled),
        parts,
        informative,
        float(parts[:, 1].sum()),
        lambda sums: np.divide(
            sums[:, :1], sums[:, 1:], out=np.full((len(sums), 1), np.nan), where=sums[:, 1:] > 0
        ),
    )


def _paths(agreed: Sequence[PlanningAgreement], parts: NDArray[np.float64]) -> _Measured:
    offsets_m = np.array([each.max_lateral_offset_m for each in agreed])
    pooled = PlanningAgreement(
        len(agreed),
        float(np.mean([each.ade_m for each in agreed])),
        float(np.mean([each.fde_m for each in agreed])),
        float(offsets_m.mean()),
        float(offsets_m.max()),
        max(each.max_fde_m for each in agreed),
    )
    return _Measured(
        figures(pooled),
        parts,
        np.ones(len(agreed), bool),
        independent_frames(offsets_m) if len(agreed) >= _FEWEST else float(len(agreed)),
        lambda sums: sums[:, :1] / sums[:, 1:],
    )
