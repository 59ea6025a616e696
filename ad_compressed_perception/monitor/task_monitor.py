# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The nodes of a task, and the state of their comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ad_compressed_perception.monitor.accounts import AnsweredBy
from ad_compressed_perception.monitor.attribution import Attribution
from ad_compressed_perception.monitor.gate import Gate, ModelInfo
from ad_compressed_perception.monitor.limits import WatchLimits
from ad_compressed_perception.monitor.pairing import Side
from ad_compressed_perception.monitor.variant_comparison import TIMINGS_LATER_S, VariantComparison
from ad_compressed_perception.monitor.variant_monitor import VariantMonitor


@dataclass(frozen=True)
class TaskComparison:
    """The nodes of one task.

    Attributes:
        nodes: variant name to fully qualified node name.
        baseline: which of the names is the reference; None compares nothing.
        deadline_ms: end-to-end deadline of every node of the task; None for none.
        limits: what each of the nodes has to keep.
        budgets_ms: stage to its budget, where it is not the default share of the deadline.
        has_ground_truth: every result is also compared with the ground truth of its frame.
        has_heads: results are those of several heads, and each head is compared by itself.
    """

    nodes: Mapping[str, str]
    baseline: str | None = None
    deadline_ms: float | None = None
    has_ground_truth: bool = False
    limits: WatchLimits = field(default_factory=WatchLimits)
    budgets_ms: Mapping[str, float] = field(default_factory=dict)
    has_heads: bool = False

    def __post_init__(self) -> None:
        """Refuse a baseline that is not among the nodes."""
        if self.baseline is not None and self.baseline not in self.nodes:
            raise ValueError(f"baseline {self.baseline!r} is not among {list(self.nodes)}")

    @property
    def variants(self) -> list[str]:
        """Names that are compared with the baseline."""
        return [name for name in self.nodes if self.baseline is not None and name != self.baseline]


@dataclass
class TaskMonitor:
    """State of one task: its variants and their comparisons.

    A head of a task is a task of its own with the same nodes: it has the comparisons, and the task itself the
    times.

    Attributes:
        heads: of a task with several, the name of each among all tasks, and the head.
        head: the name of a head; empty for a task.
        kind: the task of a head.
    """

    spec: TaskComparison
    variants: dict[str, VariantMonitor]
    attributions: dict[str, Attribution]
    comparisons: dict[str, VariantComparison] = field(default_factory=dict)
    accuracies: dict[str, VariantComparison] = field(default_factory=dict)
    heads: dict[str, TaskMonitor] = field(default_factory=dict)
    head: str = ""
    kind: str = ""

    @classmethod
    def begin(
        cls,
        spec: TaskComparison,
        variants: dict[str, VariantMonitor],
        pair_timeout_s: float,
        windows_s: Sequence[float],
    ) -> TaskMonitor:
        """Return the state of a task at its start; see ``ComparisonMonitor``."""
        compared = () if spec.has_heads else spec.variants
        with_ground_truth = spec.nodes if spec.has_ground_truth and not spec.has_heads else ()
        return cls(
            spec,
            variants,
            {name: Attribution(pair_timeout_s + TIMINGS_LATER_S) for name in spec.nodes},
            {name: VariantComparison(pair_timeout_s, windows_s) for name in compared},
            {name: VariantComparison(pair_timeout_s, windows_s) for name in with_ground_truth},
        )

    @property
    def needs_results(self) -> bool:
        """Whether results are compared with anything; otherwise timings are enough."""
        return bool(self.comparisons or self.accuracies)

    def of(self, name: str) -> list[tuple[str, Side, VariantComparison]]:
        """Comparisons that a variant takes part in, and on which side."""
        if name == self.spec.baseline:
            return [(variant, "baseline", comparison) for variant, comparison in self.comparisons.items()]
        comparison = self.comparisons.get(name)
        return [] if comparison is None else [(name, "variant", comparison)]

    def set_model(self, name: str, by: AnsweredBy) -> None:
        """Take which model a node runs now."""
        for _, side, comparison in self.of(name):
            comparison.set_model(side, by)
        if name in self.accuracies:
            self.accuracies[name].set_model("variant", by)

    def measure_by(self, name: str, info: ModelInfo) -> None:
        """Measure a variant as its own gate measured it."""
        if name in self.comparisons:
            terms = info.of_head(self.head) if self.head else info
            self.comparisons[name].recent.measure_by(terms.gate or Gate())
