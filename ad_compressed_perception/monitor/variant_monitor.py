# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Statistics of one node: identity, frame counters, stages, deadline, rate, liveness."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ad_compressed_perception.core.timing import STAGES, NodeReport
from ad_compressed_perception.metrics import latency
from ad_compressed_perception.monitor.counters import NodeCounters
from ad_compressed_perception.monitor.frame_health import FrameHealth
from ad_compressed_perception.monitor.gate import ModelInfo
from ad_compressed_perception.monitor.liveness import Liveness
from ad_compressed_perception.monitor.windows import WINDOWS_S, FrameWindow, to_schema
from ad_compressed_perception.report import schema

RECENT_FRAMES = 256
"""Frames the live percentiles look back."""
KEPT_FRAMES = 16_384
"""Frames up to which the whole run's percentiles are exact; afterwards they are sampled evenly."""


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
    ) -> None:
        """Start monitoring a node.

        Args:
            node: fully qualified node name.
            deadline_ms: end-to-end deadline; None for none.
            stale_after_s: silence after which the node is missing.
            now_s: monotonic seconds.
            windows_s: how far back the rolling windows look.
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
        self.stages = {stage: self._window() for stage in STAGES}
        self.end_to_end = self._window()
        self.negative_ages = self.unstamped = 0
        self.last: NodeReport | None = None
        self.last_failure = ""
        self._timed_infer_ms = 0.0
        self._timed_end_to_end_ms = 0.0

    @staticmethod
    def _window() -> latency.LatencyWindow:
        return latency.LatencyWindow(RECENT_FRAMES, KEPT_FRAMES)

    def add(self, report: NodeReport, now_s: float) -> None:
        """Add a node's report of one completed frame."""
        self.liveness.seen(now_s, has_result=report.timing.outcome == "processed")
        self.recent.add(report.timing, now_s)
        if math.isnan(self.first_s):
            self.first_s = now_s
        self.counters.add(report)
        self.health.add_frame(report.timing, now_s)
        self.last = report
        timing = report.timing
        if timing.stages_ms.get("transport_age", 0.0) < 0.0:
            self.negative_ages += 1
        self.unstamped += timing.stamp_ns == 0
        if timing.outcome == "failed":
            self.last_failure = timing.reason
        if timing.outcome != "processed":
            return
        self.rate.add(now_s)
        for stage, window in self.stages.items():
            window.add(timing.stages_ms.get(stage, math.nan))
        self.end_to_end.add(timing.end_to_end_ms)
        self.deadline.add(timing.end_to_end_ms)
        infer_ms = timing.stages_ms.get("infer", math.nan)
        if math.isfinite(infer_ms) and math.isfinite(timing.end_to_end_ms):
            self._timed_infer_ms += infer_ms
            self._timed_end_to_end_ms += timing.end_to_end_ms

    @property
    def not_inference_share(self) -> float:
        """1 - sum of infer / sum of end-to-end; NaN without a frame or where the ages sum to zero or less."""
        if self._timed_end_to_end_ms <= 0.0:
            return math.nan
        return 1.0 - self._timed_infer_ms / self._timed_end_to_end_ms

    @property
    def sampled(self) -> bool:
        """Whether the whole run's percentiles come from a sample of the frames."""
        return not self.end_to_end.exact

    def report(self, now_s: float | None = None) -> schema.VariantReport:
        """Return the node's part of the report; with ``now_s`` its rolling windows, too."""
        last, counts, info = self.last, self.counters.counts, self.model_info
        return schema.VariantReport(
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
            pending=max(0, self.counters.pending),
            lost_at_restart=max(0, self.counters.lost_at_restart),
            restarts=self.counters.restarts,
            reports_lost=max(0, self.counters.reports_lost),
            deadline_ms=self.deadline.deadline_ms,
            deadline_misses=self.deadline.misses,
            deadline_miss_rate=self.deadline.miss_rate,
            longest_miss_run=self.deadline.longest_run,
            throughput_hz=self.rate.total_hz,
            stages_ms={
                stage: to_schema(window.total()) for stage, window in self.stages.items() if window.count
            },
            end_to_end_ms=to_schema(self.end_to_end.total()),
            not_inference_share=self.not_inference_share,
            verdict=info.verdict if info else None,
            every_nth=info.every_nth if info else None,
            windows={}
            if now_s is None or math.isnan(self.first_s)
            else self.recent.reports(now_s, self.first_s),
        )
