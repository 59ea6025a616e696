# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A comparison that can say no: drives through the monitor's core, and the alarms they raise."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_compressed_perception.core.results import Detections, Trajectory
from ad_compressed_perception.core.timing import FrameCounters, FrameTiming, NodeReport, Outcome
from ad_compressed_perception.monitor.alarms import Alarms
from ad_compressed_perception.monitor.checks import Check
from ad_compressed_perception.monitor.comparison import ComparisonMonitor, TaskComparison
from ad_compressed_perception.monitor.diagnostics import MonitorDiagnostics
from ad_compressed_perception.monitor.frame_health import Level
from ad_compressed_perception.monitor.gate import Gate, ModelInfo
from ad_compressed_perception.monitor.limits import WatchLimits
from ad_compressed_perception.monitor.watch import Watch, log_line
from ad_compressed_perception.monitor.windows import FrameWindow
from ad_compressed_perception.report.schemas.comparison import TaskReport
from ad_compressed_perception.report.schemas.pairs import Alarm

NODES = {"baseline": "/baseline/detection", "int8": "/int8/detection"}
START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def cars(count: int) -> Detections:
    left = np.arange(count, dtype=np.float32) * 20
    table = np.stack([left, left * 0, left + 10, left * 0 + 10], axis=1)
    scores = np.linspace(0.9, 0.5, count, dtype=np.float32)
    return Detections(table, scores, np.zeros(count, np.int64), ("car",))


class Drive:
    """A monitored drive at 20 Hz: what each side does with a frame is decided by the test."""

    def __init__(self, deadline_ms: float | None = None, **limits: float) -> None:
        task = TaskComparison(NODES, "baseline", deadline_ms, limits=WatchLimits(**limits))
        self.monitor = ComparisonMonitor({"detection": task}, now_s=0.0)
        self.watch = Watch(self.monitor, raise_after_s=2.0, clear_after_s=5.0)
        self.log: list[str] = []
        self.variant = "x"
        self.now_s, self.frame = 0.0, 0
        self._counters = {name: FrameCounters() for name in NODES}
        self.task = TaskReport()

    def run(
        self,
        seconds: float,
        objects: Callable[[int], int | None] = lambda _: 2,
        *,
        infer_ms: float = 10.0,
        outcome: Outcome = "processed",
        baseline: Callable[[int], int | None] = lambda _: 2,
    ) -> dict[str, Alarm]:
        """Drive on; ``objects`` and ``baseline`` give a frame's objects, None for no message at all."""
        for _ in range(round(seconds * 20)):
            self.frame += 1
            for name, found in (("baseline", baseline(self.frame)), ("int8", objects(self.frame))):
                if found is None:
                    continue
                done: Outcome = outcome if name == "int8" else "processed"
                if done == "processed":
                    self.monitor.add_result("detection", name, self.frame, cars(found), self.now_s)
                self._report(name, done, infer_ms if name == "int8" else 20.0)
            self.now_s += 0.05
            if self.frame % 20 == 0:  # the period of /diagnostics
                self.monitor.expire(self.now_s)
                self.task = self.monitor.summary(self.now_s)["detection"]
                self.watch.update({"detection": self.task}, self.now_s, START)
                self.log += [log_line(active) for active in self.watch.alarms.news(self.now_s)]
        return {f"{alarm.variant}.{alarm.figure}": alarm for alarm in self.task.alarms}

    def _report(self, name: str, outcome: Outcome, infer_ms: float) -> None:
        counters = self._counters[name]
        counters.received += 1
        counters.complete(outcome)
        processed = outcome == "processed"
        timing = FrameTiming(
            self.frame,
            outcome,
            {"infer": infer_ms} if processed else {},
            infer_ms + 5.0 if processed else math.nan,
        )
        texts = dict.fromkeys(
            ("model", "variant", "backend", "requested_provider", "provider", "precision"), self.variant
        )
        if name == "baseline":
            texts["variant"] = "fp32"  # the same model in both would be nothing to compare
        report = NodeReport(
            node=NODES[name],
            task="detection",
            timing=timing,
            received=counters.received,
            counts=dict(counters.counts),
            **texts,
        )
        self.monitor.add_report("detection", name, report, self.now_s)

    def judge(self, gate: Gate | None, problem: str = "") -> None:
        info = ModelInfo(model="tiny", variant="int8", task="detection", gate=gate, gate_problem=problem)
        self.monitor.add_model_info("detection", "int8", info)


