# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor's core without ROS: counters over restarts, silent nodes, statuses, the summary of a task."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.results import Detections, LabelMask, Result, Trajectory
from ad_compressed_perception.core.timing import OUTCOMES, FrameCounters, FrameTiming, NodeReport, Outcome
from ad_compressed_perception.metrics.agreement import Agreement
from ad_compressed_perception.monitor.comparison import ComparisonMonitor, TaskComparison
from ad_compressed_perception.monitor.counters import NodeCounters
from ad_compressed_perception.monitor.diagnostics import Level, MonitorDiagnostics, Status
from ad_compressed_perception.nodes.monitor_options import (
    TaskOptions,
    comparisons,
    task_comparison,
    variant_names,
)
from ad_compressed_perception.report.frame_counters import uncounted_frames
from ad_compressed_perception.report.schemas.agreement import (
    DetectionFigures,
    PlanningFigures,
    SegmentationFigures,
)
from ad_compressed_perception.report.schemas.comparison import Report

NODES = {"baseline": "/baseline/detection", "int8": "/int8/detection"}


class Sender:
    """Counts frames as a node does and reports after each completed frame."""

    def __init__(self, node: str, task: str = "detection") -> None:
        self.node, self.task, self.counters = node, task, FrameCounters()

    def complete(
        self,
        stamp_ns: int,
        *,
        outcome: Outcome = "processed",
        infer_ms: float = 10.0,
        age_ms: float = 2.0,
        reason: str = "",
    ) -> NodeReport:
        self.counters.received += 1
        self.counters.complete(outcome)
        stages_ms = {"transport_age": age_ms}
        end_to_end_ms = math.nan
        if outcome == "processed":
            stages_ms |= {"queue_wait": 1.0, "infer": infer_ms}
            end_to_end_ms = sum(stages_ms.values())
        return NodeReport(
            node=self.node,
            task=self.task,
            model="tiny",
            variant=self.node.split("/")[1],
            backend="onnxruntime",
            requested_provider="cpu",
            provider="CPUExecutionProvider",
            precision="fp32",
            timing=FrameTiming(stamp_ns, outcome, stages_ms, end_to_end_ms, reason),
            received=self.counters.received,
            counts=dict(self.counters.counts),
        )


def boxes(count: int) -> Detections:
    """Return ``count`` cars side by side."""
    left = np.arange(count, dtype=np.float32) * 20
    table = np.stack([left, left * 0, left + 10, left * 0 + 10], axis=1)
    scores = np.linspace(0.9, 0.5, count, dtype=np.float32)
    return Detections(table, scores, np.zeros(count, np.int64), ("car",))


def monitor(deadline_ms: float | None = None, **options: object) -> ComparisonMonitor:
    task = TaskComparison(NODES, "baseline", deadline_ms)
    return ComparisonMonitor({"detection": task}, now_s=0.0, **options)  # type: ignore[arg-type]


def by_name(statuses: list[Status]) -> dict[str, Status]:
    return {status.name: status for status in statuses}


# The summary ------------------------------------------------------------------------------------


