# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor counts no frame for a model that did not answer it."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timezone

import numpy as np
import pytest

from ad_compressed_perception.core.results import Detections
from ad_compressed_perception.core.timing import FrameCounters, FrameTiming, NodeReport, Outcome
from ad_compressed_perception.monitor.comparison import ComparisonMonitor, TaskComparison
from ad_compressed_perception.monitor.diagnostics import MonitorDiagnostics
from ad_compressed_perception.monitor.watch import Watch
from ad_compressed_perception.report.markdown import render_markdown
from ad_compressed_perception.report.schemas.comparison import Report, TaskReport

NODES = {"baseline": "/baseline/detection", "int8": "/int8/detection"}
FP32, INT8 = ("fp32", 20.0), ("int8", 10.0)
DEADLINE_MS = 100.0


def cars(count: int) -> Detections:
    left = np.arange(count, dtype=np.float32) * 20
    table = np.stack([left, left * 0, left + 10, left * 0 + 10], axis=1)
    return Detections(table, np.full(count, 0.9, np.float32), np.zeros(count, np.int64), ("car",))


class Drive:
    """Two nodes at 20 Hz; every frame's answer is given by model, its inference time and its level."""

    def __init__(self, **options: float) -> None:
        task = TaskComparison(NODES, "baseline", DEADLINE_MS)
        self.monitor = ComparisonMonitor({"detection": task}, now_s=0.0, **options)  # type: ignore[arg-type]
        self.counters = {name: FrameCounters() for name in NODES}
        self.frame, self.now_s = 0, 0.0

    def report(
        self,
        name: str,
        variant: tuple[str, float] = INT8,
        level: str = "primary",
        outcome: Outcome = "processed",
        age_ms: float = 5.0,
    ) -> NodeReport:
        counters = self.counters[name]
        counters.received += 1
        counters.complete(outcome)
        stages_ms = {"transport_age": age_ms, "infer": variant[1]} if outcome == "processed" else {}
        total_ms = sum(stages_ms.values()) if stages_ms else math.nan
        return NodeReport(
            node=NODES[name],
            task="detection",
            model="tiny",
            variant=variant[0],
            backend="onnxruntime",
            requested_provider="cpu",
            provider="cpu",
            precision="fp32",
            timing=FrameTiming(self.frame, outcome, stages_ms, total_ms),
            received=counters.received,
            counts=dict(counters.counts),
            level=level,
        )

    def answer(self, variant: tuple[str, float], level: str = "primary", objects: int = 2) -> None:
        """One frame: the baseline's node finds two cars; results come before their timings, as on a car."""
        self.frame += 1
        self.now_s = self.frame * 0.05
        for name, found in (("baseline", 2), ("int8", objects)):
            self.monitor.add_result("detection", name, self.frame, cars(found), self.now_s)
        self.monitor.add_report("detection", "baseline", self.report("baseline", FP32), self.now_s)
        self.monitor.add_report("detection", "int8", self.report("int8", variant, level), self.now_s)

    def task(self) -> TaskReport:
        return self.monitor.summary(self.now_s)["detection"]


def test_frames_of_the_standby_are_neither_latency_nor_agreement_of_the_variant() -> None:
    """Failed before: 40 frames of the baseline made a variant that agrees on nothing agree on two thirds."""
    drive = Drive()
    drive.answer(FP32, "standby")  # already the first one
    for _ in range(20):
        drive.answer(INT8, objects=0)
    for _ in range(39):
        drive.answer(FP32, "standby")
    drive.answer(INT8, "hold")

    task = drive.task()
    variant, comparison = task.variants["int8"], task.comparison["int8"]
    assert (variant.stages_ms["infer"].count, variant.stages_ms["infer"].max) == (20, 10.0)
    assert variant.by_level == {"standby": 40, "primary": 20, "hold": 1}
    assert (comparison.pairs, comparison.by_fallback) == (20, 41)
    assert comparison.agreement is not None and comparison.agreement.f1 == 0.0  # type: ignore[union-attr]
    assert comparison.speedup_infer_paired_p50 == 2.0
    levels = {(each.level, each.variant): each.processed for each in variant.accounts}
    assert levels == {("standby", "fp32"): 40, ("primary", "int8"): 20, ("hold", "int8"): 1}
    window = variant.windows["10s"]
    assert (window.infer_ms.max, window.fallback_share) == (10.0, pytest.approx(41 / 61))
    assert variant.variant == "int8", "the node's variant is its primary"
    assert variant.misses.frames == 1, "an earlier frame's result is none of the frame itself"


