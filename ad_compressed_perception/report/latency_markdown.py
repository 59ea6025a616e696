# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The tail of the latency, runs of misses, budgets and who answered, for report.md."""

from __future__ import annotations

from collections.abc import Iterator

from ad_compressed_perception.report.frame_counters import variants_of
from ad_compressed_perception.report.kit.figures import NONE, milliseconds, number, share
from ad_compressed_perception.report.kit.table import records
from ad_compressed_perception.report.kit.text import bullets, plain
from ad_compressed_perception.report.schemas.comparison import Report
from ad_compressed_perception.report.schemas.variant import VariantReport


def run_latency(report: Report) -> Iterator[str]:
    """Yield sections about the whole run's latency."""
    variants = list(variants_of(report))
    if not any(one.processed for _, _, one in variants):
        return
    yield "## Latency of the whole run"
    yield records(
        [
            {
                "task": plain(task),
                "variant": plain(name),
                "end to end (ROS clock and monotonic)": plain(one.tail.sentence),
                "since arrival (monotonic)": plain(one.since_arrival_tail.sentence),
                "longest run of missed frames": _run(one),
                "longest time without a result": number(one.misses.longest_gap_s, 2, " s"),
                "clock": _clock(one),
                "distance during p99": _distance(one),
            }
            for task, name, one in variants
        ]
    )
    budgets = [
        {
            "task": plain(task),
            "variant": plain(name),
            "stage": plain(stage),
            "p50 / deadline": share(found.p50_share, 0),
            "p99 / deadline": share(found.p99_share, 0),
            "budget, ms": f"{found.budget_ms:.1f} ({plain(found.source)})",
            "over": "**over**" if found.is_over else "no",
        }
        for task, name, one in variants
        for stage, found in one.budget.items()
    ]
    if budgets:
        yield "## Budget of each stage"
        yield records(budgets, right_from=3)
    yield from _answers(report, variants)


def _answers(report: Report, variants: list[tuple[str, str, VariantReport]]) -> Iterator[str]:
    several = [
        {
            "task": plain(task),
            "variant": plain(name),
            "level": plain(each.level),
            "model": plain(f"{each.model}/{each.variant} on {each.backend}") + (" (now)" * each.is_current),
            "results": str(each.processed),
            "infer p50": milliseconds(each.infer_ms.p50),
            "end to end p99": milliseconds(each.end_to_end_ms.p99),
            "deadline misses": str(each.deadline_misses),
        }
        for task, name, one in variants
        for each in one.accounts
        if len(one.accounts) > 1
    ]
    if several:
        yield "## Who answered"
        yield (
            "These nodes changed their model or fell back. Each model and level has its own account; the "
            "figures of a variant are those of its present primary alone."
        )
        yield records(several, right_from=4)
    lines = []
    for task, one in report.tasks.items():
        for name, found in one.comparison.items():
            lines += [
                f"{task}/{name}: before, {each.variant} against {each.baseline}: {each.pairs} pairs"
                for each in found.earlier
            ]
            parts = (
                (found.by_fallback, "pairs in which a fallback answered"),
                (found.same_model, "pairs of the same model on both sides"),
                (found.unattributed, "results of which nobody knows who made them"),
            )
            lines += [f"{task}/{name}: {count} {what}, not compared" for count, what in parts if count]
            if found.is_of_one_model:
                lines.append(
                    f"{task}/{name}: both nodes run the same model; agreement and speed-up are of settings "
                    "or computers, not of a compression"
                )
    if lines:
        yield bullets(lines)


def _run(one: VariantReport) -> str:
    misses = one.misses
    if not misses.longest_run:
        return "none"
    ends = [
        NONE if stamp is None else f"{stamp / 1e9:.3f}"
        for stamp in (misses.first_stamp_ns, misses.last_stamp_ns)
    ]
    return f"{misses.longest_run} of {misses.frames} missed, {ends[0]} to {ends[1]} s"


def _clock(one: VariantReport) -> str:
    clocks = one.clocks
    unknown = clocks.unknown_ages + clocks.negative_ages
    steps = (
        f"set {clocks.steps} times, by up to {clocks.largest_step_ms or 0.0:.0f} ms"
        if clocks.steps
        else "never set"
    )
    return f"{steps}; {unknown} results of unknown age" if unknown else steps


def _distance(one: VariantReport) -> str:
    if one.distance_during_p99_m is not None:
        return f"{one.distance_during_p99_m:.2f} m at {one.speed_mps or 0.0:.1f} m/s"
    return "speed not known" if one.speed_mps is None else "no p99"