def test_summary_of_a_short_drive() -> None:
    pairs: list[tuple[str, str, int, float | None]] = []

    def on_pair(task: str, name: str, stamp_ns: int, _a: Result, _b: Result, agreed: Agreement) -> None:
        pairs.append((task, name, stamp_ns, agreed.score))

    found = monitor(deadline_ms=15.0, on_pair=on_pair)
    baseline, variant = Sender(NODES["baseline"]), Sender(NODES["int8"])
    # Four frames, 0.1 s apart. Baseline: 20 ms inference, two boxes. Variant: 10 ms, one of the two;
    # its last frame fails.
    for index in range(4):
        stamp, now_s = index + 1, index / 10
        found.add_result("detection", "baseline", stamp, boxes(2), now_s)
        found.add_report("detection", "baseline", baseline.complete(stamp, infer_ms=20.0), now_s)
        if index < 3:
            found.add_result("detection", "int8", stamp, boxes(1), now_s)
            found.add_report("detection", "int8", variant.complete(stamp, infer_ms=10.0), now_s)
    failure = variant.complete(4, outcome="failed", reason="truncated JPEG")
    found.add_report("detection", "int8", failure, 0.3)
    found.close(0.3)

    task = found.summary()["detection"]
    one, other = task.variants["baseline"], task.variants["int8"]
    assert (one.received, one.processed, uncounted_frames(one)) == (4, 4, 0)
    assert (other.received, other.processed, other.failed, uncounted_frames(other)) == (4, 3, 1, 0)
    # 2 + 1 + 20 = 23 ms misses 15 ms every time; 2 + 1 + 10 = 13 ms never does.
    assert (one.deadline_misses, one.longest_miss_run, one.deadline_miss_rate) == (4, 4, 1.0)
    assert (other.deadline_misses, other.deadline_miss_rate) == (0, 0.0)
    assert one.throughput_hz == pytest.approx(10.0)
    assert one.not_inference_share == pytest.approx(3 / 23)
    assert one.stages_ms["infer"].p50 == 20.0
    assert list(one.stages_ms) == ["transport_age", "queue_wait", "infer"]  # what was measured

    compared = task.comparison["int8"]
    assert (compared.pairs, compared.unpaired, compared.variant_missing) == (3, 1, 1)
    assert compared.speedup_infer_p50 == compared.speedup_infer_paired_p50 == 2.0
    assert compared.speedup_end_to_end_p50 == pytest.approx(23 / 13)
    # One of two boxes found in each of three frames: precision 1, recall 1/2, F1 2/3.
    assert isinstance(compared.agreement, DetectionFigures)
    assert (compared.agreement.matched, compared.agreement.missed) == (3, 3)
    assert compared.agreement.f1 == pytest.approx(2 / 3)
    assert compared.frame_score is not None
    assert compared.frame_score.min == pytest.approx(2 / 3)
    assert pairs == [("detection", "int8", n, pytest.approx(2 / 3)) for n in (1, 2, 3)]
    assert (found.frames, found.duration_s) == (4, pytest.approx(0.3))


def test_a_summary_without_a_frame_is_a_valid_report() -> None:
    # Nothing measured must be null in JSON, never NaN (which is not JSON).
    text = Report(tasks=monitor().summary()).to_json()
    assert "NaN" not in text
    task = Report.parse(text).tasks["detection"]
    assert task.variants["int8"].end_to_end_ms.p50 is None
    assert task.comparison["int8"].speedup_infer_p50 is None
    assert task.comparison["int8"].agreement is None


def test_several_variants_share_one_baseline() -> None:
    nodes = {**NODES, "pruned": "/pruned/detection"}
    found = ComparisonMonitor({"detection": TaskComparison(nodes, "baseline")}, now_s=0.0)
    found.add_result("detection", "int8", 1, boxes(1), 0.0)
    found.add_report("detection", "int8", Sender(NODES["int8"]).complete(1), 0.0)
    found.add_report("detection", "baseline", Sender(NODES["baseline"]).complete(1), 0.0)
    agreed = found.add_result("detection", "baseline", 1, boxes(1), 0.0)
    assert len(agreed) == 1  # with int8; pruned has no result yet
    found.add_result("detection", "pruned", 1, boxes(1), 0.1)
    found.add_result("detection", "pruned", 2, boxes(1), 0.1)
    found.close(0.2)
    compared = found.summary()["detection"].comparison
    assert (compared["int8"].pairs, compared["int8"].unpaired) == (1, 0)
    assert (compared["pruned"].pairs, compared["pruned"].baseline_missing) == (1, 1)


def test_masks_and_paths_have_their_own_figures() -> None:
    def named(task: str) -> TaskComparison:
        return TaskComparison({"a": f"/a/{task}", "b": f"/b/{task}"}, "a")

    found = ComparisonMonitor({t: named(t) for t in ("segmentation", "planning")}, now_s=0.0)
    labels = ("road", "other")
    found.add_result("segmentation", "a", 1, LabelMask(np.zeros((2, 2), np.uint8), labels), 0.0)
    found.add_result("segmentation", "b", 1, LabelMask(np.zeros((2, 2), np.uint8), labels), 0.0)
    for name, y in (("a", 0.0), ("b", 0.25)):
        line = np.array([[0.0, y], [10.0, y]])
        found.add_result("planning", name, 1, Trajectory(line, np.zeros(2), 0.0, 10.0), 0.0)
    summary = found.summary()
    mask, path = (summary[task].comparison["b"] for task in ("segmentation", "planning"))
    assert isinstance(mask.agreement, SegmentationFigures)
    assert mask.agreement.miou == 1.0
    assert isinstance(path.agreement, PlanningFigures)
    assert path.agreement.max_lateral_offset_m == pytest.approx(0.25)
    assert path.frame_score is None  # meters have no place in 0..1


