# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Findings of a replay or a live comparison."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ad_compressed_perception.report.agreement_markdown import agreement_text, compares_nothing
from ad_compressed_perception.report.frame_counters import uncounted_frames, variants_of
from ad_compressed_perception.report.kit.figures import speedup_text
from ad_compressed_perception.report.kit.findings import ALARM_LEVELS, VERDICT_LEVELS, Finding, sort_findings
from ad_compressed_perception.report.schemas.comparison import Report
from ad_compressed_perception.report.schemas.pairs import Alarm, ComparisonReport
from ad_compressed_perception.report.schemas.variant import VariantReport


def report_findings(report: Report) -> list[Finding]:
    """Return the findings of a replay or a live comparison, the worst first."""
    found = [Finding("alarm", f"These figures cannot be relied on: {line}") for line in report.problems]
    found += [Finding("alarm", line) for line in report.missing]
    for task, name, variant in variants_of(report):
        found += _counted(f"{task}/{name}", variant)
    for task, one in report.tasks.items():
        found += [
            Finding(ALARM_LEVELS[alarm.level], alarm.sentence or _unnamed(alarm)) for alarm in one.alarms
        ]
        for name, comparison in one.comparison.items():
            finding = _compared(f"{task}/{name}", comparison, one.variants.get(name))
            is_doubted = bool(report.problems or report.missing or any(a.level != "OK" for a in one.alarms))
            found.append(replace(finding, level="note") if finding.level == "ok" and is_doubted else finding)
    if not any(one.comparison for one in report.tasks.values()):
        found.append(Finding("warning", "No compressed variant took part: nothing was compared."))
    return sort_findings(found)


def _compared(name: str, comparison: ComparisonReport, variant: VariantReport | None) -> Finding:
    """Return one comparison with its verdict; "ok" takes acceptance and compared frames."""
    verdict = variant.verdict if variant is not None else None
    status = verdict.status if verdict is not None else None
    level = VERDICT_LEVELS.get(status, "note")
    gate = f"{status} by its gate" if status else "no verdict of a gate"
    if verdict is not None and status != "accepted" and verdict.reasons:
        gate += f" ({'; '.join(verdict.reasons)})"
    if comparison.pairs == 0:
        level = "alarm" if level == "alarm" else "warning"
        return Finding(level, f"{name}: not compared on any frame; {gate}.")
    if level == "ok" and compares_nothing(comparison.agreement):
        level = "warning"
    return Finding(
        level,
        f"{name}: {agreement_text(comparison)} over {comparison.pairs} frames, inference speed-up "
        f"{speedup_text(comparison.speedup_infer_p50)}; {gate}.",
    )


def _counted(name: str, variant: VariantReport) -> Iterator[Finding]:
    unexplained = uncounted_frames(variant)
    if unexplained:
        yield Finding("alarm", f"{name}: no counter accounts for {unexplained} frames.")
    if variant.received and not variant.processed:
        yield Finding("alarm", f"{name}: none of {variant.received} frames was processed.")
    elif variant.failed:
        yield Finding("warning", f"{name}: {variant.failed} of {variant.received} frames failed.")
    dropped = variant.dropped_busy + variant.dropped_stale
    if dropped:
        yield Finding("warning", f"{name}: {dropped} of {variant.received} frames were dropped.")
    if variant.deadline_ms and variant.deadline_misses:
        yield Finding(
            "warning",
            f"{name}: {variant.deadline_misses} of {variant.processed} frames missed the deadline of "
            f"{variant.deadline_ms:g} ms.",
        )


def _unnamed(alarm: Alarm) -> str:
    return f"{alarm.task}/{alarm.variant}: {alarm.figure} is {alarm.level}."
