# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A live comparison of models with several heads: head by head, and a head that is not compared is named."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import pytest

from ad_compressed_perception.core.results import Detections, LabelMask
from ad_compressed_perception.core.timing import FrameCounters, FrameTiming, NodeReport
from ad_compressed_perception.monitor.comparison import ComparisonMonitor, TaskComparison
from ad_compressed_perception.monitor.diagnostics import Level, MonitorDiagnostics, Status
from ad_compressed_perception.monitor.gate import Gate, HeadInfo, ModelInfo
from ad_compressed_perception.monitor.limits import WatchLimits
from ad_compressed_perception.monitor.watch import Watch
from ad_compressed_perception.report.findings import report_findings
from ad_compressed_perception.report.markdown import render_markdown
from ad_compressed_perception.report.schemas.comparison import Report, TaskReport
from ad_compressed_perception.watch.view import History

TASK = "multi_task"
NODES = {"baseline": "/baseline/multi_task", "compressed": "/compressed/multi_task"}
KINDS = {"objects": "detection", "surface": "segmentation"}
NOW = datetime(2026, 11, 29, tzinfo=timezone.utc)


def boxes() -> Detections:
    """Return two cars."""
    table = np.float32([[0, 0, 10, 10], [20, 0, 30, 10]])
    return Detections(table, np.float32([0.9, 0.8]), np.zeros(2, np.int64), ("car",))


def mask(*, is_wrong: bool = False) -> LabelMask:
    """Return a mask of two labels, half and half; the wrong one has them the other way round."""
    labels = np.zeros((8, 8), np.uint8)
    labels[:, 4:] = 1
    return LabelMask(1 - labels if is_wrong else labels, ("background", "road"))


class Drive:
    """Two nodes of one model with the heads objects and surface, at 10 Hz, and their monitor."""

    def __init__(self, *, has_ground_truth: bool = False) -> None:
        limits = WatchLimits(min_pairs=5)
        spec = TaskComparison(
            NODES, "baseline", 100.0, has_ground_truth=has_ground_truth, limits=limits, has_heads=True
        )
        self.monitor = ComparisonMonitor({TASK: spec}, now_s=0.0, windows_s=(10.0,))
        self.watch = Watch(self.monitor, raise_after_s=0.0, clear_after_s=5.0)
        self._diagnostics = MonitorDiagnostics(self.monitor, self.watch)
        self._counters = {name: FrameCounters() for name in NODES}
        self.now_s = 0.0

    def describe(self, name: str, kinds: dict[str, str], gates: dict[str, Gate] | None = None) -> None:
        """Let a node state its heads."""
        heads = {head: HeadInfo(task=kind, gate=(gates or {}).get(head)) for head, kind in kinds.items()}
        info = ModelInfo(model="two_heads", variant=name, task=TASK, heads=heads)
        self.monitor.add_model_info(TASK, name, info)

    def run(self, frames: int, *, wrong: bool = False, silent: tuple[str, ...] = ()) -> None:
        """Process frames on both nodes; the compressed one's mask may be wrong, or a head of it silent."""
        for _ in range(frames):
            self.now_s += 0.1
            stamp_ns = round(self.now_s * 1e9)
            for name in NODES:
                is_variant = name == "compressed"
                results = {"objects": boxes(), "surface": mask(is_wrong=wrong and is_variant)}
                for head, result in results.items():
                    is_silent = is_variant and head in silent
                    if f"{TASK}.{head}" in self.monitor.tasks and not is_silent:
                        self.monitor.add_result(f"{TASK}.{head}", name, stamp_ns, result, self.now_s)
                self._counters[name].received += 1
                self._counters[name].complete("processed")
                infer_ms = 10.0 if is_variant else 20.0
                self.monitor.add_report(TASK, name, self._timing(name, stamp_ns, infer_ms), self.now_s)
            self.monitor.expire(self.now_s)

    def _timing(self, name: str, stamp_ns: int, infer_ms: float) -> NodeReport:
        counters = self._counters[name]
        return NodeReport(
            *(NODES[name], TASK, "two_heads", name, "onnxruntime", "cpu", "cpu", "fp32"),
            timing=FrameTiming(stamp_ns, "processed", {"infer": infer_ms}, infer_ms + 5.0),
            received=counters.received,
            counts=dict(counters.counts),
        )

    def tasks(self) -> dict[str, TaskReport]:
        found = self.monitor.summary(self.now_s)
        self.watch.update(found, self.now_s, NOW)
        return found

    def report(self) -> Report:
        return Report(
            tasks=self.tasks(), problems=self.monitor.not_compared(), notes=self.monitor.unpublished_heads()
        )

    def statuses(self) -> dict[str, Status]:
        return {each.name: each for each in self._diagnostics.statuses(self.now_s, (), self.tasks())}


