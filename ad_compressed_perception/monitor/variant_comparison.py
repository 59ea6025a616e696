# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A variant against the baseline or the ground truth: pairs, pooled agreement, paired speed-up."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.metrics.agreement import Agreement, agreement, pool
from ad_compressed_perception.metrics.latency import LatencyWindow
from ad_compressed_perception.metrics.run_distribution import RunDistribution
from ad_compressed_perception.monitor.accounts import AnsweredBy
from ad_compressed_perception.monitor.figures import figures
from ad_compressed_perception.monitor.pair_window import PairWindow
from ad_compressed_perception.monitor.pairing import Side, StampPairer
from ad_compressed_perception.monitor.variant_monitor import (
    KEPT_FRAMES,
    RECENT_FRAMES,
    VariantMonitor,
)
from ad_compressed_perception.monitor.windows import WINDOWS_S, RollingWindow, window_name
from ad_compressed_perception.report.schemas.agreement import FrameScores
from ad_compressed_perception.report.schemas.pairs import (
    AccuracyReport,
    ComparisonReport,
    ComparisonWindow,
    EarlierComparison,
)

TIMINGS_LATER_S = 1.0  # they come in batches (timing_period_s, read_period_s), without the results
_MOST_TOTALS = 16
_WAITING_TIMES = 1024  # floats, so far more of them than of results (masks of megabytes) may wait


class Answered(NamedTuple):
    """A result and who made it."""

    result: Result
    by: AnsweredBy


class PairTotals:
    """Agreement and speed-up of one model against another, over the whole run."""

    def __init__(self) -> None:
        """Begin without a pair."""
        self.compared = 0
        self.pooled: Agreement | None = None
        self.scores = LatencyWindow(RECENT_FRAMES, KEPT_FRAMES)
        self.infer_ratios = LatencyWindow(RECENT_FRAMES, KEPT_FRAMES)


Key = tuple[AnsweredBy, AnsweredBy]
_NOBODY = AnsweredBy()


