# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What ``adcp watch`` shows, from the summaries of one monitor; knows neither ROS nor the terminal.

No clock is read: times are arguments, in monotonic seconds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from ad_compressed_perception.report.kit.document import copied
from ad_compressed_perception.report.schemas.agreement import (
    ClassificationFigures,
    DetectionFigures,
    SegmentationFigures,
)
from ad_compressed_perception.report.schemas.comparison import Report, TaskReport
from ad_compressed_perception.report.schemas.fields import Percentiles
from ad_compressed_perception.report.schemas.pairs import (
    Alarm,
    ComparisonReport,
    ComparisonWindow,
    LimitsReport,
)
from ad_compressed_perception.report.schemas.variant import VariantReport, VariantWindow
from ad_compressed_perception.report.schemas.watch import Row, Series, View

NO_DATA = "NO DATA"
NO_LIMIT, NO_SCORE, LOW, NO_RESULT = "NO LIMIT", "NO SCORE", "LOW", "NO RESULT"
LEVELS = ("OK", NO_LIMIT, NO_SCORE, LOW, "WARN", NO_RESULT, "ERROR", NO_DATA)
_KEPT_S = 300.0

WindowT = TypeVar("WindowT", VariantWindow, ComparisonWindow)


@dataclass(frozen=True)
class _Sample:
    came_s: float
    p95_ms: float | None
    score: float | None


class History:
    """The last summary of a monitor, and the series of the last minutes."""

    def __init__(self, monitor: str, *, stale_after_s: float = 5.0, columns: int = 24, span_s: float = 120.0):
        """Begin without a summary.

        Args:
            monitor: full name.
            stale_after_s: age from which a summary is not of now.
            columns: values of a series.
            span_s: time that a series covers, up to 300 s.
        """
        self.monitor = monitor
        self.report: Report | None = None
        self._stale_after_s = stale_after_s
        self._columns, self._span_s = columns, min(span_s, _KEPT_S)
        self._came_s = math.nan
        self._written_before_s = 0.0
        self._samples: dict[tuple[str, str], deque[_Sample]] = {}

    def add(self, report: Report, now_s: float, *, written_before_s: float = 0.0) -> None:
        """Add a summary that has come now.

        Args:
            report: the summary.
            now_s: monotonic seconds.
            written_before_s: how old it already was: the first one that comes was kept for late subscribers.
        """
        self.report, self._came_s, self._written_before_s = report, now_s, written_before_s
        for task, each in report.tasks.items():
            for name, variant in each.variants.items():
                compared = each.comparison.get(name)
                window = _shortest(variant.windows)
                against = _shortest(compared.windows) if compared else None
                samples = self._samples.setdefault((task, name), deque())
                total = variant.end_to_end_ms if not variant.windows else None
                p95 = window.end_to_end_ms.p95 if window else (total.p95 if total else None)
                samples.append(_Sample(now_s, p95, against.score if against else None))
                while samples[0].came_s < now_s - _KEPT_S:
                    samples.popleft()

    def age_s(self, now_s: float) -> float:
        """Seconds since the last summary was written, as far as is known; NaN before one."""
        return now_s - self._came_s + self._written_before_s

    def view(self, now_s: float, notes: Iterable[str] = (), drift: Iterable[Alarm] = ()) -> View:
        """Return what to show now, with the nodes' own alarms; ValueError before the first summary."""
        report = self.report
        if report is None:
            raise ValueError("no summary yet")
        rows, alarms = [], list(drift)
        for task, each in report.tasks.items():
            limits = {name: limit.min_agreement for name, limit in each.limits.items()}
            alarms += [alarm for alarm in each.alarms if alarm.level != "OK"]
            for name in each.variants:
                level = _level(task, name, each, report.missing)
                series = self._series(task, name, limits.get(name), now_s)
                rows.append(_row(level, task, name, each, series))
        doubts = [*notes, *report.problems]
        state = max((row.level for row in rows), key=LEVELS.index, default="OK")
        if alarms or report.missing or doubts:
            levels = [alarm.level for alarm in alarms] + ["ERROR"] * bool(report.missing or doubts)
            state = max([state, *levels], key=LEVELS.index)
        age_s = self.age_s(now_s)
        if age_s > self._stale_after_s:
            state = NO_DATA
        windows = {
            window.window_s
            for task in report.tasks.values()
            for variant in task.variants.values()
            if (window := _shortest(variant.windows)) is not None
        }
        return View(
            monitor=self.monitor,
            state=state,
            age_s=age_s,
            figures=f"last {max(windows):g} s" if windows else "whole run",
            rows=rows,
            alarms=sorted(alarms, key=lambda alarm: -LEVELS.index(alarm.level)),
            missing=list(report.missing),
            notes=doubts,
        )

    def _series(self, task: str, name: str, limit: float | None, now_s: float) -> tuple[Series, Series]:
        """Return end to end (p95) and agreement: in each span the worst value."""
        samples = self._samples.get((task, name), ())
        times = [sample.came_s for sample in samples]
        p95 = self._spans(times, [sample.p95_ms for sample in samples], now_s, worst=max)
        scores = self._spans(times, [sample.score for sample in samples], now_s, worst=min)
        top = max((value for value in p95 if value is not None), default=1.0)
        # A limit lies in the middle of the drawing.
        low = 0.0 if limit is None else max(0.0, 2.0 * limit - 1.0)
        return Series(values=p95, high=top or 1.0), Series(values=scores, low=low)

    def _spans(
        self, times: Sequence[float], values: Sequence[float | None], now_s: float, worst: Any
    ) -> list[float | None]:
        spans: list[float | None] = [None] * self._columns
        for came_s, value in zip(times, values, strict=True):
            place = self._columns - 1 - int((now_s - came_s) * self._columns / self._span_s)
            if value is not None and 0 <= place < self._columns:
                before = spans[place]
                spans[place] = value if before is None else worst(before, value)
        return spans


