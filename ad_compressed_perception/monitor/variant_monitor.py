# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Statistics of one node: identity, frame counters, times by who answered, deadline, rate, liveness."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ad_compressed_perception.core.timing import NodeReport
from ad_compressed_perception.metrics import latency
from ad_compressed_perception.metrics.run_distribution import EXACT_VALUES, RECENT_VALUES, RunDistribution
from ad_compressed_perception.monitor.accounts import Account, Accounts, AnsweredBy, is_late
from ad_compressed_perception.monitor.counters import NodeCounters
from ad_compressed_perception.monitor.frame_health import FrameHealth
from ad_compressed_perception.monitor.gate import ModelInfo
from ad_compressed_perception.monitor.liveness import Liveness
from ad_compressed_perception.monitor.run_latency import RunLatency, latency_figures
from ad_compressed_perception.monitor.windows import WINDOWS_S, FrameWindow
from ad_compressed_perception.report.schemas.variant import VariantReport

RECENT_FRAMES = RECENT_VALUES
"""Frames the live percentiles look back."""
KEPT_FRAMES = EXACT_VALUES
"""Values up to which the whole run's figures are exact; times are binned then, scores sampled evenly."""


class VariantMonitor:
    """Statistics of one node, from its reports."""

    def __init__(
        self,
        node: str,
        *,
        deadline_ms: float | None,
        stale_after_s: float,
        now_s: float,
        windows_s: Sequence[float] = WINDOWS_S,
        budgets_ms: Mapping[str, float] | None = None,
    ) -> None:
        """Start monitoring a node.

        Args:
            node: fully qualified node name.
            deadline_ms: end-to-end deadline; None for none.
            stale_after_s: silence after which the node is missing.
            now_s: monotonic seconds.
            windows_s: how far back the rolling windows look.
            budgets_ms: stage to its budget, where it is not the default share of the deadline.
        """
        self.node = node
        self.recent = FrameWindow(deadline_ms, windows_s)
        self.first_s = math.nan
        self.model_info: ModelInfo | None = None
        self.counters = NodeCounters()
        self.liveness = Liveness(node, stale_after_s, now_s)
        self.deadline = latency.DeadlineTracker(deadline_ms)
        self.rate = latency.RateTracker()
        self.health = FrameHealth()
        self.accounts = Accounts(deadline_ms)
        self.run_latency = RunLatency(deadline_ms, now_s)
        self.negative_ages = self.unstamped = 0
        self.last: NodeReport | None = None
        self.last_failure = ""
        self.speed_mps: float | None = None
        self._budgets_ms = dict(budgets_ms or {})
        self._unreported = 0

    def add(self, report: NodeReport, now_s: float) -> None:
        """Add a node's report of one completed frame."""
        timing = report.timing
        self.liveness.seen(now_s, has_result=timing.outcome == "processed")
        self.recent.add(timing, now_s, report.level)
        if math.isnan(self.first_s):
            self.first_s = now_s
        is_counted = self._count(report)
        self.health.add_frame(timing, now_s)
        self.run_latency.add(timing, report.level, now_s, is_counted=is_counted)
        self.run_latency.note_step(report.clock_step_ms, timing.stamp_ns)
        answered_by = AnsweredBy.of(report)
        self.accounts.add(answered_by, timing)
        if answered_by.is_primary or self.last is None:
            self.last = report
        if timing.stages_ms.get("transport_age", 0.0) < 0.0:
            self.negative_ages += 1
        self.unstamped += timing.stamp_ns == 0
        if timing.outcome == "failed":
            self.last_failure = timing.reason
        if timing.outcome == "processed":
            self.rate.add(now_s)
            late = is_late(timing, self.deadline.deadline_ms)
            if late is not None:
                self.deadline.note(late)

    def _count(self, report: NodeReport) -> bool:
        """Take over the node's counters; frames without a result of which no report came missed, too.

        Returns:
            Whether the report's frame was taken for one of those before, and has come late.
        """
        counters, has_reported = self.counters, self.last is not None
        before, at_restart, lost = counters.counts, counters.lost_at_restart, counters.reports_lost
        counters.add(report)
        if not has_reported:
            return False  # what was before the monitor subscribed is in no run
        if counters.reports_lost < lost:  # two reports in another order
            is_counted = report.timing.outcome != "processed" and self._unreported > 0
            self._unreported -= is_counted
            return is_counted
        grown = {key: count - before[key] for key, count in counters.counts.items()}
        grown[report.timing.outcome] -= 1
        unreported = sum(max(0, count) for key, count in grown.items() if key != "processed")
        self._unreported += unreported
        self.run_latency.add_lost(unreported + max(0, counters.lost_at_restart - at_restart))
        return False

    @property
    def account(self) -> Account:
        """Times of the variant that the node runs now as its primary."""
        return self.accounts.primary

    @property
    def stages(self) -> dict[str, RunDistribution]:
        """Stage to its durations, of the present primary."""
        return self.account.stages

    @property
    def end_to_end(self) -> RunDistribution:
        """Age of its results, of the present primary."""
        return self.account.end_to_end

    @property
    def not_inference_share(self) -> float:
        """See ``Account``."""
        return self.account.not_inference_share

    @property
    def sampled(self) -> bool:
        """Whether some of the whole run's percentiles come from bins."""
        return not self.account.since_arrival.is_exact

    def report(self, now_s: float | None = None) -> VariantReport:
        """Return the node's part of the report; with ``now_s`` its rolling windows, too."""
        last, counts, info = self.last, self.counters.counts, self.model_info
        account, deadline_ms = self.account, self.deadline.deadline_ms
        pending = max(0, self.counters.pending)
        is_silent = now_s is not None and bool(self.liveness.fault(now_s))
        misses = self.run_latency.misses(now_s, pending if is_silent else 0)
        report = VariantReport(
            node=self.node,
            model=last.model if last else None,
            variant=last.variant if last else None,
            backend=last.backend if last else None,
            requested_provider=last.requested_provider if last else None,
            provider=last.provider if last else None,
            precision=last.precision if last else None,
            received=self.counters.received,
            processed=counts["processed"],
            dropped_stale=counts["dropped_stale"],
            dropped_busy=counts["dropped_busy"],
            failed=counts["failed"],
            pending=pending,
            lost_at_restart=max(0, self.counters.lost_at_restart),
            restarts=self.counters.restarts,
            reports_lost=max(0, self.counters.reports_lost),
            deadline_ms=deadline_ms,
            deadline_misses=account.deadline.misses,
            deadline_miss_rate=account.deadline.miss_rate,
            longest_miss_run=misses.longest_run,
            misses=misses,
            throughput_hz=self.rate.total_hz,
            speed_mps=self.speed_mps,
            not_inference_share=account.not_inference_share,
            verdict=info.verdict if info else None,
            every_nth=info.every_nth if info else None,
            windows={}
            if now_s is None or math.isnan(self.first_s)
            else self.recent.reports(now_s, self.first_s),
        )
        without_result = sum(counts.values()) - counts["processed"]
        latency_figures(report, self.accounts, self.run_latency, self._budgets_ms, without_result)
        report.accounts, report.accounts_left_out = self.accounts.reports(), self.accounts.left_out
        return report