def test_a_swap_begins_an_account_and_keeps_the_totals_of_the_one_before() -> None:
    """Failed before: p50 and agreement of the whole run were of both variants together."""
    drive = Drive()
    for _ in range(30):
        drive.answer(INT8, objects=0)
    for _ in range(10):
        drive.answer(("int4", 5.0))

    task = drive.task()
    variant, comparison = task.variants["int8"], task.comparison["int8"]
    assert [(each.variant, each.processed, each.is_current) for each in variant.accounts] == [
        ("int8", 30, False),
        ("int4", 10, True),
    ]
    assert (variant.variant, variant.stages_ms["infer"].p50) == ("int4", 5.0)
    assert comparison.pairs == 10
    assert comparison.agreement is not None and comparison.agreement.f1 == 1.0  # type: ignore[union-attr]
    (earlier,) = comparison.earlier
    assert (earlier.variant, earlier.pairs) == ("tiny/int8 on onnxruntime", 30)
    assert earlier.agreement is not None and earlier.agreement.f1 == 0.0  # type: ignore[union-attr]
    assert comparison.windows["10s"].pairs == 10

    text = render_markdown(Report.parse(Report(tasks={"detection": task}).to_json()))
    assert "## Who answered" in text
    assert "before, tiny/int8 on onnxruntime against tiny/fp32 on onnxruntime: 30 pairs" in text


def test_a_rollback_goes_on_with_the_account_of_that_model() -> None:
    drive = Drive()
    for variant in (INT8, ("int4", 5.0), INT8):
        drive.answer(variant)
    (first, _) = drive.task().variants["int8"].accounts
    assert (first.variant, first.processed, first.begun) == ("int8", 2, 2)


def test_a_node_that_changed_to_the_baseline_is_no_evidence_of_its_variant() -> None:
    """Failed before: the baseline agreed with itself, and that was the agreement of the compressed node."""
    drive = Drive()
    drive.answer(INT8)
    for _ in range(20):
        drive.answer(FP32)
    comparison = drive.task().comparison["int8"]
    assert (comparison.pairs, comparison.same_model, comparison.agreement) == (0, 20, None)


def test_two_nodes_started_with_one_model_are_compared_and_the_status_names_it() -> None:
    drive = Drive()
    for _ in range(3):
        drive.answer(FP32)
    comparison = drive.task().comparison["int8"]
    assert (comparison.pairs, comparison.is_of_one_model) == (3, True)
    task = next(s for s in MonitorDiagnostics(drive.monitor).statuses(drive.now_s) if s.name == "detection")
    assert "the same model on both sides" in task.message


def test_a_result_whose_timing_is_lost_is_compared_with_nothing() -> None:
    """A fallback may have made it."""
    drive = Drive(pair_timeout_s=1.0)
    drive.answer(INT8)
    drive.frame += 1
    for name in NODES:
        drive.monitor.add_result("detection", name, drive.frame, cars(2), 0.1)
    drive.monitor.expire(5.0)
    comparison = drive.task().comparison["int8"]
    assert (comparison.pairs, comparison.unattributed) == (1, 2)


@pytest.mark.parametrize(("standby", "level"), [(0, None), (1, "WARN"), (20, "ERROR")])
def test_the_share_of_the_fallback_is_an_alarm(standby: int, level: str | None) -> None:
    drive = Drive()
    watch = Watch(drive.monitor, raise_after_s=0.0, clear_after_s=5.0)
    for index in range(100):
        drive.answer(*((FP32, "standby") if index < standby else (INT8, "primary")))
    tasks = drive.monitor.summary(drive.now_s)
    watch.update(tasks, drive.now_s, datetime(2026, 1, 1, tzinfo=timezone.utc))
    found = {alarm.figure: alarm.level for alarm in tasks["detection"].alarms if alarm.variant == "int8"}
    assert found.get("fallback_share") == level