def written_before_s(report: Report, wall_s: float) -> float:
    """Return how long ago a summary was written by the wall clock; 0 where that is unknown or ahead."""
    try:
        return max(0.0, wall_s - datetime.fromisoformat(report.created).timestamp())
    except ValueError:
        return 0.0


def score_text(comparison: ComparisonReport | ComparisonWindow | None) -> str:
    """Return an agreement in a few characters."""
    figures = comparison.agreement if comparison is not None else None
    if figures is None:
        return "no pair"
    if isinstance(figures, DetectionFigures) and not figures.matched + figures.missed + figures.extra:
        return "no objects"
    if isinstance(comparison, ComparisonWindow):  # the score that is limited, not a figure beside it
        name = "F1" if isinstance(figures, DetectionFigures) else "paths"
        name = "wIoU" if isinstance(figures, SegmentationFigures) else name
        name = "top-1" if isinstance(figures, ClassificationFigures) else name
        return "nothing seen" if comparison.score is None else f"{name} {comparison.score:.3f}"
    if isinstance(figures, DetectionFigures):
        return f"F1 {figures.f1:.3f}"
    if isinstance(figures, SegmentationFigures):
        return f"mIoU {figures.miou:.3f}"
    if isinstance(figures, ClassificationFigures):
        return f"top-1 {figures.top1:.3f}"
    return f"FDE {figures.fde_m:.2f} m"


def _shortest(windows: Mapping[str, WindowT]) -> WindowT | None:
    """Return the window that looks back least; None where the monitor reports none."""
    return min(windows.values(), key=lambda window: window.window_s, default=None)


def _level(task: str, name: str, found: TaskReport, missing: Sequence[str]) -> str:
    levels: list[str] = [alarm.level for alarm in found.alarms if alarm.variant == name]
    if any(line.startswith(f"{task}: {found.variants[name].node} ") for line in missing):
        levels.append("ERROR")
    variant, comparison = found.variants[name], found.comparison.get(name)
    if variant.model is None or (comparison is not None and not comparison.pairs):
        levels.append(NO_RESULT)
    if comparison is not None:
        levels += _agreement_levels(found.limits.get(name), comparison)
    return max(levels, key=LEVELS.index, default="OK")


def _agreement_levels(limits: LimitsReport | None, comparison: ComparisonReport) -> Iterator[str]:
    least = limits.min_agreement if limits is not None else None
    window = _shortest(comparison.windows)
    if not least:  # no agreement is below 0
        yield NO_LIMIT
    if window is not None and window.score is None:
        yield NO_SCORE
    elif window is not None and least and (window.score or 0.0) < least:
        yield LOW


def _row(level: str, task: str, name: str, found: TaskReport, series: tuple[Series, Series]) -> Row:
    variant, comparison = found.variants[name], found.comparison.get(name)
    window = _shortest(variant.windows)
    now: VariantWindow = window if window is not None else _whole_run(variant)
    against = (_shortest(comparison.windows) or comparison) if comparison is not None else None
    is_baseline = name == found.baseline
    return copied(
        Row,
        *(now, variant),
        level=level,
        task=task,
        name=name,
        model="/".join(part for part in (variant.model, variant.variant) if part),
        is_baseline=is_baseline,
        late_share=now.deadline_miss_share,
        p99_9=variant.tail.sentence,
        over_budget=[stage for stage, each in variant.budget.items() if each.is_over],
        agreement=score_text(against)
        if against is not None
        else ("baseline" if is_baseline and found.comparison else ""),
        score=against.score if isinstance(against, ComparisonWindow) else None,
        pairs=against.pairs if against is not None else None,
        frames=against.frames if isinstance(against, ComparisonWindow) else None,
        speedup=against.speedup_infer_paired_p50 if against is not None else None,
        p95_series=series[0],
        score_series=series[1],
    )


def _whole_run(variant: VariantReport) -> VariantWindow:
    """Return the figures of the whole run, of a monitor that reports no windows."""
    lost = variant.dropped_busy + variant.dropped_stale + variant.failed
    done = variant.processed + lost
    return VariantWindow(
        window_s=0.0,
        processed=variant.processed,
        failed=variant.failed,
        drop_share=lost / done if done else None,
        rate_hz=variant.throughput_hz,
        deadline_miss_share=variant.deadline_miss_rate,
        infer_ms=variant.stages_ms.get("infer", Percentiles()),
        end_to_end_ms=variant.end_to_end_ms,
    )
