# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A variant against the baseline or the ground truth: pairs, pooled agreement, paired speed-up."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.metrics.agreement import Agreement, agreement, pool
from ad_compressed_perception.metrics.latency import LatencyWindow
from ad_compressed_perception.monitor.figures import figures
from ad_compressed_perception.monitor.pair_window import PairWindow
from ad_compressed_perception.monitor.pairing import Side, StampPairer
from ad_compressed_perception.monitor.variant_monitor import (
    KEPT_FRAMES,
    RECENT_FRAMES,
    VariantMonitor,
)
from ad_compressed_perception.monitor.windows import WINDOWS_S, RollingWindow, window_name
from ad_compressed_perception.report import schema

_TIMES_LATER_S = 1.0  # they come in batches (timing_period_s, read_period_s), without the results
_WAITING_TIMES = 1024  # floats, so far more of them than of results (masks of megabytes) may wait


class VariantComparison:
    """Counters and figures of a variant's comparison with its task's baseline.

    Where a ground truth is known, another instance compares each variant with it; the ground truth is
    then on the baseline's side.
    """

    def __init__(self, pair_timeout_s: float, windows_s: Sequence[float] = WINDOWS_S) -> None:
        """Give up a result whose partner does not come within ``pair_timeout_s``; look back ``windows_s``."""
        self.windows_s = tuple(windows_s)
        self.recent = PairWindow(max(windows_s))
        self._recent_ratios: RollingWindow[float] = RollingWindow(max(windows_s))
        self._recent_unpaired: RollingWindow[int] = RollingWindow(max(windows_s))
        self._unpaired_before = 0
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
        self._note_unpaired(now_s)
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
        self.recent.add(stamp_ns, pair, self.last, now_s)
        if self.last.score is not None:
            self.scores.add(self.last.score)
        return (*pair, self.last)

    def add_infer_ms(self, side: Side, stamp_ns: int, infer_ms: float, now_s: float) -> None:
        """Add the inference time of a processed frame."""
        pair = self.times.add(side, stamp_ns, infer_ms, now_s)
        if pair is not None and pair[1] > 0.0:
            self.infer_ratios.add(pair[0] / pair[1])
            self._recent_ratios.add(pair[0] / pair[1], now_s)

    def expire(self, now_s: float) -> None:
        """Give up what has waited longer than the timeout."""
        self.results.expire(now_s)
        self.times.expire(now_s)
        self._note_unpaired(now_s)

    def close(self, now_s: float) -> None:
        """Give up everything that waits."""
        self.results.close(now_s)
        self.times.close(now_s)

    def forget_recent(self) -> None:
        """Drop the rolling windows: one of the nodes runs another model now."""
        for each in (self.recent.rolling, self._recent_ratios, self._recent_unpaired):
            each.clear()

    def _note_unpaired(self, now_s: float) -> None:
        grown = self.results.unpaired - self._unpaired_before
        if grown:
            self._unpaired_before += grown
            self._recent_unpaired.add(grown, now_s)

    def window(
        self, window_s: float, now_s: float, baseline: VariantMonitor, variant: VariantMonitor
    ) -> schema.ComparisonWindow:
        """Return the comparison in the last ``window_s`` seconds, since both nodes have reported."""
        start_s = max(baseline.first_s, variant.first_s)
        scored = self.recent.report(window_s, now_s)
        span_s = self.recent.rolling.span_s(window_s, now_s, start_s) if math.isfinite(start_s) else 0.0
        frames = max(scored.pairs, *(each.recent.completed(span_s, now_s) for each in (baseline, variant)))
        ratios = self._recent_ratios.last(window_s, now_s)
        return schema.ComparisonWindow(
            window_s=window_s,
            span_s=span_s,
            pairs=scored.pairs,
            informative=scored.informative,
            unpaired=sum(self._recent_unpaired.last(window_s, now_s)),
            frames=frames,
            compared_share=scored.pairs / frames if frames else None,
            agreement=scored.figures,
            score=scored.score,
            score_low=scored.interval[0],
            score_high=scored.interval[1],
            worst_score=scored.worst_score,
            worst_stamp_ns=scored.worst_stamp_ns,
            speedup_infer_paired_p50=float(np.median(ratios)) if ratios else None,
        )

    def report(
        self, baseline: VariantMonitor, variant: VariantMonitor, now_s: float | None = None
    ) -> schema.ComparisonReport:
        """Return the comparison's part of the report; with ``now_s`` its rolling windows, too."""
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
            windows={
                window_name(each): self.window(each, now_s, baseline, variant) for each in self.windows_s
            }
            if now_s is not None
            else {},
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
