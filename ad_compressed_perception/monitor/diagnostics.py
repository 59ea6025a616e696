# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the monitor reports on /diagnostics: one status per task and one per variant; no ROS."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ad_compressed_perception.metrics.agreement import (
    Agreement,
    ClassificationAgreement,
    DetectionAgreement,
    SegmentationAgreement,
)
from ad_compressed_perception.metrics.latency import LatencyPercentiles
from ad_compressed_perception.monitor.comparison import ComparisonMonitor, TaskMonitor
from ad_compressed_perception.monitor.frame_health import Level, Problems
from ad_compressed_perception.monitor.heads import doubts, unpublished
from ad_compressed_perception.monitor.run_latency import run_values
from ad_compressed_perception.monitor.variant_comparison import VariantComparison
from ad_compressed_perception.monitor.variant_monitor import VariantMonitor
from ad_compressed_perception.monitor.watch import OF_FRAMES, OF_PAIRS, Watch
from ad_compressed_perception.report.schemas.comparison import TaskReport
from ad_compressed_perception.report.schemas.pairs import ComparisonWindow
from ad_compressed_perception.report.schemas.variant import VariantReport

# Old first parts of keys, given besides the present ones for one version.
_RENAMED = {"truth": "ground_truth"}
_RENAMED_KEYS = {"candidate_missing": "variant_missing"}


@dataclass(frozen=True)
class Status:
    """One status.

    Attributes:
        name: "detection" for a task, "detection/int8" for a variant.
        source: the monitored node's full name; empty for a task.
        level: how bad it is.
        message: what is wrong, or the main figures where nothing is.
        values: figures.
    """

    name: str
    source: str
    level: Level
    message: str
    values: dict[str, str]


