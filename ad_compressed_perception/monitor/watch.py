# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Watches all running variants: their limits, the checks of the last seconds, and the alarms that follow."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from ad_compressed_perception.monitor.alarms import ActiveAlarm, Alarms, Key
from ad_compressed_perception.monitor.checks import (
    Check,
    check_age,
    check_agreement,
    check_compared,
    check_drops,
    check_fallback,
    check_incomparable,
    check_rate,
    check_times,
)
from ad_compressed_perception.monitor.comparison import ComparisonMonitor, TaskMonitor
from ad_compressed_perception.monitor.frame_health import Level, Problems
from ad_compressed_perception.monitor.limits import limits_of, of_pairs_only
from ad_compressed_perception.monitor.windows import window_name
from ad_compressed_perception.report.kit.text import shown
from ad_compressed_perception.report.schemas.comparison import TaskReport
from ad_compressed_perception.report.schemas.pairs import Alarm, LimitsReport

OF_PAIRS = ("agreement", "compared_share")
"""Figures of a variant against its baseline."""

OF_FRAMES = ("p99_ms", "deadline_miss_share", "drop_share", "fallback_share")
"""Figures of one node; its rate and the age of its results are on its status without an alarm, too."""


class Watch:
    """Alarms of a monitor's variants."""

    def __init__(self, monitor: ComparisonMonitor, raise_after_s: float, clear_after_s: float) -> None:
        """Watch ``monitor``; see ``Alarms`` for the times."""
        self._monitor = monitor
        self.alarms = Alarms(raise_after_s, clear_after_s)
        # The worst level of each alarm so far, and for how long it has been on.
        self._past: dict[Key, tuple[Level, float]] = {}
        self._before_s = math.nan

    def update(self, tasks: Mapping[str, TaskReport], now_s: float, now: datetime) -> None:
        """Check the monitor's summary of this moment; add limits and alarms to it.

        Args:
            tasks: of ``ComparisonMonitor.summary(now_s)``.
            now_s: monotonic seconds.
            now: the same moment by the calendar, with time zone.
        """
        checks = []
        with self._monitor.lock:
            for task, report in tasks.items():
                monitor = self._monitor.tasks[task]
                report.limits = {name: self._limits(monitor, name) for name in report.variants}
                for name in report.variants:
                    checks += [(task, name, each) for each in self._checks(monitor, report, name, now_s)]
        self.alarms.update(checks, now_s)
        since_s = 0.0 if math.isnan(self._before_s) else now_s - self._before_s
        self._before_s = now_s
        for active in self.alarms.active:
            level, lasted_s = self._past.get(active.key, (Level.OK, 0.0))
            self._past[active.key] = max(level, active.level), lasted_s + since_s
        for task, report in tasks.items():
            report.alarms = [self._to_schema(a, now_s, now) for a in self.alarms.active if a.key[0] == task]

    def history(self) -> list[str]:
        """Return a sentence for each alarm of the whole run, those that have ended too."""
        return [
            f"{task}/{variant}: {figure} was an alarm for {lasted_s:.0f} s of the run, at worst {level.name}."
            for (task, variant, figure), (level, lasted_s) in self._past.items()
        ]

    def problems(self, task: str, variant: str, figures: Collection[str]) -> Problems:
        """Return the active alarms of some figures of a variant as lines of a status."""
        return [
            (active.level, sentence(active))
            for active in self.alarms.active
            if active.key[:2] == (task, variant) and active.key[2] in figures
        ]

    def _limits(self, monitor: TaskMonitor, name: str) -> LimitsReport:
        spec, info = monitor.spec, monitor.variants[name].model_info
        is_compared = name in monitor.comparisons
        if monitor.head and info is not None:
            info = info.of_head(monitor.head)
        found = limits_of(spec.limits, info, self._monitor.windows_s[0], is_baseline=not is_compared)
        return of_pairs_only(found) if monitor.head else found

    def _checks(self, monitor: TaskMonitor, report: TaskReport, name: str, now_s: float) -> Iterator[Check]:
        key, margin = window_name(self._monitor.windows_s[0]), monitor.spec.limits.warn_margin
        limits = report.limits[name]
        if monitor.head:
            yield from self._of_pairs(monitor, report, name)
            return
        if fault := monitor.variants[name].liveness.fault(now_s):
            yield Check("results", Level.ERROR, Level.ERROR, None, None, fault)
        else:
            yield Check("results", Level.OK, Level.OK, None, None, "gives results")
        yield from self._of_pairs(monitor, report, name)
        frames = report.variants[name].windows.get(key)
        if frames is None:
            return
        recent = monitor.variants[name].recent
        # A slow baseline is why it is compressed. Where it is late too, the machine is too slow for both at
        # once; a gate's times are of a machine that ran the variant alone.
        cap = Level.WARN if name == report.baseline or _is_late(report, key, limits) else Level.ERROR
        for check in check_times(frames, limits, margin):
            of_gate = check.figure == "p99_ms" and limits.sources["max_p99_ms"] != "parameter"
            inference = check.figure == "p99_ms" and limits.timed == "inference"
            stamp_ns = recent.slowest_stamp_ns(frames.window_s, now_s, inference=inference)
            most = Level.WARN if of_gate else cap
            yield replace(
                check, level=min(check.level, most), hold=min(check.hold, most), worst_stamp_ns=stamp_ns
            )
        own = monitor.spec.limits
        others = (
            check_drops(frames, limits, margin),
            check_fallback(frames, limits),
            check_rate(frames, own.min_rate_hz, margin),
            check_age(frames, own.max_age_warn_ms, own.min_pairs),
        )
        yield from filter(None, others)

    def _of_pairs(self, monitor: TaskMonitor, report: TaskReport, name: str) -> Iterator[Check]:
        if name not in report.comparison:
            return
        windows, limits = report.comparison[name].windows, report.limits[name]
        window, margin = windows[window_name(self._monitor.windows_s[0])], monitor.spec.limits.warn_margin
        agreement = check_agreement(windows.values(), limits, margin)
        yield from filter(None, (agreement, check_compared(window, limits, margin)))
        yield check_incomparable(window, monitor.comparisons[name].incomparable_reason)

    def _to_schema(self, active: ActiveAlarm, now_s: float, now: datetime) -> Alarm:
        check = active.check
        since = now - timedelta(seconds=now_s - active.since_s)
        return Alarm(
            task=active.key[0],
            variant=active.key[1],
            figure=active.key[2],
            level=active.level.name,
            value=check.value if check and active.has_data else None,
            threshold=check.threshold if check else None,
            window_s=check.window_s if check and check.window_s else self._monitor.windows_s[0],
            since=since.isoformat(timespec="milliseconds"),
            since_s=now_s - active.since_s,
            worst_stamp_ns=check.worst_stamp_ns if check else None,
            sentence=f"{active.key[0]}/{active.key[1]}: {sentence(active)}",
        )


def _is_late(report: TaskReport, window: str, limits: LimitsReport) -> bool:
    """Whether the baseline misses the deadline more often than a variant may."""
    baseline = report.variants.get(report.baseline or "")
    frames = baseline.windows.get(window) if baseline else None
    share, most = (frames.deadline_miss_share if frames else None), limits.max_deadline_miss_share
    return share is not None and most is not None and share > most


def sentence(active: ActiveAlarm) -> str:
    """Return what is wrong, and the worst frame, in words."""
    check = active.check
    if check is None:
        return active.key[2]
    text = check.text if active.has_data else f"no data now; before: {check.text}"
    if check.worst_stamp_ns is None:
        return text
    seconds, nanoseconds = divmod(check.worst_stamp_ns, 1_000_000_000)
    return f"{text}; worst frame {seconds}.{nanoseconds:09d}"


def log_line(active: ActiveAlarm) -> str:
    """Return the line of the log about an alarm that began, changed or ended."""
    task, variant, figure = active.key
    if active.level is Level.OK:
        state = f"within its limits again: {shown(sentence(active))}" if active.has_data else "no data"
        return f"alarm ended: {task}/{variant}: {figure}: {state}"
    return f"{active.level.name} {task}/{variant}: {shown(sentence(active))}"