def test_frames_without_a_result_are_misses_with_and_without_a_report() -> None:
    """Failed before: a run of dropped and failed frames was no run, since only results were looked at."""
    drive = Drive()

    def complete(outcome: Outcome = "processed", infer_ms: float = 10.0, *, is_lost: bool = False) -> None:
        drive.frame += 1
        report = drive.report("int8", ("int8", infer_ms), outcome=outcome)
        if not is_lost:
            drive.monitor.add_report("detection", "int8", report, drive.frame * 0.05)

    complete()
    complete("dropped_busy")
    complete("failed")
    complete("failed", is_lost=True)
    complete(infer_ms=120.0)
    complete()
    complete("failed")
    misses = drive.task().variants["int8"].misses
    assert (misses.frames, misses.longest_run, misses.current_run) == (5, 4, 1)
    assert (misses.first_stamp_ns, misses.last_stamp_ns) == (2, 5)


def test_a_step_of_the_clock_is_counted_and_touches_no_monotonic_figure() -> None:
    """A frame of unknown age is in no run, and still late where its processing alone took too long."""
    drive = Drive()
    for age_ms, infer_ms, step_ms in ((5.0, 10.0, 0.0), (math.nan, 10.0, -3000.0), (math.nan, 120.0, 0.0)):
        drive.frame += 1
        report = drive.report("int8", ("int8", infer_ms), age_ms=age_ms)
        drive.monitor.add_report("detection", "int8", replace(report, clock_step_ms=step_ms), 0.1)
    variant = drive.task().variants["int8"]
    assert (variant.clocks.steps, variant.clocks.largest_step_ms) == (1, -3000.0)
    assert (variant.clocks.last_step_stamp_ns, variant.clocks.unknown_ages) == (2, 2)
    assert (variant.end_to_end_ms.count, variant.since_arrival_ms.count) == (1, 3)
    assert (variant.deadline_misses, variant.misses.longest_run) == (1, 1)


def test_a_short_run_has_no_bound_and_says_what_it_needs() -> None:
    drive = Drive()
    for _ in range(10):
        drive.answer(INT8)
    variant = drive.task().variants["int8"]
    assert (variant.tail.p99_9, variant.tail.p99_9_high) == (None, None)
    assert variant.tail.sentence == "not enough frames: 10 results, a bound on p99.9 needs 2995"
    status = next(s for s in MonitorDiagnostics(drive.monitor).statuses(1.0) if s.name == "detection/int8")
    assert status.values["end_to_end_p99_9"] == variant.tail.sentence
    # No odometry: no speed is not speed 0.
    assert (variant.speed_mps, variant.distance_during_p99_m) == (None, None)
    assert status.values["distance_during_p99"] == "unknown: the vehicle's speed is not known"
    drive.monitor.set_speed(20.0)
    assert drive.task().variants["int8"].distance_during_p99_m == pytest.approx(20.0 * 0.015)


def test_a_stage_over_its_budget_is_named() -> None:
    task = TaskComparison(NODES, "baseline", DEADLINE_MS, budgets_ms={"infer": 9.0})
    drive = Drive()
    drive.monitor = ComparisonMonitor({"detection": task}, now_s=0.0)
    drive.answer(INT8)
    budget = drive.task().variants["int8"].budget
    assert (budget["infer"].p99_share, budget["infer"].is_over) == (0.1, True)
    assert (budget["transport_age"].budget_ms, budget["transport_age"].is_over) == (15.0, False)
    status = next(s for s in MonitorDiagnostics(drive.monitor).statuses(1.0) if s.name == "detection/int8")
    assert status.values["over_budget"] == "infer p99 10.0 ms of 9.0"