class MonitorDiagnostics:
    """Converts the monitor's figures to statuses; problems are counted since the previous call."""

    def __init__(self, monitor: ComparisonMonitor, watch: Watch | None = None) -> None:
        """Report on ``monitor``, with the alarms of ``watch``."""
        self._monitor = monitor
        self._watch = watch
        self._before: dict[str, int] = {}
        self._last_before: dict[str, int] = {}

    def statuses(
        self,
        now_s: float,
        unpublished: Collection[str] = (),
        tasks: Mapping[str, TaskReport] | None = None,
    ) -> list[Status]:
        """Return all statuses, tasks before their variants.

        Args:
            now_s: monotonic seconds.
            unpublished: full names of nodes whose timing topic has no publisher.
            tasks: the monitor's summary at ``now_s``, where it is known already.
        """
        found = []
        self._last_before = dict(self._before)
        reports = self._monitor.summary(now_s) if tasks is None else tasks
        with self._monitor.lock:
            for task, monitor in self._monitor.tasks.items():
                found.append(self._task(task, monitor, reports[task], now_s))
                for name, variant in monitor.variants.items():
                    if monitor.head:
                        continue  # what the node does is in the status of its task
                    found.append(
                        self._variant(
                            task,
                            name,
                            monitor,
                            now_s,
                            absent=variant.node in unpublished,
                            report=reports[task].variants[name],
                        )
                    )
        return found

    def not_published(self) -> None:
        """Count what the last statuses counted again in the next ones: they could not be published."""
        self._before = dict(self._last_before)

    def _since_before(self, key: str, count: int) -> int:
        """Return a counter's increase since the previous call."""
        grown = count - self._before.get(key, 0)
        self._before[key] = count
        return grown

    def _alarms(self, task: str, name: str, figures: Collection[str]) -> Problems:
        return [] if self._watch is None else self._watch.problems(task, name, figures)

    def _task(self, task: str, monitor: TaskMonitor, report: TaskReport, now_s: float) -> Status:
        problems: Problems = []
        values: dict[str, str] = {"baseline": monitor.spec.baseline or ""}
        lines = []
        faults = {name: v.liveness.fault(now_s) for name, v in monitor.variants.items()}
        problems += [(Level.ERROR, fault) for fault in faults.values() if fault]
        for name, comparison in monitor.comparisons.items():
            key = f"{task}:{name}"
            if late := self._since_before(f"{key}:late", comparison.results.late):
                problems.append((Level.WARN, f"{name}: {late} results too late to be paired"))
            if self._since_before(f"{key}:incomparable", comparison.incomparable):
                problems.append((Level.ERROR, f"{name}: {comparison.incomparable_reason}"))
            sides = comparison.results.counters.values()
            unstamped = sum(side.unstamped for side in sides)
            if self._since_before(f"{key}:unstamped", unstamped):
                problems.append((Level.WARN, f"{name}: results without a source stamp"))
            both_report = not faults[name] and not faults[str(monitor.spec.baseline)]
            expired = self._since_before(f"{key}:unpaired", comparison.results.unpaired)
            pairs = self._since_before(f"{key}:pairs", comparison.results.pairs)
            if both_report and expired and not pairs:
                problems.append((Level.WARN, f"{name}: no frame with a result of both"))
            problems += [(level, f"{name}: {line}") for level, line in self._alarms(task, name, OF_PAIRS)]
            values |= _comparison_values(name, comparison)
            windows = report.comparison[name].windows
            values |= _window_values(name, windows)
            line = _comparison_line(name, next(iter(windows.items())))
            lines.append(line + ", the same model on both sides" * comparison.is_of_one_model)
        if monitor.spec.has_heads:
            problems += [(Level.ERROR, doubt) for doubt in doubts(monitor)]
            lines += [f"compared head by head: {', '.join(monitor.heads)}"] * bool(monitor.heads)
            lines += [f"not published, so not compared: {head}" for head in unpublished(monitor)]
        for name, accuracy in monitor.accuracies.items() if monitor.head else ():
            lines.append(f"{name}: {_accuracy_line(accuracy)}")
            values |= {f"{name}.{key}": value for key, value in _accuracy_values(accuracy).items()}
        return _status(task, "", problems, "; ".join(lines) or "nothing to compare", values)

    def _variant(
        self,
        task: str,
        variant_name: str,
        monitor: TaskMonitor,
        now_s: float,
        *,
        absent: bool,
        report: VariantReport,
    ) -> Status:
        name = f"{task}/{variant_name}"
        variant, accuracy = monitor.variants[variant_name], monitor.accuracies.get(variant_name)
        problems: Problems = []
        if fault := variant.liveness.fault(now_s):
            why = f" (nobody publishes {variant.node}/timing)" if absent else ""
            problems.append((Level.ERROR, fault + why))
        if fault := variant.counters.fault:
            problems.append((Level.ERROR, fault))
        if failed := self._since_before(f"{name}:failed", variant.counters.counts["failed"]):
            problems.append((Level.WARN, f"{failed} frames failed: {variant.last_failure}"))
        if missed := self._since_before(f"{name}:missed", variant.deadline.misses):
            deadline_ms = variant.deadline.deadline_ms
            problems.append((Level.WARN, f"{missed} results after {deadline_ms:g} ms"))
        variant.health.update(variant.counters.counts, now_s)
        problems += variant.health.problems(monitor.spec.limits)
        problems += self._alarms(task, variant_name, OF_FRAMES)
        problems += self._stamp_problems(name, variant)
        if steps := self._since_before(f"{name}:steps", variant.run_latency.steps):
            problems.append((Level.WARN, f"the ROS clock of the node was set {steps} times: ages doubtful"))
        if self._since_before(f"{name}:restarts", variant.counters.restarts) > 0:
            problems.append((Level.WARN, "the node restarted"))
        if (lost := self._since_before(f"{name}:lost", variant.counters.reports_lost)) > 0:
            problems.append((Level.WARN, f"{lost} of its timing messages were lost"))
        recent = variant.end_to_end.recent()
        rate_hz = variant.rate.recent_hz(now_s)
        line = f"{rate_hz:.1f} Hz, end to end p50 {recent.p50:.1f} ms, p99 {recent.p99:.1f} ms"
        values = _variant_values(variant, rate_hz, recent) | run_values(report)
        if accuracy is not None:
            if self._since_before(f"{name}:incomparable", accuracy.incomparable):
                problems.append(
                    (Level.ERROR, f"not comparable with the ground truth: {accuracy.incomparable_reason}")
                )
            line = f"{line}, {_accuracy_line(accuracy)}"
            values |= _accuracy_values(accuracy)
        return _status(name, variant.node, problems, line, values)

    def _stamp_problems(self, name: str, variant: VariantMonitor) -> Problems:
        counts = {
            "have a stamp in the future": self._since_before(f"{name}:early", variant.negative_ages),
            "have no stamp: how old they are is unknown": self._since_before(
                f"{name}:unstamped", variant.unstamped
            ),
        }
        return [(Level.WARN, f"{count} frames {what}") for what, count in counts.items() if count]


def _status(name: str, source: str, problems: Problems, otherwise: str, values: dict[str, str]) -> Status:
    level = max((level for level, _ in problems), default=Level.OK)
    message = "; ".join(text for _, text in problems) or otherwise
    return Status(name, source, level, message, values)