def test_a_pair_that_cannot_be_compared_is_counted_and_reported() -> None:
    nodes = {"a": "/a/segmentation", "b": "/b/segmentation"}
    found = ComparisonMonitor({"segmentation": TaskComparison(nodes, "a")}, now_s=0.0)
    diagnostics = MonitorDiagnostics(found)
    found.add_result("segmentation", "a", 1, LabelMask(np.zeros((2, 2), np.uint8), ("road",)), 0.0)
    found.add_result("segmentation", "b", 1, LabelMask(np.zeros((3, 2), np.uint8), ("road",)), 0.0)
    compared = found.summary()["segmentation"].comparison["b"]
    assert (compared.pairs, compared.incomparable, compared.unpaired) == (0, 1, 0)
    status = by_name(diagnostics.statuses(0.1))["segmentation"]
    assert status.level == Level.ERROR
    assert "different sizes" in status.message


# Counters ---------------------------------------------------------------------------------------


def test_the_counters_continue_after_a_restart() -> None:
    counters, first, second = NodeCounters(), Sender("/a/detection"), Sender("/a/detection")
    for stamp in range(5):
        report = first.complete(stamp)
    # One more frame was being processed when the process was killed.
    first.counters.received += 1
    report = first.complete(6)
    counters.add(report)
    for stamp in range(3):
        counters.add(second.complete(stamp, outcome="dropped_busy"))
    assert counters.restarts == 1
    assert counters.received == 7 + 3
    assert (counters.counts["processed"], counters.counts["dropped_busy"]) == (6, 3)
    assert counters.lost_at_restart == 1
    assert counters.received == sum(counters.counts.values()) + counters.pending + counters.lost_at_restart


def test_counters_that_do_not_add_up_are_reported() -> None:
    counters, sender = NodeCounters(), Sender("/a/detection")
    counters.add(sender.complete(1))
    assert counters.fault == ""
    sender.counters.received += 10  # ten frames that were never completed
    counters.add(sender.complete(2))
    assert "12 received, but 2 processed" in counters.fault
    sender.counters.counts["failed"] += 20  # more completed than ever arrived
    counters.add(sender.complete(3))
    assert "do not add up" in counters.fault


@given(
    st.lists(st.sampled_from(OUTCOMES), min_size=3, max_size=40),
    st.sets(st.integers(0, 39)),
    st.booleans(),
)
def test_lost_and_swapped_reports_do_not_change_the_counters(
    outcomes: list[Outcome], lost: set[int], swap: bool
) -> None:
    # Whatever is lost in between, and even where a node's two threads send in the wrong order, the
    # counters are the node's own after its last report, and the number of lost reports is known.
    sender, counters = Sender("/a/detection"), NodeCounters()
    reports = [sender.complete(index, outcome=outcome) for index, outcome in enumerate(outcomes)]
    last = len(reports) - 1
    kept = [r for index, r in enumerate(reports) if index in (0, 1, last) or index not in lost]
    if swap and len(kept) > 4:
        kept[-3], kept[-2] = kept[-2], kept[-3]
    for report in kept:
        counters.add(report)
    assert counters.restarts == 0
    assert counters.counts == sender.counters.counts
    assert counters.received == sender.counters.received
    assert counters.reports_lost == len(reports) - len(kept)


# Silence and statuses ---------------------------------------------------------------------------


def test_silence_is_reported_in_a_sentence() -> None:
    found = monitor(stale_after_s=2.0)
    assert found.missing(2.0) == []  # exactly as long as allowed
    assert found.missing(5.0) == [
        "detection: /baseline/detection has sent no message yet, for 5.0 s",
        "detection: /int8/detection has sent no message yet, for 5.0 s",
    ]
    found.add_report("detection", "baseline", Sender(NODES["baseline"]).complete(1), 5.0)
    found.add_report("detection", "int8", Sender(NODES["int8"]).complete(1), 6.8)
    assert found.missing(8.2) == ["detection: /baseline/detection silent for 3.2 s"]


