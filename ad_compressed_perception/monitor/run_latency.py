# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a node's frames waited for, over the whole run: tail, runs of misses, clocks, budgets, distance."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ad_compressed_perception.core.timing import STAGES, FrameTiming
from ad_compressed_perception.metrics.latency import LatencyPercentiles
from ad_compressed_perception.metrics.miss_runs import Fate, MissRuns
from ad_compressed_perception.metrics.order_statistics import CONFIDENCE, frames_needed
from ad_compressed_perception.metrics.run_distribution import RunDistribution
from ad_compressed_perception.monitor.accounts import Accounts, is_late
from ad_compressed_perception.report.kit.document import copied
from ad_compressed_perception.report.schemas.fields import Percentiles
from ad_compressed_perception.report.schemas.latency import (
    ClockFigures,
    MissFigures,
    StageBudget,
    TailLatency,
)
from ad_compressed_perception.report.schemas.variant import VariantReport

TAIL_SHARE = 0.999
DEFAULT_SHARES = {
    "transport_age": 0.15,
    "queue_wait": 0.10,
    "decode": 0.10,
    "prepare": 0.05,
    "infer": 0.45,
    "post": 0.05,
    "publish": 0.10,
}
"""Parts of the deadline that stages may take where no parameter says another; together all of it."""


def tail_of(series: RunDistribution, without_result: int = 0) -> TailLatency:
    """Return p99.9 with its upper bound; neither where the run is too short for a bound."""
    needed = frames_needed(TAIL_SHARE)
    found = TailLatency(
        count=series.count, needed=needed, exact=series.is_exact, without_result=without_result
    )
    if series.count < needed:
        found.sentence = f"not enough frames: {series.count} results, a bound on p99.9 needs {needed}"
    else:
        found.p99_9, found.p99_9_high = series.quantile(TAIL_SHARE), series.upper_bound(TAIL_SHARE)
        found.sentence = (
            f"p99.9 {found.p99_9:.1f} ms, below {found.p99_9_high:.1f} ms with {CONFIDENCE:.0%} confidence, "
            f"of {series.count} results"
        )
    if without_result:
        found.sentence += f"; {without_result} frames without a result are not in it"
    return found


def fate_of(timing: FrameTiming, level: str, deadline_ms: float | None) -> Fate:
    """Return whether a completed frame missed; without a deadline those with any result did not."""
    if timing.outcome != "processed" or level == "hold":
        return "missed"
    late = is_late(timing, deadline_ms)
    return "unknown" if late is None else "missed" if late else "in_time"


class RunLatency:
    """Runs of misses and steps of the clock of one node; who answered does not matter to them."""

    def __init__(self, deadline_ms: float | None, now_s: float) -> None:
        """Begin at a monotonic time; the deadline may be None."""
        self._deadline_ms = deadline_ms
        self.runs = MissRuns()
        self._result_s = self._started_s = now_s
        self._longest_gap_s = 0.0
        self.steps = 0
        self._largest_step_ms = 0.0
        self._step_stamp_ns = 0

    def set_deadline(self, deadline_ms: float | None) -> None:
        """Count misses of another deadline from now on; gaps and steps of the clock have none."""
        self._deadline_ms, self.runs = deadline_ms, MissRuns()

    def add(self, timing: FrameTiming, level: str, now_s: float, *, is_counted: bool = False) -> None:
        """Add a completed frame and who answered it; ``is_counted``: it is one of ``add_lost`` before."""
        if not is_counted:
            self.runs.add(timing.stamp_ns, fate_of(timing, level, self._deadline_ms))
        if timing.outcome == "processed" and level != "hold":
            self._longest_gap_s = max(self._longest_gap_s, now_s - self._result_s)
            self._result_s = now_s

    def add_lost(self, frames: int) -> None:
        """Add frames without a result of which no report came, or that were lost when the node restarted."""
        self.runs.add_unanswered(frames)

    def misses(self, now_s: float | None, waiting: int = 0) -> MissFigures:
        """Return the runs so far; ``waiting`` frames wait in a node that is silent."""
        longest, current, frames = self.runs.found(waiting)
        gap_s = self._longest_gap_s if now_s is None else max(self._longest_gap_s, now_s - self._result_s)
        return MissFigures(
            frames=frames,
            longest_run=longest.frames,
            first_stamp_ns=longest.first_stamp_ns or None,
            last_stamp_ns=longest.last_stamp_ns or None,
            current_run=current.frames,
            longest_gap_s=gap_s,
        )

    def clocks(self, unknown_ages: int, negative_ages: int) -> ClockFigures:
        """Return the steps of the clock, and how many results have no age that can be used."""
        return ClockFigures(
            steps=self.steps,
            largest_step_ms=self._largest_step_ms if self.steps else None,
            last_step_stamp_ns=self._step_stamp_ns if self.steps else None,
            unknown_ages=unknown_ages,
            negative_ages=negative_ages,
        )

    def note_step(self, step_ms: float, stamp_ns: int) -> None:
        """Add a step of the ROS clock, seen on a frame; 0 is none."""
        if not step_ms:
            return
        self.steps += 1
        self._step_stamp_ns = stamp_ns
        if abs(step_ms) > abs(self._largest_step_ms):
            self._largest_step_ms = step_ms