def test_an_accepted_variant_raises_no_alarm() -> None:
    drive = Drive(deadline_ms=100.0)
    drive.judge(Gate(max_drop=0.05))
    assert drive.run(70.0, lambda frame: 1 if frame % 100 == 0 else 2) == {}
    assert drive.log == []
    assert drive.task.comparison["int8"].windows["10s"].pairs == 200


def test_a_bad_variant_is_an_error_within_ten_seconds_and_its_worst_frame_is_named() -> None:
    """One of two objects is missed on every frame: F1 is 2/3, the gate asks for 0.95."""
    drive = Drive()
    drive.judge(Gate(max_drop=0.05))
    alarm = drive.run(5.0, lambda frame: 0 if frame == 7 else 1)["int8.agreement"]
    assert (alarm.level, alarm.threshold, alarm.worst_stamp_ns) == ("ERROR", 0.95, 7)
    assert alarm.value == pytest.approx(2 / 3, abs=0.01)
    assert "gate of tiny/int8" in alarm.sentence
    assert len(drive.log) == 1
    assert drive.log[0].startswith("ERROR detection/int8: agreement 0.6")


def test_a_severe_loss_is_an_error_though_neighboring_frames_are_alike() -> None:
    """Two seconds without an object, two with all: the interval spans nearly everything, F1 is 2/3."""
    drive = Drive()
    drive.judge(Gate(max_drop=0.05))
    alarm = drive.run(10.0, lambda frame: 0 if frame // 40 % 2 else 2)["int8.agreement"]
    assert alarm.level == "ERROR"


def test_a_long_good_past_does_not_hide_what_is_wrong_now() -> None:
    drive = Drive()
    assert drive.run(120.0) == {}
    assert drive.run(20.0, lambda _: 0)["int8.agreement"].level == "ERROR"
    assert drive.task.comparison["int8"].agreement is not None


def test_a_silent_variant_is_never_ok_at_an_old_figure() -> None:
    """Failed before: status OK, "f1 0.625 over 422 pairs", while nothing was compared any more."""
    drive = Drive()
    statuses = MonitorDiagnostics(drive.monitor, drive.watch)
    drive.run(30.0)
    alarms = drive.run(20.0, lambda _: None)
    assert alarms["int8.results"].level == "ERROR"
    assert alarms["int8.compared_share"].level == "ERROR"
    status = {each.name: each for each in statuses.statuses(drive.now_s)}["detection"]
    assert status.level == Level.ERROR
    assert "/int8/detection silent for 20.0 s" in status.message
    assert status.values["int8.score_10s"] == "nan"


def test_a_silent_camera_leaves_no_figure_either() -> None:
    """No node gets a frame: the lines of the statuses say that there is no pair, with the level of it."""
    drive = Drive()
    drive.run(30.0)
    nothing: Callable[[int], int | None] = lambda _: None  # noqa: E731
    alarms = drive.run(20.0, nothing, baseline=nothing)
    assert {key: alarm.level for key, alarm in alarms.items()} == {
        "baseline.results": "ERROR",
        "int8.results": "ERROR",
    }
    assert drive.task.comparison["int8"].windows["10s"].score is None


def test_a_variant_whose_results_have_no_partner_is_an_error() -> None:
    """Both sides answer every other frame, and never the same one: agreement is unknown, not fine."""
    drive = Drive()
    alarms = drive.run(
        10.0,
        lambda frame: 2 if frame % 2 else None,
        baseline=lambda frame: None if frame % 2 else 2,
    )
    alarm = alarms["int8.compared_share"]
    assert (alarm.level, alarm.value) == ("ERROR", 0.0)
    assert "no pair" in alarm.sentence


def test_an_agreement_on_a_tiny_share_of_the_frames_is_a_warning() -> None:
    """The baseline answers one of ten frames: a perfect agreement, on a tenth of the drive."""
    drive = Drive()
    alarms = drive.run(15.0, baseline=lambda frame: None if frame % 10 else 2)
    assert {key: alarm.level for key, alarm in alarms.items()} == {"int8.compared_share": "WARN"}
    assert alarms["int8.compared_share"].value == pytest.approx(0.1, abs=0.02)


def test_few_pairs_raise_no_alarm_about_agreement_until_a_longer_window_has_enough() -> None:
    """One pair a second: 10 s have 10 of the 20 pairs that are asked for, 60 s have them."""
    drive = Drive(min_pairs=20, min_compared_share=0.0)
    rarely: Callable[[int], int | None] = lambda frame: None if frame % 20 else 1  # noqa: E731
    baseline: Callable[[int], int | None] = lambda frame: None if frame % 20 else 2  # noqa: E731
    assert drive.run(15.0, rarely, baseline=baseline) == {}
    assert drive.task.limits["int8"].min_pairs == 20
    alarm = drive.run(15.0, rarely, baseline=baseline)["int8.agreement"]
    assert (alarm.level, alarm.window_s) == ("ERROR", 60.0)
    assert "int8.agreement" not in drive.run(20.0, lambda _: None, baseline=baseline), "there is no data"


@pytest.mark.parametrize(
    ("gate", "problem", "limits", "least", "source"),
    [
        (Gate(max_drop=0.2), "", {}, 0.8, "gate of tiny/int8"),
        (Gate(max_drop=0.2, strict_extra=0.05), "", {}, 0.75, "gate of tiny/int8"),
        (Gate(max_drop=0.2), "", {"min_agreement": 0.6}, 0.6, "parameter"),
        (None, "", {}, 0.95, "default of a gate, for that of the variant is unknown: it has no recipe"),
        (None, "line 3: no YAML", {}, 0.95, "line 3: no YAML"),
    ],
)
def test_the_limit_in_force_and_where_it_comes_from_are_in_the_report(
    gate: Gate | None, problem: str, limits: dict[str, float], least: float, source: str
) -> None:
    """With F1 2/3 only the limit of 0.6 is kept."""
    drive = Drive(**limits)
    drive.judge(gate, problem)
    alarms = drive.run(15.0, lambda _: 1)
    found = drive.task.limits["int8"]
    assert found.min_agreement == pytest.approx(least)
    assert source in found.sources["min_agreement"]
    assert ("int8.agreement" in alarms) == (least > 2 / 3)
    assert drive.task.limits["baseline"].min_agreement is None, "it is what others are compared with"


def test_late_results_are_an_error_of_the_variant() -> None:
    """The deadline is 30 ms: the baseline needs 25 end to end, the variant 35."""
    drive = Drive(deadline_ms=30.0)
    alarms = drive.run(15.0, infer_ms=30.0)
    assert {key: alarm.level for key, alarm in alarms.items()} == {"int8.deadline_miss_share": "ERROR"}
    assert drive.run(30.0, infer_ms=10.0) == {}


def test_where_the_baseline_is_late_too_the_machine_is_too_slow_and_it_is_a_warning() -> None:
    drive = Drive(deadline_ms=22.0)
    alarms = drive.run(15.0, infer_ms=30.0)
    assert {key: alarm.level for key, alarm in alarms.items()} == {
        "baseline.deadline_miss_share": "WARN",
        "int8.deadline_miss_share": "WARN",
    }


@pytest.mark.parametrize(
    ("gate", "limits", "level"),
    [
        (Gate(max_p99_ms=20.0), {}, "WARN"),  # measured alone, perhaps on another machine
        (Gate(max_p99_ms=50.0), {"max_p99_ms": 20.0}, "ERROR"),
        (Gate(max_p99_ms=50.0), {}, None),
    ],
)
def test_a_p99_beyond_its_limit(gate: Gate, limits: dict[str, float], level: str | None) -> None:
    drive = Drive(**limits)
    drive.judge(gate)
    alarm = drive.run(15.0, infer_ms=30.0).get("int8.p99_ms")
    assert (alarm.level if alarm else None) == level


def test_an_alarm_that_has_ended_stays_in_the_history_of_the_run() -> None:
    """Failed before: after a bad hour and a good last minute the report of the drive named no alarm."""
    drive = Drive()
    drive.run(30.0, lambda _: 0)
    assert drive.run(90.0) == {}
    (line,) = drive.watch.history()
    assert line.startswith("detection/int8: agreement was an alarm for ")
    assert line.endswith(" s of the run, at worst ERROR.")


def test_results_that_cannot_be_compared_are_not_left_out_of_the_agreement_silently() -> None:
    """Failed before: a planner without a path on every second frame was OK, on the other half of them."""
    monitor = ComparisonMonitor({"planning": TaskComparison(NODES, "baseline")}, now_s=0.0)
    watch = Watch(monitor, raise_after_s=2.0, clear_after_s=5.0)
    straight = Trajectory(np.arange(20.0).reshape(10, 2) * (1, 0), np.zeros(10), 0.0, 5.0)
    none = Trajectory(np.zeros((0, 2)), np.zeros(0), 0.0, 0.0)
    found: dict[str, str] = {}
    for frame in range(1, 200):
        now_s = frame / 20.0
        monitor.add_result("planning", "baseline", frame, straight, now_s)
        monitor.add_result("planning", "int8", frame, none if frame % 2 else straight, now_s)
        tasks = monitor.summary(now_s)
        watch.update(tasks, now_s, START)
        found = {a.figure: a.level for a in tasks["planning"].alarms}
    assert found["incomparable"] == "ERROR"
    assert tasks["planning"].comparison["int8"].windows["10s"].incomparable == 100


def test_figures_of_the_model_that_ran_before_are_not_those_of_the_present_one() -> None:
    """Failed before: after a change to a good variant the bad one's pairs were its agreement for 10 s."""
    drive = Drive()
    assert drive.run(30.0, lambda _: 0)["int8.agreement"].level == "ERROR"
    drive.variant = "y"
    drive.run(3.0)
    windows = drive.task.comparison["int8"].windows
    assert (windows["10s"].score, windows["60s"].score) == (1.0, 1.0)
    assert drive.monitor.changes[-1].startswith("detection/int8 ran x/x on x before y/y on y: figures of the")


@pytest.mark.parametrize(
    ("infer_ms", "limits", "expected"),
    [
        (3000.0, {}, {"int8.age_ms": "WARN"}),  # no deadline and no p99 in the gate
        (-5000.0, {}, {"int8.age_ms": "WARN"}),
        (3000.0, {"max_age_warn_ms": 0.0}, {}),
        (-4e6, {}, {}),  # stamps of a recording
        (10.0, {"min_rate_hz": 25.0}, {"baseline.rate_hz": "WARN", "int8.rate_hz": "WARN"}),
        (10.0, {"min_rate_hz": 50.0}, {"baseline.rate_hz": "ERROR", "int8.rate_hz": "ERROR"}),
    ],
)
def test_a_rate_and_an_age_that_diagnostics_call_wrong_are_alarms_too(
    infer_ms: float, limits: dict[str, float], expected: dict[str, str]
) -> None:
    """Failed before: the status was an ERROR, while the summary, and ``adcp watch``, knew nothing of it."""
    alarms = Drive(**limits).run(15.0, infer_ms=infer_ms)
    assert {key: alarm.level for key, alarm in alarms.items()} == expected


def test_ages_below_0_keep_no_deadline() -> None:
    """Failed before: a clock that runs behind the camera's made "0 % of the results late" of every result."""
    drive = Drive(deadline_ms=100.0)
    drive.run(15.0, infer_ms=-5000.0)
    variant = drive.task.variants["int8"]
    assert variant.windows["10s"].deadline_miss_share is None
    assert variant.deadline_miss_rate is None


def test_the_slowest_frame_is_one_that_gave_a_result() -> None:
    """A frame that failed after a long inference is in no percentile."""
    window = FrameWindow(None, [10.0])
    window.add(FrameTiming(1, "processed", {"infer": 9.0}, 10.0), 0.0)
    window.add(FrameTiming(2, "failed", {"infer": 900.0}, math.nan), 0.1)
    assert window.slowest_stamp_ns(10.0, 1.0, inference=True) == 1


def test_dropped_frames_are_a_warning() -> None:
    drive = Drive(min_compared_share=0.0)
    for _ in range(15):
        drive.run(0.3)
        alarms = drive.run(0.7, outcome="dropped_busy")
    assert alarms["int8.drop_share"].level == "WARN"
    assert "displaced" in alarms["int8.drop_share"].sentence


# Hysteresis ---------------------------------------------------------------------------------------


def check(level: Level, hold: Level | None = None) -> Check:
    return Check("agreement", level, level if hold is None else hold, 0.5, 0.9, "text")


def levels(checks: list[Check | None]) -> list[Level]:
    """Return the alarm's level after each check, one a second."""
    alarms, found = Alarms(raise_after_s=2.0, clear_after_s=5.0), []
    for now_s, each in enumerate(checks):
        alarms.update([("task", "int8", each)] if each else [], float(now_s))
        found.append(alarms.active[0].level if alarms.active else Level.OK)
    return found


OK, WARN, ERROR = Level.OK, Level.WARN, Level.ERROR


def test_a_level_must_last_before_an_alarm_rises_and_be_better_for_longer_before_it_falls() -> None:
    good, bad = check(OK), check(ERROR)
    assert levels([bad, bad, good, bad]) == [OK] * 4
    assert levels([bad] * 3) == [OK, OK, ERROR]
    assert levels([bad] * 3 + [good] * 6) == [OK, OK, *[ERROR] * 6, OK]
    assert levels([bad] * 3 + [good] * 4 + [bad] + [good] * 5)[-1] == ERROR
    near = check(OK, hold=ERROR)  # within the limits, not yet within the tighter ones
    assert levels([bad] * 3 + [near] * 30)[-1] == ERROR
    assert levels([near] * 30)[-1] == OK
    assert levels([bad] * 3 + [None] * 6) == [OK, OK, *[ERROR] * 6, OK], "no data: an alarm about that stands"


@settings(max_examples=100)
@given(st.lists(st.sampled_from([OK, WARN, ERROR]), max_size=60))
def test_an_alarm_is_never_above_what_was_seen_and_changes_no_faster_than_it_may(seen: list[Level]) -> None:
    found = levels([check(level) for level in seen])
    changes = [index for index in range(1, len(found)) if found[index] != found[index - 1]]
    for index in changes:
        rose = found[index] > found[index - 1]
        recent = seen[index - (2 if rose else 5) : index + 1]
        if rose:
            assert min(recent) >= found[index], "it lasted"
        else:
            assert max(recent) <= found[index], "it was better all the time"


def test_no_line_calls_a_figure_beyond_its_limit_within_it() -> None:
    """Failed before: "within its limits again: 14% ... (at most 10%)", of an alarm about to begin again."""
    alarms, lines = Alarms(raise_after_s=2.0, clear_after_s=5.0), []
    for now_s in range(40):
        level = OK if 3 <= now_s < 11 else ERROR  # ends at 8 s; a line is due at 12 s
        alarms.update([("task", "int8", check(level))], float(now_s))
        for active in alarms.news(float(now_s)):
            lines.append(log_line(active))
    assert lines == ["ERROR task/int8: text"], "raised again at 13 s"


def test_an_alarm_that_ends_without_data_is_not_called_within_its_limits() -> None:
    alarms, lines = Alarms(raise_after_s=0.0, clear_after_s=5.0), []
    for now_s in range(30):
        found = [("task", "int8", check(ERROR))] if now_s < 3 else []
        alarms.update(found, float(now_s))
        lines += [log_line(active) for active in alarms.news(float(now_s))]
    assert len(lines) == 2
    assert "no data" in lines[-1]
    assert "within its limits" not in lines[-1]


def test_a_flapping_alarm_is_logged_at_most_once_in_ten_seconds_and_its_last_state_is() -> None:
    alarms, lines = Alarms(raise_after_s=0.0, clear_after_s=0.0), []
    for now_s in range(60):
        level = OK if now_s % 2 or now_s > 40 else ERROR
        alarms.update([("task", "int8", check(level))], float(now_s))
        lines += [(now_s, active.level) for active in alarms.news(float(now_s))]
    assert all(later[0] - earlier[0] >= 10 for earlier, later in zip(lines, lines[1:], strict=False))
    assert lines[0] == (0, ERROR)
    assert lines[-1][1] == OK
