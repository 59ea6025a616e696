# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A search as its document, and as tables for the terminal."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ad_compressed_perception.analysis.terminal_table import new_table
from ad_compressed_perception.compression.search.search import SearchResult
from ad_compressed_perception.compression.search.search_markdown import HEAD, candidate_rows, why_lost
from ad_compressed_perception.compression.search.trial import Trial
from ad_compressed_perception.report.kit.document import copied
from ad_compressed_perception.report.schemas.search import (
    BudgetReport,
    NearestMiss,
    SearchCandidate,
    SearchReport,
    SplitReport,
)

if TYPE_CHECKING:
    from rich.console import RenderableType


def search_report(result: SearchResult, plot: str | None = None) -> SearchReport:
    """Return the document of a search: every candidate, the front, the winner.

    Args:
        result: of the search.
        plot: file of the plot of the front, where it was drawn.
    """
    choice, compressed = result.choice, result.compressed
    return SearchReport(
        model=result.manifest.name,
        task=result.manifest.task,
        budget=copied(BudgetReport, result.budget, text=str(result.budget)),
        source=result.frames.source.describe,
        source_frames=result.frames.source.account(),
        frames=SplitReport(
            calibration=result.frames.calibration,
            search=len(result.frames.search),
            verification=result.frames.verification,
        ),
        facts=asdict(result.facts),
        baseline=result.manifest.baseline,
        front=list(choice.front),
        winner=choice.winner.name if choice.winner else None,
        shown_on_search_frames=choice.is_shown,
        nearest_miss=NearestMiss(name=choice.nearest.name, misses=choice.missed) if choice.nearest else None,
        candidates=[_candidate(trial) for trial in result.trials],
        left_out=result.left_out,
        recipe=str(result.recipe) if result.recipe else None,
        seconds=round(result.seconds, 1),
        compressed=None if compressed is None else compressed.document,
        plot=plot,
    )


def _candidate(trial: Trial) -> SearchCandidate:
    return copied(
        SearchCandidate,
        trial,
        backend=trial.candidate.backend,
        options=dict(trial.candidate.options),
        passes=trial.candidate.passes,
        store=trial.candidate.store,
        size_ratio=trial.size if trial.bytes else None,
        bytes=trial.bytes or None,
        build_seconds=round(trial.build_seconds, 2),
    )


def tables(result: SearchResult) -> list[RenderableType]:
    """Return the table of what was measured, why each other candidate lost, and the closing lines."""
    from rich.markup import escape

    report = search_report(result)
    title = f"{report.model}: {len(report.candidates)} candidates, budget {report.budget.text}"
    table = new_table(title, *HEAD[:2], *(f">{name}" for name in HEAD[2:]), rows=candidate_rows(report))
    lines = [f"  {names}: {reason}" for reason, names in why_lost(report).items()]
    why = ["why the others lost:", *lines] if lines else []
    return [table, *(escape(line) for line in [*why, *closing_lines(result)])]


def closing_lines(result: SearchResult) -> list[str]:
    """Return what was left out, the winner or the nearest miss, and the paths of the results."""
    choice = result.choice
    lines = ["Speed-up and p99 are from frame to result, interleaved with the baseline."]
    lines += [f"left out: {what}: {why}" for what, why in result.left_out.items()]
    lines += [f"frames: {sentence}" for sentence in result.frames.source.account().sentences()]
    lines.append(f"front: {', '.join(choice.front)}")
    if choice.winner is None:
        lines.append("verdict: rejected")
        lines.append("  - no candidate is within the budget; nothing was stored")
        if choice.nearest is not None:
            lines.append(f"  - nearest miss: {choice.nearest.name}: {choice.missed}")
        elif not any(trial.is_measured for trial in result.trials):
            lines.append(f"  - {choice.missed}")
    else:
        lines.append(f"winner: {choice.winner.name}, {choice.winner.reason}")
        lines.append(f"its recipe: {result.recipe}")
        others = [name for name in choice.front if name not in (choice.winner.name, result.manifest.baseline)]
        if others and result.compressed is not None and result.compressed.verdict.status != "accepted":
            lines.append(f"not accepted on the verification frames; others on the front: {', '.join(others)}")
            lines.append(
                f"  each is made by: adcp compress ... --recipe {result.folder / 'recipes'}/NAME.yaml"
            )
    lines.append(f"figures, plot and all recipes: {result.folder} ({result.seconds:.0f} s)")
    return lines
