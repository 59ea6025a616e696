# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor's core: takes reports and results of all nodes and compares the variants of every task.

Independent of ROS. No clock is read: time is an argument, in monotonic seconds that never decrease.
Its methods may be called from any thread.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from threading import RLock

from ad_compressed_perception.core.results import Result
from ad_compressed_perception.core.timing import NodeReport
from ad_compressed_perception.metrics.agreement import Agreement
from ad_compressed_perception.monitor.accounts import AnsweredBy
from ad_compressed_perception.monitor.attribution import AttributedResult
from ad_compressed_perception.monitor.gate import ModelInfo
from ad_compressed_perception.monitor.heads import doubts, new_heads, unpublished
from ad_compressed_perception.monitor.task_monitor import TaskComparison as TaskComparison
from ad_compressed_perception.monitor.task_monitor import TaskMonitor as TaskMonitor
from ad_compressed_perception.monitor.variant_comparison import VariantComparison
from ad_compressed_perception.monitor.variant_monitor import VariantMonitor
from ad_compressed_perception.monitor.windows import WINDOWS_S
from ad_compressed_perception.report.schemas.comparison import TaskReport

OnPair = Callable[[str, str, int, Result, Result, Agreement], None]
"""Called with task, variant's name, stamp_ns, both results (baseline's first), agreement."""

OnResult = Callable[[str, str, int, Result], None]
"""Called with task, name of the node's variant, stamp_ns, result."""

_Pair = tuple[str, int, Result, Result, Agreement]
"""Variant's name, stamp_ns, both results, agreement."""
_REMEMBERED_STAMPS = 4096
_REMEMBERED_CHANGES = 8


