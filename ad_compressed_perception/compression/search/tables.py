# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A search as tables and as JSON: the front, the winner, and why each other candidate lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.compression.search.choice import round_to_3_digits
from ad_compressed_perception.compression.search.search import SearchResult
from ad_compressed_perception.compression.search.trial import Trial

if TYPE_CHECKING:
    from rich.console import RenderableType


def tables(result: SearchResult) -> list[RenderableType]:
    """Return the table of what was measured, why each other candidate lost, and the closing lines."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    choice = result.choice
    title = f"{result.manifest.name}: {len(result.trials)} candidates, budget {result.budget}"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("", "candidate", "drop (95 %)", "frames", "speed", "p99 ms", "size"):
        table.add_column(heading, no_wrap=heading != "candidate", overflow="fold")
    trials = ordered(result.trials, choice.front)
    for trial in trials:
        mark = "*" if trial is choice.winner else "+" if trial.name in choice.front else ""
        if trial.is_measured:
            table.add_row(mark, trial.name, *cells(trial))
    reasons: dict[str, list[str]] = {}
    for trial in trials:
        if trial is not choice.winner:
            reasons.setdefault(trial.reason, []).append(trial.name)
    lines = [f"  {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    why = ["why the others lost:", *lines] if lines else []
    return [table, *(escape(line) for line in [*why, *closing_lines(result)])]


def ordered(trials: Sequence[Trial], front: Sequence[str]) -> list[Trial]:
    """Return the front first, then what was measured, the fastest first, then the rest."""

    def place(trial: Trial) -> tuple[int, float]:
        if not trial.is_measured:
            return (2 if trial.state == "failed" else 3, 0.0)
        assert trial.speed is not None
        return (0 if trial.name in front else 1, -trial.speed.ratio)

    return sorted(trials, key=place)


def cells(trial: Trial) -> list[str]:
    """Return drop, frames, speed, p99 and size of a measured candidate for a table."""
    drop, speed = trial.drop, trial.speed
    assert drop is not None and speed is not None
    return [
        f"{round_to_3_digits(drop.drop)} ({round_to_3_digits(drop.low)} to {round_to_3_digits(drop.high)})",
        str(drop.frames),
        f"{speed.ratio:.2f}x",
        f"{speed.p99_ms:.2f}",
        f"{trial.size:.2f}",
    ]


def closing_lines(result: SearchResult) -> list[str]:
    """Return what was left out, the winner or the nearest miss, and the paths of the results."""
    choice = result.choice
    lines = [
        "* winner, + on the front; speed and p99 are from frame to result, interleaved with the baseline"
    ]
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


def as_dict(result: SearchResult) -> dict[str, Any]:
    """Return a search as plain values for JSON: every candidate, the front, the winner."""
    choice = result.choice
    return {
        "schema": "adcp-search/1",
        "model": result.manifest.name,
        "task": result.manifest.task,
        "budget": {"text": str(result.budget), **asdict(result.budget)},
        "source": result.frames.source.describe,
        "source_frames": result.frames.source.account().model_dump(),
        "frames": {
            "calibration": result.frames.calibration,
            "search": len(result.frames.search),
            "verification": result.frames.verification,
        },
        "facts": result.facts.as_dict(),
        "baseline": result.manifest.baseline,
        "front": list(choice.front),
        "winner": choice.winner.name if choice.winner else None,
        "shown_on_search_frames": choice.is_shown,
        "nearest_miss": {"name": choice.nearest.name, "misses": choice.missed} if choice.nearest else None,
        "candidates": [trial.as_dict() for trial in result.trials],
        "left_out": result.left_out,
        "recipe": str(result.recipe) if result.recipe else None,
        "seconds": round(result.seconds, 1),
    }
