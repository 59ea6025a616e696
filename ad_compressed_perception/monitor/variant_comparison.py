# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A variant against the baseline or the ground truth: pairs, pooled agreement, paired speed-up."""

from __future__ import annotations

import math

import numpy as np

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.metrics.agreement import (
    MATCH_IOU,
    Agreement,
    DetectionAgreement,
    MatchCounts,
    SegmentationAgreement,
    agreement,
    pool,
)
from ad_compressed_perception.metrics.latency import LatencyWindow
from ad_compressed_perception.monitor.pairing import Side, StampPairer
from ad_compressed_perception.monitor.variant_monitor import (
    KEPT_FRAMES,
    RECENT_FRAMES,
    VariantMonitor,
)
from ad_compressed_perception.report import schema

_TIMES_LATER_S = 1.0  # they come in batches (timing_period_s, read_period_s), without the results
_WAITING_TIMES = 1024  # floats, so far more of them than of results (masks of megabytes) may wait


class VariantComparison:
    """Counters and figures of a variant's comparison with its task's baseline.

    Where a ground truth is known, another instance compares each variant with it; the ground truth is
    then on the baseline's side.
    """

    def __init__(self, pair_timeout_s: float) -> None:
        """Give up a result whose partner does not come within ``pair_timeout_s``."""
        self.results: StampPairer[Result] = StampPairer(pair_timeout_s)
        self.times: StampPairer[float] = StampPairer(pair_timeout_s + _TIMES_LATER_S, capacity=_WAITING_TIMES)
        self.compared = 0
        self.incomparable = 0
        self.incomparable_reason = ""
        self.pooled: Agreement | None = None
        self.last: Agreement | None = None
        self.last_pair_s = math.nan
        self.scores = LatencyWindow(RECENT_FRAMES, KEPT_FRAMES)
        self.infer_ratios = LatencyWindow(RECENT_FRAMES, KEPT_FRAMES)

    def add_result(
        self, side: Side, stamp_ns: int, result: Result, now_s: float
    ) -> tuple[Result, Result, Agreement] | None:
        """Add a result; return (baseline's, variant's, agreement) where it completes a pair."""
        pair = self.results.add(side, stamp_ns, result, now_s)
        if pair is None:
            return None
        try:
            self.last = agreement(*pair)
            self.pooled = pool(self.pooled, self.last)
        except DataError as error:
            self.incomparable += 1
            self.incomparable_reason = str(error)
            return None
        self.compared += 1
        self.last_pair_s = now_s
        if self.last.score is not None:
            self.scores.add(self.last.score)
        return (*pair, self.last)

    def add_infer_ms(self, side: Side, stamp_ns: int, infer_ms: float, now_s: float) -> None:
        """Add the inference time of a processed frame."""
        pair = self.times.add(side, stamp_ns, infer_ms, now_s)
        if pair is not None and pair[1] > 0.0:
            self.infer_ratios.add(pair[0] / pair[1])

    def expire(self, now_s: float) -> None:
        """Give up what has waited longer than the timeout."""
        self.results.expire(now_s)
        self.times.expire(now_s)

    def close(self, now_s: float) -> None:
        """Give up everything that waits."""
        self.results.close(now_s)
        self.times.close(now_s)

    def report(self, baseline: VariantMonitor, variant: VariantMonitor) -> schema.ComparisonReport:
        """Return the comparison's part of the report."""
        pairer = self.results
        counters = pairer.counters
        return schema.ComparisonReport(
            pairs=self.compared,
            unpaired=pairer.unpaired,
            variant_missing=counters["baseline"].unpaired,
            baseline_missing=counters["variant"].unpaired,
            late=pairer.late,
            pending=pairer.pending,
            unstamped=counters["baseline"].unstamped + counters["variant"].unstamped,
            incomparable=self.incomparable,
            speedup_infer_p50=_ratio(baseline.stages["infer"], variant.stages["infer"]),
            speedup_infer_paired_p50=self.infer_ratios.total().p50,
            speedup_end_to_end_p50=_ratio(baseline.end_to_end, variant.end_to_end),
            agreement=figures(self.pooled) if self.pooled is not None else None,
            frame_score=self._frame_scores(),
        )

    def accuracy(self) -> schema.AccuracyReport:
        """Return the part of the report about a comparison with the ground truth."""
        counters = self.results.counters
        return schema.AccuracyReport(
            pairs=self.compared,
            ground_truth_missing=counters["variant"].unpaired,
            result_missing=counters["baseline"].unpaired,
            pending=self.results.pending,
            incomparable=self.incomparable,
            figures=figures(self.pooled) if self.pooled is not None else None,
            frame_score=self._frame_scores(),
        )

    def _frame_scores(self) -> schema.FrameScores | None:
        if self.scores.count == 0:
            return None
        p05, p50 = np.percentile(self.scores.values(), (5.0, 50.0))
        return schema.FrameScores(mean=self.scores.mean, p50=float(p50), p05=float(p05), min=self.scores.min)


def _ratio(baseline: LatencyWindow, variant: LatencyWindow) -> float:
    """Baseline's median over the variant's; NaN where there is none."""
    baseline_ms, variant_ms = baseline.total().p50, variant.total().p50
    return baseline_ms / variant_ms if variant_ms > 0.0 else math.nan


def figures(pooled: Agreement) -> schema.AgreementFigures:
    """Return a pooled agreement as it stands in the report."""
    if isinstance(pooled, DetectionAgreement):
        overall = _class_figures(pooled.overall)
        return schema.DetectionFigures(
            precision=overall.precision,
            recall=overall.recall,
            f1=overall.f1,
            matched=overall.matched,
            missed=overall.missed,
            extra=overall.extra,
            iou=MATCH_IOU,
            mean_matched_iou=pooled.mean_matched_iou,
            per_class={label: _class_figures(counts) for label, counts in sorted(pooled.per_class.items())},
        )
    if isinstance(pooled, SegmentationAgreement):
        return schema.SegmentationFigures(
            miou=pooled.miou,
            differing_pixels_share=pooled.differing_pixels_share,
            per_class_iou=pooled.per_class_iou,
        )
    return schema.PlanningFigures(
        ade_m=pooled.ade_m,
        fde_m=pooled.fde_m,
        max_fde_m=pooled.max_fde_m,
        mean_lateral_offset_m=pooled.mean_lateral_offset_m,
        max_lateral_offset_m=pooled.max_lateral_offset_m,
    )


def _class_figures(counts: MatchCounts) -> schema.ClassAgreement:
    return schema.ClassAgreement(
        precision=counts.precision,
        recall=counts.recall,
        f1=counts.f1,
        matched=counts.matched,
        missed=counts.missed,
        extra=counts.extra,
    )