def _variant_values(variant: VariantMonitor, rate_hz: float, latency: LatencyPercentiles) -> dict[str, str]:
    values = {"node": variant.node}
    if variant.last is not None:
        for key in ("model", "variant", "backend", "requested_provider", "provider", "precision"):
            values[key] = getattr(variant.last, key)
    values |= {"received": str(variant.counters.received), "pending": str(variant.counters.pending)}
    values |= {outcome: str(count) for outcome, count in variant.counters.counts.items()}
    values["throughput_hz"] = f"{rate_hz:.2f}"
    # Deadlines are checked where there is a result; these frames missed theirs, too.
    counts = variant.counters.counts
    values["without_result"] = str(sum(counts.values()) - counts["processed"])
    values["dropped_share"] = f"{variant.health.dropped_share:.3f}"
    deadline = variant.deadline
    if deadline.deadline_ms is not None:
        values["deadline_ms"] = f"{deadline.deadline_ms:g}"
        values["deadline_misses"] = str(deadline.misses)
        values["deadline_miss_rate"] = f"{deadline.miss_rate:.4f}"
    series = {"end_to_end": latency}
    series |= {stage: window.recent() for stage, window in variant.stages.items() if window.count}
    for stage, found in series.items():
        for key in ("p50", "p95", "p99", "max"):
            values[f"{stage}_ms_{key}"] = f"{getattr(found, key):.3f}"
    return values


def _comparison_values(name: str, comparison: VariantComparison) -> dict[str, str]:
    sides = comparison.results.counters
    values = {
        "pairs": str(comparison.compared),
        "variant_missing": str(sides["baseline"].unpaired),
        "baseline_missing": str(sides["variant"].unpaired),
        "unpaired": str(comparison.results.unpaired),
        "late": str(comparison.results.late),
        "by_fallback": str(comparison.by_fallback),
        "same_model": str(comparison.same_model),
        "unattributed": str(comparison.unattributed),
        "speedup_infer_paired_p50": f"{comparison.infer_ratios.recent().p50:.3f}",
    }
    values |= {old: values[new] for old, new in _RENAMED_KEYS.items()}
    if comparison.pooled is not None:
        values |= {key: f"{value:.4f}" for key, value in _figures(comparison.pooled).items()}
    return {f"{name}.{key}": value for key, value in values.items()}


def _accuracy_values(accuracy: VariantComparison) -> dict[str, str]:
    values = {"pairs": str(accuracy.compared)}
    if accuracy.pooled is not None:
        values |= {key: f"{value:.4f}" for key, value in _figures(accuracy.pooled).items()}
    prefixes = ("ground_truth", *_RENAMED)
    return {f"{prefix}.{key}": value for prefix in prefixes for key, value in values.items()}


def _accuracy_line(accuracy: VariantComparison) -> str:
    if accuracy.pooled is None:
        return "no ground truth yet"
    key, value = next(iter(_figures(accuracy.pooled).items()))
    return f"against the ground truth {key} {value:.3f} over {accuracy.compared} frames"


def _figures(pooled: Agreement) -> dict[str, float]:
    if isinstance(pooled, DetectionAgreement):
        overall = pooled.overall
        return {"f1": overall.f1, "precision": overall.precision, "recall": overall.recall}
    if isinstance(pooled, SegmentationAgreement):
        return {"miou": pooled.miou, "differing_pixels_share": pooled.differing_pixels_share}
    if isinstance(pooled, ClassificationAgreement):
        return {"top1": pooled.score, "mean_score_distance": pooled.mean_score_distance}
    return {
        "ade_m": pooled.ade_m,
        "fde_m": pooled.fde_m,
        "max_lateral_offset_m": pooled.max_lateral_offset_m,
    }


def _window_values(name: str, windows: Mapping[str, ComparisonWindow]) -> dict[str, str]:
    keys = ("pairs", "unpaired", "compared_share", "score", "score_low", "score_high")
    found = {f"{name}.{key}_{window}": getattr(each, key) for window, each in windows.items() for key in keys}
    return {key: "nan" if value is None else f"{value:.4g}" for key, value in found.items()}


def _comparison_line(name: str, named: tuple[str, ComparisonWindow]) -> str:
    """Return the figures of the shortest window; without data that, and never those of before."""
    key, window = named
    if not window.pairs:
        return f"{name}: no pair in the last {key}"
    if window.score is None:
        return f"{name}: nothing to compare in {window.pairs} pairs of the last {key}"
    line = f"{name}: agreement {window.score:.3f} over {window.pairs} pairs of the last {key}"
    speedup = window.speedup_infer_paired_p50
    return line if speedup is None else f"{line}, inference {speedup:.2f}x"