class VariantComparison:
    """Counters and figures of a variant's comparison with its task's baseline.

    A pair counts only where the primary of each node answered. Every pair of models has totals of its own;
    figures are those of the models that run now.

    Where a ground truth is known, another instance compares each variant with it; the ground truth is
    then on the baseline's side.
    """

    def __init__(self, pair_timeout_s: float, windows_s: Sequence[float] = WINDOWS_S) -> None:
        """Give up a result whose partner does not come within ``pair_timeout_s``; look back ``windows_s``."""
        self.windows_s = tuple(windows_s)
        self.recent = PairWindow(max(windows_s))
        self._recent_ratios: RollingWindow[float] = RollingWindow(max(windows_s))
        self._recent_unpaired: RollingWindow[int] = RollingWindow(max(windows_s))
        self._recent_incomparable: RollingWindow[str] = RollingWindow(max(windows_s))
        self._recent_no_evidence: RollingWindow[int] = RollingWindow(max(windows_s))
        self._unpaired_before = 0
        self.results: StampPairer[Answered] = StampPairer(pair_timeout_s)
        self.times: StampPairer[tuple[float, AnsweredBy]] = StampPairer(
            pair_timeout_s + TIMINGS_LATER_S, capacity=_WAITING_TIMES
        )
        self._all_totals: OrderedDict[Key, PairTotals] = OrderedDict()
        self._key: Key = (_NOBODY, _NOBODY)
        self._own_models: dict[Side, AnsweredBy] = {}
        self._has_changed = False
        self.by_fallback = self.same_model = 0
        self._given_up: dict[str, int] = {}
        self._latest_s = -math.inf
        self.incomparable = 0
        self.incomparable_reason = ""
        self.last: Agreement | None = None
        self.last_pair_s = math.nan

    def set_model(self, side: Side, by: AnsweredBy) -> None:
        """Take which model a node runs now; figures of another one than before begin anew."""
        if self._own_models.get(side) == by:
            return
        self._has_changed = self._has_changed or side in self._own_models
        self._own_models[side] = by
        self._key = (self._own_models.get("baseline", _NOBODY), self._own_models.get("variant", _NOBODY))
        self.forget_recent()

    def set_given_up(self, name: str, results: int) -> None:
        """Take how many results of a node no timing came for."""
        self._given_up[name] = results

    @property
    def unattributed(self) -> int:
        """Results of either node of which nobody knows who made them."""
        return sum(self._given_up.values())

    @property
    def _totals(self) -> PairTotals:
        return self._all_totals.get(self._key) or PairTotals()

    @property
    def compared(self) -> int:
        """Pairs of the models that run now."""
        return self._totals.compared

    @property
    def pooled(self) -> Agreement | None:
        """Their agreement; None without a pair."""
        return self._totals.pooled

    @property
    def scores(self) -> LatencyWindow:
        """Scores of single pairs."""
        return self._totals.scores

    @property
    def infer_ratios(self) -> LatencyWindow:
        """Baseline's inference time of a frame over the variant's."""
        return self._totals.infer_ratios

    def _totals_of(self, key: Key) -> PairTotals:
        totals = self._all_totals.setdefault(key, PairTotals())
        self._all_totals.move_to_end(key)
        if len(self._all_totals) > _MOST_TOTALS:
            del self._all_totals[next(each for each in self._all_totals if each not in (key, self._key))]
        return totals

    def _is_evidence(self, baseline: AnsweredBy, variant: AnsweredBy) -> bool:
        """Whether a pair says something of the variant.

        Two nodes that were started with the same model are to be compared, by their settings or computers.
        Where a node has changed to the model of the other, that they agree says nothing of the variant.
        """
        if not (baseline.is_primary and variant.is_primary):
            return False
        return not baseline.is_same_model(variant) or (
            not self._has_changed and (baseline, variant) == self._key
        )

    @property
    def is_of_one_model(self) -> bool:
        """Whether both nodes run the same model now: their agreement is not that of a compression."""
        return self._key[0].is_same_model(self._key[1])

    def add_result(
        self, side: Side, stamp_ns: int, result: Result, now_s: float, by: AnsweredBy = _NOBODY
    ) -> tuple[Result, Result, Agreement] | None:
        """Add a result; return (baseline's, variant's, agreement) where it completes a pair that counts."""
        answers = self.results.add(side, stamp_ns, Answered(result, by), now_s)
        now_s = self._latest_s = max(self._latest_s, now_s)  # timings decide the order, windows need time's
        self._note_unpaired(now_s)
        if answers is None:
            return None
        key = (answers[0].by, answers[1].by)
        if not self._is_evidence(*key):
            is_fallback = not (key[0].is_primary and key[1].is_primary)
            self.by_fallback += is_fallback
            self.same_model += not is_fallback
            self._recent_no_evidence.add(1, now_s)
            return None
        pair = (answers[0].result, answers[1].result)
        totals = self._totals_of(key)
        try:
            self.last = agreement(*pair)
            totals.pooled = pool(totals.pooled, self.last)
        except DataError as error:
            self.incomparable += 1
            self.incomparable_reason = str(error)
            self._recent_incomparable.add(str(error), now_s)
            return None
        totals.compared += 1
        self.last_pair_s = now_s
        if key == self._key:  # else it is late, of a model that runs no longer
            self.recent.add(stamp_ns, pair, self.last, now_s)
        if self.last.score is not None:
            totals.scores.add(self.last.score)
        return (*pair, self.last)

    def add_infer_ms(
        self, side: Side, stamp_ns: int, infer_ms: float, now_s: float, by: AnsweredBy = _NOBODY
    ) -> None:
        """Add the inference time of a processed frame."""
        pair = self.times.add(side, stamp_ns, (infer_ms, by), now_s)
        if pair is None:
            return
        (baseline_ms, baseline), (variant_ms, variant) = pair
        if variant_ms > 0.0 and self._is_evidence(baseline, variant):
            self._totals_of((baseline, variant)).infer_ratios.add(baseline_ms / variant_ms)
            if (baseline, variant) == self._key:
                now_s = self._latest_s = max(self._latest_s, now_s)
                self._recent_ratios.add(baseline_ms / variant_ms, now_s)

    def expire(self, now_s: float) -> None:
        """Give up what has waited longer than the timeout."""
        self.results.expire(now_s)
        self.times.expire(now_s)
        now_s = self._latest_s = max(self._latest_s, now_s)
        self._note_unpaired(now_s)

    def close(self, now_s: float) -> None:
        """Give up everything that waits."""
        self.results.close(now_s)
        self.times.close(now_s)

    def forget_recent(self) -> None:
        """Drop the rolling windows: one of the nodes runs another model now."""
        self.recent.rolling.clear()
        self._recent_ratios.clear()
        self._recent_unpaired.clear()
        self._recent_incomparable.clear()
        self._recent_no_evidence.clear()

    def _note_unpaired(self, now_s: float) -> None:
        grown = self.results.unpaired - self._unpaired_before
        if grown:
            self._unpaired_before += grown
            self._recent_unpaired.add(grown, now_s)

    def window(
        self, window_s: float, now_s: float, baseline: VariantMonitor, variant: VariantMonitor
    ) -> ComparisonWindow:
        """Return the comparison in the last ``window_s`` seconds, since both nodes have reported."""
        start_s = max(baseline.first_s, variant.first_s)
        scored = self.recent.report(window_s, now_s)
        span_s = self.recent.rolling.span_s(window_s, now_s, start_s) if math.isfinite(start_s) else 0.0
        frames = max(scored.pairs, *(each.recent.completed(span_s, now_s) for each in (baseline, variant)))
        ratios = self._recent_ratios.last(window_s, now_s)
        return ComparisonWindow(
            window_s=window_s,
            span_s=span_s,
            pairs=scored.pairs,
            informative=scored.informative,
            unpaired=sum(self._recent_unpaired.last(window_s, now_s)),
            incomparable=len(self._recent_incomparable.last(window_s, now_s)),
            no_evidence=len(self._recent_no_evidence.last(window_s, now_s)),
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
    ) -> ComparisonReport:
        """Return the comparison's part of the report; with ``now_s`` its rolling windows, too."""
        pairer = self.results
        counters = pairer.counters
        return ComparisonReport(
            pairs=self.compared,
            unpaired=pairer.unpaired,
            variant_missing=counters["baseline"].unpaired,
            baseline_missing=counters["variant"].unpaired,
            late=pairer.late,
            pending=pairer.pending,
            unstamped=counters["baseline"].unstamped + counters["variant"].unstamped,
            incomparable=self.incomparable,
            by_fallback=self.by_fallback,
            same_model=self.same_model,
            is_of_one_model=self.is_of_one_model,
            unattributed=self.unattributed,
            earlier=[
                EarlierComparison(
                    baseline=str(key[0]),
                    variant=str(key[1]),
                    pairs=totals.compared,
                    agreement=figures(totals.pooled) if totals.pooled is not None else None,
                    speedup_infer_paired_p50=totals.infer_ratios.total().p50,
                )
                for key, totals in self._all_totals.items()
                if key != self._key and (totals.compared or totals.infer_ratios.count)
            ],
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

    def accuracy(self) -> AccuracyReport:
        """Return the part of the report about a comparison with the ground truth."""
        counters = self.results.counters
        return AccuracyReport(
            pairs=self.compared,
            ground_truth_missing=counters["variant"].unpaired,
            result_missing=counters["baseline"].unpaired,
            pending=self.results.pending,
            incomparable=self.incomparable,
            figures=figures(self.pooled) if self.pooled is not None else None,
            frame_score=self._frame_scores(),
        )

    def _frame_scores(self) -> FrameScores | None:
        if self.scores.count == 0:
            return None
        p05, p50 = np.percentile(self.scores.values(), (5.0, 50.0))
        return FrameScores(mean=self.scores.mean, p50=float(p50), p05=float(p05), min=self.scores.min)


def _ratio(baseline: RunDistribution, variant: RunDistribution) -> float:
    """Baseline's median over the variant's; NaN where there is none."""
    baseline_ms, variant_ms = baseline.total().p50, variant.total().p50
    return baseline_ms / variant_ms if variant_ms > 0.0 else math.nan