def alarms(tasks: dict[str, TaskReport]) -> set[tuple[str, str, str]]:
    return {(a.task, a.figure, a.level) for each in tasks.values() for a in each.alarms if a.level != "OK"}


def test_each_head_has_its_own_agreement_and_only_the_bad_one_an_alarm() -> None:
    drive = Drive()
    for name in NODES:
        drive.describe(name, KINDS)
    drive.run(30, wrong=True)

    tasks = drive.tasks()
    assert list(tasks) == [TASK, "multi_task.objects", "multi_task.surface"]
    windows = {head: tasks[f"{TASK}.{head}"].comparison["compressed"].windows["10s"] for head in KINDS}
    assert (windows["objects"].pairs, windows["objects"].score) == (30, 1.0)
    # Each pixel has the other label.
    assert (windows["surface"].pairs, windows["surface"].score) == (30, 0.0)
    assert alarms(tasks) == {("multi_task.surface", "agreement", "ERROR")}
    # 20 ms against 10 ms: the time of a frame is that of all heads.
    speedups = {tasks[f"{TASK}.{head}"].comparison["compressed"].speedup_infer_paired_p50 for head in KINDS}
    assert speedups == {2.0}
    # The model as a whole has times, and no agreement that could be taken for that of all heads.
    assert tasks[TASK].comparison == {}
    assert tasks[TASK].variants["compressed"].processed == 30
    assert tasks[TASK].variants["compressed"].deadline_miss_rate == 0.0


def test_without_what_the_nodes_state_no_head_is_compared_and_that_is_a_problem() -> None:
    """A node of an earlier version states no heads: its agreement is unknown, not good."""
    drive = Drive()
    drive.run(30)

    report = drive.report()
    expected = "no head is compared: /baseline/multi_task has not stated what heads its model has"
    assert report.problems == [f"multi_task: {expected}"]
    status = drive.statuses()[TASK]
    assert status.level is Level.ERROR
    assert expected in status.message
    findings = report_findings(report)
    assert findings[0].level == "alarm"
    assert not any(one.level == "ok" for one in findings)


@pytest.mark.parametrize(
    ("kinds", "has"),
    [
        ({"objects": "detection"}, "none"),
        ({"objects": "detection", "surface": "classification"}, "it as classification"),
        ({"objects": "detection", "surface": "raw"}, "none"),
    ],
)
def test_a_head_that_only_the_baseline_has_is_named_and_never_agrees(kinds: dict[str, str], has: str) -> None:
    drive = Drive()
    drive.describe("baseline", KINDS)
    drive.describe("compressed", kinds)
    drive.run(30, silent=("surface",))

    report = drive.report()
    assert report.problems == [
        "multi_task: head surface is not compared: /baseline/multi_task has it as segmentation, "
        f"/compressed/multi_task has {has}"
    ]
    assert ("multi_task.surface", "compared_share", "ERROR") in alarms(report.tasks)
    surface = report.tasks["multi_task.surface"].comparison["compressed"]
    assert (surface.pairs, surface.agreement) == (0, None)
    assert report.tasks["multi_task.objects"].comparison["compressed"].pairs == 30


def test_a_head_whose_results_do_not_come_is_an_error_of_that_head() -> None:
    """All timings come, and the other head's results: only this comparison has no pair."""
    drive = Drive()
    for name in NODES:
        drive.describe(name, KINDS)
    drive.run(30, silent=("surface",))

    assert alarms(drive.tasks()) == {("multi_task.surface", "compared_share", "ERROR")}
    statuses = drive.statuses()
    assert statuses["multi_task.objects"].level is Level.OK
    assert statuses["multi_task.surface"].level is Level.ERROR
    assert "no pair" in statuses["multi_task.surface"].message
    assert "compared head by head: multi_task.objects, multi_task.surface" in statuses[TASK].message
    # What the nodes do is reported once.
    assert {name for name in statuses if "/" in name} == {"multi_task/baseline", "multi_task/compressed"}