def budgets(
    stages: Mapping[str, LatencyPercentiles], deadline_ms: float | None, given_ms: Mapping[str, float]
) -> dict[str, StageBudget]:
    """Return each measured stage's part of the deadline; nothing without one.

    Args:
        stages: stage to its percentiles.
        deadline_ms: end to end.
        given_ms: stage to its budget, where it is not the default share.
    """
    if deadline_ms is None:
        return {}
    found = {}
    for stage in STAGES:
        if stage not in stages:
            continue
        series = stages[stage]
        budget_ms = given_ms.get(stage, DEFAULT_SHARES[stage] * deadline_ms)
        source = "parameter" if stage in given_ms else f"{DEFAULT_SHARES[stage]:.0%} of the deadline"
        found[stage] = StageBudget(
            budget_ms=budget_ms,
            source=source,
            p50_share=series.p50 / deadline_ms,
            p99_share=series.p99 / deadline_ms,
            is_over=series.p99 > budget_ms,
        )
    return found


def over_budget(found: Mapping[str, StageBudget], deadline_ms: float | None) -> str:
    """Return the stages beyond their budgets in words; empty where there is none."""
    return ", ".join(
        f"{stage} p99 {(each.p99_share or 0.0) * (deadline_ms or 0.0):.1f} ms of {each.budget_ms:.1f}"
        for stage, each in found.items()
        if each.is_over
    )


def distance_m(speed_mps: float | None, p99_ms: float | None) -> float | None:
    """Return how far the vehicle goes during the 99th percentile of the latency; None where one is unknown.

    A vehicle of unknown speed does not stand still: it has no distance, rather than 0.
    """
    if speed_mps is None or p99_ms is None or not math.isfinite(speed_mps * p99_ms):
        return None
    return abs(speed_mps) * max(0.0, p99_ms) / 1e3


def distance_text(distance: float | None, speed_mps: float | None) -> str:
    """Return the distance during p99 in words; why there is none."""
    if distance is not None:
        return f"{distance:.2f} m at {speed_mps or 0.0:.1f} m/s"
    return "unknown: the vehicle's speed is not known" if speed_mps is None else "unknown: no p99 yet"


def run_values(report: VariantReport) -> dict[str, str]:
    """Return what a status shows of a node's latency over the whole run."""
    misses, clocks = report.misses, report.clocks
    values = {
        "end_to_end_p99_9": report.tail.sentence,
        "since_arrival_p99_9": report.since_arrival_tail.sentence,
        "longest_miss_run": str(misses.longest_run),
        "longest_miss_run_stamps_ns": f"{misses.first_stamp_ns or '?'} to {misses.last_stamp_ns or '?'}"
        if misses.longest_run
        else "",
        "missed_frames": str(misses.frames),
        "longest_gap_s": "unknown" if misses.longest_gap_s is None else f"{misses.longest_gap_s:.2f}",
        "ros_clock_steps": str(clocks.steps),
        "results_of_unknown_age": str(clocks.unknown_ages + clocks.negative_ages),
        "distance_during_p99": distance_text(report.distance_during_p99_m, report.speed_mps),
        "over_budget": over_budget(report.budget, report.deadline_ms)
        or ("no stage" if report.budget else "no deadline"),
        "by_level": ", ".join(f"{count} {level}" for level, count in report.by_level.items()),
    }
    for stage, each in report.budget.items():
        shares = (math.nan if share is None else share for share in (each.p50_share, each.p99_share))
        values[f"budget_{stage}"] = "p50 {:.0%}, p99 {:.0%} of the deadline".format(*shares) + (
            f", {each.budget_ms:.1f} ms allowed"
        )
    return values


def latency_figures(
    report: VariantReport,
    accounts: Accounts,
    run: RunLatency,
    budgets_ms: Mapping[str, float],
    without_result: int,
) -> None:
    """Write the times of the present primary into a report that has deadline and speed already."""
    account = accounts.primary
    stages = {stage: series.total() for stage, series in account.stages.items() if series.count}
    report.stages_ms = {stage: copied(Percentiles, each) for stage, each in stages.items()}
    report.end_to_end_ms = copied(Percentiles, account.end_to_end.total())
    report.since_arrival_ms = copied(Percentiles, account.since_arrival.total())
    report.tail = tail_of(account.end_to_end, without_result)
    report.since_arrival_tail = tail_of(account.since_arrival, without_result)
    report.clocks = run.clocks(account.unknown_ages, account.negative_ages)
    report.budget = budgets(stages, report.deadline_ms, budgets_ms)
    report.distance_during_p99_m = distance_m(report.speed_mps, report.end_to_end_ms.p99)
    report.by_level, report.fallback_share = dict(accounts.by_level), accounts.fallback_share