def test_statuses_name_what_is_wrong_once() -> None:
    found = monitor(deadline_ms=15.0, stale_after_s=2.0)
    diagnostics = MonitorDiagnostics(found)
    baseline, variant = Sender(NODES["baseline"]), Sender(NODES["int8"])
    found.add_report("detection", "baseline", baseline.complete(1, infer_ms=20.0), 0.1)
    report = variant.complete(1, outcome="failed", age_ms=-5.0, reason="no image")
    found.add_report("detection", "int8", report, 0.1)
    statuses = by_name(diagnostics.statuses(0.2))
    assert list(statuses) == ["detection", "detection/baseline", "detection/int8"]
    assert statuses["detection/baseline"].level == Level.WARN
    assert "1 results after 15 ms" in statuses["detection/baseline"].message
    assert "1 frames failed: no image" in statuses["detection/int8"].message
    assert "stamp in the future" in statuses["detection/int8"].message
    assert statuses["detection/int8"].source == "/int8/detection"
    assert statuses["detection/baseline"].values["end_to_end_ms_p99"] == "23.000"

    # A processed frame of each in the next period: no problems any more, the counters stay.
    found.add_report("detection", "baseline", baseline.complete(2), 0.3)
    found.add_report("detection", "int8", variant.complete(2), 0.3)
    statuses = by_name(diagnostics.statuses(0.4))
    assert {status.level for status in statuses.values()} == {Level.OK}
    assert statuses["detection/int8"].values["failed"] == "1"

    # Then the variant stops: its own status and its task's report it, the baseline's does not.
    found.add_report("detection", "baseline", baseline.complete(3), 5.0)
    statuses = by_name(diagnostics.statuses(5.1, unpublished=["/int8/detection"]))
    assert statuses["detection/baseline"].level == Level.OK
    assert statuses["detection"].level == statuses["detection/int8"].level == Level.ERROR
    assert "silent for 4.8 s" in statuses["detection/int8"].message
    assert "nobody publishes /int8/detection/timing" in statuses["detection/int8"].message


def test_what_was_not_published_is_counted_again() -> None:
    """Failed before: a status that could not be published took its counts with it."""
    found = monitor(deadline_ms=15.0)
    diagnostics = MonitorDiagnostics(found)
    found.add_report("detection", "baseline", Sender(NODES["baseline"]).complete(1, infer_ms=20.0), 0.1)
    for published in (False, True, True):
        message = by_name(diagnostics.statuses(0.2))["detection/baseline"].message
        if not published:
            diagnostics.not_published()
            first = message
    assert "1 results after 15 ms" in first
    assert "results after" not in message


def test_late_results_are_a_warning() -> None:
    found = monitor(pair_timeout_s=1.0)
    diagnostics = MonitorDiagnostics(found)
    found.add_result("detection", "baseline", 1, boxes(1), 0.0)
    found.add_result("detection", "int8", 1, boxes(1), 1.5)
    status = by_name(diagnostics.statuses(1.6))["detection"]
    assert status.level == Level.WARN
    assert "1 results too late" in status.message
    assert status.values["int8.late"] == "1"


# Parameters -------------------------------------------------------------------------------------


def test_names_come_from_the_innermost_namespace() -> None:
    assert variant_names(["/baseline/detection", "/car/int8/detection"]) == {
        "baseline": "/baseline/detection",
        "int8": "/car/int8/detection",
    }
    assert variant_names(["/one", "/two"]) == {"one": "/one", "two": "/two"}
    # Two nodes in one namespace: only their full names differ.
    assert variant_names(["/car/fp32", "/car/int8"]) == {
        "car/fp32": "/car/fp32",
        "car/int8": "/car/int8",
    }


def test_a_task_without_baseline_is_monitored_but_not_compared() -> None:
    found = task_comparison("planning", TaskOptions(compressed=["/a/planning"]))
    assert found is not None
    assert (found.baseline, found.variants) == (None, [])
    monitored = ComparisonMonitor({"planning": found}, now_s=0.0)
    monitored.add_report("planning", "a", Sender("/a/planning", "planning").complete(1), 0.0)
    task = monitored.summary()["planning"]
    assert task.variants["a"].processed == 1
    assert task.comparison == {}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (TaskOptions(), "nothing to watch"),
        (TaskOptions(baseline="baseline/detection"), "not a full node name"),
        (TaskOptions(baseline="/a/d", compressed=["/a/d"]), "cannot be compared with itself"),
    ],
)
def test_wrong_node_names_are_refused_with_a_reason(options: TaskOptions, reason: str) -> None:
    with pytest.raises(AdcpError, match=reason):
        comparisons({"detection": options})