def test_each_head_is_watched_by_its_own_terms() -> None:
    """The gate allowed surface to lose everything and objects a tenth."""
    drive = Drive()
    drive.describe("baseline", KINDS)
    drive.describe("compressed", KINDS, {"objects": Gate(max_drop=0.1), "surface": Gate(max_drop=1.0)})
    drive.run(30, wrong=True)

    tasks = drive.tasks()
    limits = {head: tasks[f"{TASK}.{head}"].limits["compressed"] for head in KINDS}
    assert limits["objects"].min_agreement == pytest.approx(0.9)
    assert limits["surface"].min_agreement == 0.0
    assert limits["surface"].sources["min_agreement"] == "gate of two_heads/compressed"
    # Times are limited once, for the whole model.
    assert limits["surface"].max_deadline_miss_share is None
    assert tasks[TASK].limits["compressed"].max_deadline_miss_share == 0.1
    assert ("multi_task.surface", "agreement", "ERROR") not in alarms(tasks)


def test_a_head_of_task_raw_is_named_as_not_compared() -> None:
    drive = Drive()
    for name in NODES:
        drive.describe(name, {**KINDS, "features": "raw"})
    drive.run(10)

    report = drive.report()
    assert report.problems == []
    assert report.notes == [
        "multi_task: head features is of task raw: nothing of it is published, so it is not compared."
    ]
    assert "not published, so not compared: features" in drive.statuses()[TASK].message
    assert "multi_task.features" not in report.tasks


def test_heads_that_become_known_during_the_drive_are_compared_from_then_on() -> None:
    """Their models were known before: the pairs count for them, and none is of unknown origin."""
    drive = Drive()
    drive.run(10)
    for name in NODES:
        drive.describe(name, KINDS)
    drive.run(20)

    compared = drive.tasks()["multi_task.objects"].comparison["compressed"]
    assert (compared.pairs, compared.unattributed, compared.earlier) == (20, 0, [])


def test_a_page_lists_the_nodes_once_and_each_head() -> None:
    drive = Drive()
    for name in NODES:
        drive.describe(name, KINDS)
    drive.run(30)

    page = render_markdown(drive.report())
    counters = page.partition("## Frame counters")[2].partition("##")[0]
    assert counters.count("| compressed |") == 1
    ratios = page.partition("## Compressed against baseline")[2].partition("##")[0]
    assert "multi\\_task.objects" in ratios or "multi_task.objects" in ratios
    assert "F1 1.000" in ratios and "mIoU 1.0000" in ratios


def test_the_ground_truth_of_a_head_is_its_own() -> None:
    drive = Drive(has_ground_truth=True)
    for name in NODES:
        drive.describe(name, KINDS)
    drive.run(10)
    for index in range(1, 11):
        drive.monitor.add_ground_truth(
            "multi_task.surface", round(index / 10 * 1e9), mask(is_wrong=True), drive.now_s
        )

    tasks = drive.tasks()
    accuracy = tasks["multi_task.surface"].accuracy["compressed"]
    assert (accuracy.pairs, accuracy.figures and accuracy.figures.kind) == (10, "segmentation")
    assert tasks["multi_task.objects"].accuracy["compressed"].pairs == 0
    message = drive.statuses()["multi_task.objects"].message
    assert "no ground truth yet" in message


def test_a_watcher_sees_a_row_for_each_head_and_none_is_ok_without_pairs() -> None:
    drive = Drive()
    for name in NODES:
        drive.describe(name, KINDS)
    drive.run(30, silent=("surface",))
    history = History("/latency_monitor")
    history.add(drive.report(), drive.now_s)

    view = history.view(drive.now_s)
    rows = {(row.task, row.name): row for row in view.rows}
    assert rows["multi_task.objects", "compressed"].level == "OK"
    assert rows["multi_task.objects", "compressed"].agreement == "F1 1.000"
    assert rows["multi_task.surface", "compressed"].level == "ERROR"
    assert rows["multi_task.surface", "compressed"].agreement == "no pair"
    assert rows["multi_task", "compressed"].agreement == ""
    assert view.state == "ERROR"


def test_a_watcher_of_nodes_that_state_no_heads_does_not_see_ok() -> None:
    drive = Drive()
    drive.run(30)
    history = History("/latency_monitor")
    history.add(drive.report(), drive.now_s)

    view = history.view(drive.now_s)
    assert view.state == "ERROR"
    assert "no head is compared" in view.notes[0]
