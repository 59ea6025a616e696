# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a pair of results contributes to an agreement, by the measure of the accept gate.

Strict F1, the weighted mean IoU, the share of paths within the tolerance, the share of equal labels: each is
made of sums over pairs, so that pairs can be weighted and left out. Pairs on which there is nothing to
compare (no object on either side, one label) are not informative.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
from ad_compressed_perception.metrics.share_interval import independent_frames
from ad_compressed_perception.monitor.gate import Gate

FEWEST = 4
"""Pairs below which no interval is computed."""

Shares = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class Pair(NamedTuple):
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


class Measured(NamedTuple):
    """Pairs, measured: what each contributes to the sums of which ``shares`` makes the score.

    Attributes:
        parts: (N, ...) sums of each pair.
        informative: (N,) bool.
        trials: independent trials that a score of exactly 0 or 1 is the result of.
        shares: maps (K, ...) sums to (K, 1) scores.
    """

    parts: NDArray[Any]
    informative: NDArray[np.bool_]
    trials: float
    shares: Shares


def pair_of(stamp_ns: int, results: tuple[Result, Result], agreed: Agreement, gate: Gate) -> Pair:
    """Return what a compared pair contributes: results of baseline and variant, and their agreement."""
    if isinstance(agreed, SegmentationAgreement):
        table = agreed.confusion
        return Pair(stamp_ns, None, np.stack([table.sum(axis=1), table.sum(axis=0), np.diagonal(table)]))
    if isinstance(agreed, DetectionAgreement):
        counts = _chosen(agreed, gate)
        return Pair(stamp_ns, agreed, (counts.matched, counts.missed, counts.extra))
    if isinstance(agreed, ClassificationAgreement):
        return _classified(stamp_ns, results, agreed, gate)
    return Pair(stamp_ns, agreed, (_is_within(*results, gate), 1.0), agreed.max_lateral_offset_m)


def measure(pairs: Sequence[Pair], gate: Gate, labels: tuple[str, ...]) -> Measured:
    """Measure pairs of one kind, at least one.

    Args:
        pairs: what they contribute.
        gate: says which labels are compared.
        labels: of the masks, where they are masks.
    """
    parts = np.array([pair.parts for pair in pairs])
    kind = type(pairs[0].agreed)
    if kind is DetectionAgreement:
        return Measured(parts, np.asarray(parts.sum(axis=1) > 0), float(parts[:, :2].sum()), _f1)
    if kind is PlanningAgreement:
        offsets_m = np.array([pair.distance for pair in pairs])
        trials = independent_frames(offsets_m) if len(pairs) >= FEWEST else float(len(pairs))
        return Measured(parts, np.ones(len(pairs), bool), trials, _ratio)
    if kind is ClassificationAgreement:
        return Measured(parts, _informative_labels(pairs, parts), float(parts[:, 1].sum()), _ratio)
    return _pixels(parts, gate, labels)


def _chosen(agreed: DetectionAgreement, gate: Gate) -> MatchCounts:
    """Counts of the labels that the gate compares."""
    if gate.labels is None:
        return agreed.overall
    chosen = [counts for name, counts in agreed.per_class.items() if name in gate.labels]
    return sum(chosen, MatchCounts())


def _classified(
    stamp_ns: int, results: tuple[Result, Result], agreed: ClassificationAgreement, gate: Gate
) -> Pair:
    """A frame on which neither side has a label that the gate compares has nothing to compare."""
    is_compared = gate.labels is None or any(name in gate.labels for name in agreed.per_class)
    baseline = results[0]
    label = strongest(baseline) if isinstance(baseline, Classification) else NO_LABEL
    parts = (float(agreed.same * is_compared), float(is_compared))
    return Pair(stamp_ns, agreed, parts, agreed.score_distance_max, label)


def _is_within(baseline: Result, variant: Result, gate: Gate) -> float:
    if not (isinstance(baseline, Trajectory) and isinstance(variant, Trajectory)):
        return math.nan
    limits = gate.lateral_tolerance_m, gate.lateral_tolerance_per_m
    return float(not (is_offset(baseline, variant, *limits) or is_other_length(baseline, variant)))


def _pixels(parts: NDArray[np.int64], gate: Gate, labels: tuple[str, ...]) -> Measured:
    compared = np.array([gate.labels is None or name in gate.labels for name in labels], bool)
    pixels = parts.sum(axis=0)
    shown = np.maximum(parts[:, 0], parts[:, 1]) * compared
    more = np.maximum(pixels[0], pixels[1]) * compared
    weights = weights_of_pixels(more, informative_of_pixels(more, shown))
    totals = parts[:, 0].sum(axis=1, keepdims=True)
    has_area = parts[:, 0] >= np.maximum(1.0, MIN_SHARE * totals)
    informative = np.asarray(has_area.sum(axis=1) >= 2)
    return Measured(
        parts,
        informative,
        float(len(parts)),
        lambda table: weighted_mean(iou_of_sums(table), weights)[:, None],
    )


def _f1(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (K, 1) F1 of (K, 3) matched, missed and extra objects; NaN without any."""
    matched, missed, extra = np.moveaxis(counts.astype(np.float64), 1, 0)
    total = 2.0 * matched + missed + extra
    return np.divide(2.0 * matched, total, out=np.full(total.shape, np.nan), where=total > 0)[:, None]


def _ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(sums[:, :1], sums[:, 1:], out=np.full((len(sums), 1), np.nan), where=sums[:, 1:] > 0)


def _informative_labels(pairs: Sequence[Pair], parts: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Without a difference no more frames of a label are informative than there are others, as in a verdict.

    Two classifiers that always give the same label agree perfectly, which means nothing.
    """
    informative = np.asarray(parts[:, 1] > 0)
    if not (parts[:, 0] < parts[:, 1]).any():
        names = np.array([pair.label for pair in pairs])
        informative &= names != NO_LABEL
        for name, frames in zip(*np.unique(names, return_counts=True), strict=True):
            informative[np.flatnonzero(names == name)[len(names) - int(frames) :]] = False
    return informative
