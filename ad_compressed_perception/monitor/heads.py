# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Models with several heads: each published head is compared by itself, as a task of its own.

Which heads there are is known from what the nodes state about their models, not before. A head that is not
compared is always named; it never counts as agreeing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ad_compressed_perception.core.task_names import RAW
from ad_compressed_perception.monitor.gate import ModelInfo
from ad_compressed_perception.monitor.task_monitor import TaskComparison, TaskMonitor
from ad_compressed_perception.monitor.variant_monitor import VariantMonitor


def new_heads(
    task: str, monitor: TaskMonitor, pair_timeout_s: float, windows_s: Sequence[float]
) -> dict[str, TaskMonitor]:
    """Return the heads that the reference node has named since, as TASK.HEAD; all nodes take part in each."""
    found: dict[str, TaskMonitor] = {}
    if not (monitor.spec.variants or monitor.spec.has_ground_truth):
        return found
    info = _reference(monitor.spec, monitor.variants).model_info
    for head, each in (info.heads if info else {}).items():
        key = f"{task}.{head}"
        if key in monitor.heads or each.task == RAW:
            continue
        spec = replace(monitor.spec, has_heads=False)
        one = found[key] = TaskMonitor.begin(spec, monitor.variants, pair_timeout_s, windows_s)
        one.head, one.kind = head, each.task
        for name, variant in monitor.variants.items():
            # Their timings came before: a result without one is of unknown origin.
            one.attributions[name].has_timings = variant.last is not None
            if variant.accounts.current is not None:
                one.set_model(name, variant.accounts.current)
            if variant.model_info is not None:
                one.measure_by(name, variant.model_info)
    return found


def doubts(monitor: TaskMonitor) -> Iterator[str]:
    """Yield a sentence for each head, or node, without any agreement though it was to be compared."""
    reference = _reference(monitor.spec, monitor.variants)
    if not (monitor.spec.variants or monitor.spec.has_ground_truth):
        return
    if not monitor.heads:
        yield f"no head is compared: {reference.node} has not stated what heads its model has"
        return
    kinds = _published(reference.model_info)
    for each in monitor.variants.values():
        if each is reference or each.model_info is None:
            continue
        own = _published(each.model_info)
        for head in dict.fromkeys((*kinds, *own)):
            if own.get(head) != kinds.get(head):
                yield (
                    f"head {head} is not compared: {reference.node} has {_kind(kinds, head)}, "
                    f"{each.node} has {_kind(own, head)}"
                )


def unpublished(monitor: TaskMonitor) -> list[str]:
    """Return the heads of task raw, of which no node publishes anything."""
    found = {
        head: None
        for variant in monitor.variants.values()
        if variant.model_info is not None
        for head, each in variant.model_info.heads.items()
        if each.task == RAW
    }
    return list(found)


def _reference(spec: TaskComparison, variants: Mapping[str, VariantMonitor]) -> VariantMonitor:
    """Return the node whose heads are compared: the baseline, or the only kind of node there is."""
    return variants[spec.baseline or next(iter(spec.nodes))]


def _published(info: ModelInfo | None) -> dict[str, str]:
    return {head: each.task for head, each in info.heads.items() if each.task != RAW} if info else {}


def _kind(kinds: Mapping[str, str], head: str) -> str:
    return f"it as {kinds[head]}" if head in kinds else "none"