class ComparisonMonitor:
    """Statistics and agreement of baselines and other variants, per task."""

    def __init__(
        self,
        tasks: Mapping[str, TaskComparison],
        *,
        now_s: float,
        pair_timeout_s: float = 1.0,
        stale_after_s: float = 2.0,
        on_pair: OnPair | None = None,
        windows_s: Sequence[float] = WINDOWS_S,
    ) -> None:
        """Start monitoring.

        Args:
            tasks: task name to its nodes.
            now_s: monotonic seconds.
            pair_timeout_s: how long a result waits for its partner.
            stale_after_s: silence after which a node is missing.
            on_pair: called for every compared pair, in the thread that completed it.
            windows_s: how far back the rolling windows look, the shortest first.
        """
        self.windows_s = tuple(windows_s)
        self._pair_timeout_s = pair_timeout_s
        self.tasks: dict[str, TaskMonitor] = {
            task: TaskMonitor.begin(
                spec,
                {
                    name: VariantMonitor(
                        node,
                        deadline_ms=spec.deadline_ms,
                        stale_after_s=stale_after_s,
                        now_s=now_s,
                        windows_s=windows_s,
                        budgets_ms=spec.budgets_ms,
                    )
                    for name, node in spec.nodes.items()
                },
                pair_timeout_s,
                self.windows_s,
            )
            for task, spec in tasks.items()
        }
        self.lock = RLock()
        self.frames = 0
        # Models that a node changed to, in sentences; what the rolling windows had is of another one.
        self.changes: deque[str] = deque(maxlen=_REMEMBERED_CHANGES)
        self._on_pair = on_pair
        self.on_result: OnResult | None = None
        self._stamps: OrderedDict[int, None] = OrderedDict()
        self._first_s = math.nan
        self._last_s = math.nan

    def add_report(self, task: str, name: str, report: NodeReport, now_s: float) -> None:
        """Add a node's report of one completed frame."""
        with self.lock:
            monitor, timing = self.tasks[task], report.timing
            variant = monitor.variants[name]
            self._note_model(task, name, AnsweredBy.of(report))
            variant.add(report, now_s)
            self._note(timing.stamp_ns, now_s)
            done: list[tuple[str, list[_Pair]]] = []
            if timing.outcome == "processed":
                done.append((task, self._add_processed(task, name, report, now_s)))
                done += [(head, self._add_processed(head, name, report, now_s)) for head in monitor.heads]
        for whose, pairs in done:
            self._pass_on(whose, pairs)

    def _add_processed(self, task: str, name: str, report: NodeReport, now_s: float) -> list[_Pair]:
        """Take the time and the origin of a result; return the pairs that this completes."""
        monitor, timing, by = self.tasks[task], report.timing, AnsweredBy.of(report)
        infer_ms = timing.stages_ms.get("infer", math.nan)
        if math.isfinite(infer_ms):
            for _, side, comparison in monitor.of(name):
                comparison.add_infer_ms(side, timing.stamp_ns, infer_ms, now_s, by)
        if not monitor.needs_results:
            return []
        return self._compare(task, name, monitor.attributions[name].add_timing(timing.stamp_ns, by, now_s))

    def _note_model(self, task: str, name: str, by: AnsweredBy) -> None:
        """Begin anew where a node runs another model than before; totals of that one stay in the report."""
        monitor = self.tasks[task]
        before = monitor.variants[name].accounts.current
        if not by.is_primary or by == before:
            return
        if before is not None:
            self.changes.append(
                f"{task}/{name} ran {before} before {by}: figures of the variant are those of the latter; "
                "accounts and earlier have both."
            )
            monitor.variants[name].recent.clear()
        for each in (monitor, *monitor.heads.values()):
            each.set_model(name, by)

    def add_result(
        self, task: str, name: str, stamp_ns: int, result: Result, now_s: float
    ) -> list[Agreement]:
        """Add a node's result; return the agreements of the pairs that it completes now.

        A result is compared when the timing of its frame has come, which says who made it.
        """
        if self.on_result is not None:
            self.on_result(task, name, stamp_ns, result)
        with self.lock:
            monitor = self.tasks[task]
            monitor.variants[name].liveness.seen(now_s, has_result=True)
            attributed = monitor.attributions[name].add_result(stamp_ns, result, now_s)
            done = self._compare(task, name, attributed)
        self._pass_on(task, done)
        return [pair[-1] for pair in done]

    def _compare(self, task: str, name: str, attributed: list[AttributedResult]) -> list[_Pair]:
        """Compare results of which is known who made them; return the pairs that they complete."""
        monitor = self.tasks[task]
        done: list[_Pair] = []
        for one in attributed:
            for variant, side, comparison in monitor.of(name):
                pair = comparison.add_result(side, one.stamp_ns, one.result, one.came_s, one.by)
                if pair is not None:
                    done.append((variant, one.stamp_ns, *pair))
            if name in monitor.accuracies:
                monitor.accuracies[name].add_result("variant", one.stamp_ns, one.result, one.came_s, one.by)
        return done

    def _pass_on(self, task: str, done: list[_Pair]) -> None:
        if self._on_pair is not None:
            for pair in done:
                self._on_pair(task, *pair)

    def _release(self, now_s: float) -> None:
        """Compare results that waited in vain for a timing, where their node has sent none at all."""
        for task, monitor in self.tasks.items():
            for name, attribution in monitor.attributions.items():
                with self.lock:
                    done = self._compare(task, name, attribution.expire(now_s))
                    for _, _, comparison in monitor.of(name):
                        comparison.set_given_up(name, attribution.given_up)
                self._pass_on(task, done)

    def set_speed(self, speed_mps: float | None) -> None:
        """Take the vehicle's present speed, m/s; None: it is not known."""
        with self.lock:
            for monitor in self.tasks.values():
                for variant in monitor.variants.values():
                    variant.speed_mps = speed_mps

    def add_ground_truth(self, task: str, stamp_ns: int, ground_truth: Result, now_s: float) -> None:
        """Add the ground truth of a frame."""
        with self.lock:
            for comparison in self.tasks[task].accuracies.values():
                comparison.add_result("baseline", stamp_ns, ground_truth, now_s)

    def add_model_info(self, task: str, name: str, info: ModelInfo) -> None:
        """Take what a node says of its model: its variant is measured as its own gate measured it."""
        with self.lock:
            monitor = self.tasks[task]
            monitor.variants[name].model_info = info
            if monitor.spec.has_heads:
                new = new_heads(task, monitor, self._pair_timeout_s, self.windows_s)
                monitor.heads |= new
                self.tasks |= new
            for each in (monitor, *monitor.heads.values()):
                each.measure_by(name, info)

    def not_compared(self) -> list[str]:
        """Return a sentence for each head or model with heads of which no agreement is known."""
        with self.lock:
            return [
                f"{task}: {doubt}"
                for task, monitor in self.tasks.items()
                if monitor.spec.has_heads
                for doubt in doubts(monitor)
            ]

    def unpublished_heads(self) -> list[str]:
        """Return a sentence for each head of which nothing is published."""
        with self.lock:
            return [
                f"{task}: head {head} is of task raw: nothing of it is published, so it is not compared."
                for task, monitor in self.tasks.items()
                for head in (unpublished(monitor) if monitor.spec.has_heads else ())
            ]

    def expire(self, now_s: float) -> None:
        """Give up results that have waited longer than the timeout; to be called periodically."""
        self._release(now_s)
        with self.lock:
            for comparison in self._comparisons():
                comparison.expire(now_s)

    def close(self, now_s: float) -> None:
        """Give up everything that waits: no more results will come."""
        self._release(math.inf)
        with self.lock:
            for comparison in self._comparisons():
                comparison.close(now_s)

    def summary(self, now_s: float | None = None) -> dict[str, TaskReport]:
        """Return every task's part of the report; with ``now_s`` (live) its rolling windows, too.

        Results of a node that has sent no timing at all are compared as those of an unknown model.
        """
        self._release(-math.inf)
        with self.lock:
            variants = {
                task: {name: each.report(now_s) for name, each in monitor.variants.items()}
                for task, monitor in self.tasks.items()
                if not monitor.head
            }
            variants |= {head: variants[task] for task in variants for head in self.tasks[task].heads}
            return {
                task: TaskReport(
                    baseline=monitor.spec.baseline,
                    variants=variants[task],
                    comparison={
                        name: comparison.report(
                            monitor.variants[str(monitor.spec.baseline)], monitor.variants[name], now_s
                        )
                        for name, comparison in monitor.comparisons.items()
                    },
                    accuracy={name: each.accuracy() for name, each in monitor.accuracies.items()},
                )
                for task, monitor in self.tasks.items()
            }

    def missing(self, now_s: float) -> list[str]:
        """Return one sentence for each silent node."""
        with self.lock:
            return [
                f"{task}: {fault}"
                for task, monitor in self.tasks.items()
                if not monitor.head
                for variant in monitor.variants.values()
                if (fault := variant.liveness.fault(now_s))
            ]

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last report; NaN before one."""
        return self._last_s - self._first_s

    @property
    def sampled(self) -> bool:
        """Whether some whole-run percentiles come from a sample of the frames."""
        with self.lock:
            return any(
                variant.sampled for monitor in self.tasks.values() for variant in monitor.variants.values()
            )

    def _comparisons(self) -> list[VariantComparison]:
        return [
            comparison
            for task in self.tasks.values()
            for comparison in (*task.comparisons.values(), *task.accuracies.values())
        ]

    def _note(self, stamp_ns: int, now_s: float) -> None:
        """Count distinct stamps (as far back as is remembered) and the time they span."""
        if math.isnan(self._first_s):
            self._first_s = now_s
        self._last_s = now_s
        if stamp_ns in self._stamps:
            self._stamps.move_to_end(stamp_ns)
            return
        self.frames += 1
        self._stamps[stamp_ns] = None
        if len(self._stamps) > _REMEMBERED_STAMPS:
            self._stamps.popitem(last=False)
