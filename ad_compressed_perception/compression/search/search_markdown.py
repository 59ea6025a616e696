# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A search for people, from search.json alone: verdict, front, and why each other candidate lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Any

from ad_compressed_perception.report.kit.figures import interval_text, milliseconds, number, speedup_text
from ad_compressed_perception.report.kit.findings import VERDICT_LEVELS, Finding, sort_findings
from ad_compressed_perception.report.kit.rendered import Rendered
from ad_compressed_perception.report.kit.table import table
from ad_compressed_perception.report.kit.text import bullets, code, image, plain
from ad_compressed_perception.report.schemas.search import SearchCandidate, SearchReport

PLOT = "front.png"
HEAD = ("", "candidate", "drop (95 % interval)", "frames", "speed-up", "p99, ms", "size")


def render_document(text: bytes, where: str, folder: Path) -> Rendered:
    """Render search.json; its plot stays as it is.

    Raises:
        DataError: it is no such document; one line.
    """
    return render_search(SearchReport.parse(text, where))


def render_search(report: SearchReport) -> Rendered:
    """Return a search's Markdown and findings."""
    sections = (_head(report), _candidates(report), _losers(report), _facts(report))
    markdown = "\n\n".join(block for section in sections for block in section) + "\n"
    return Rendered(markdown, sort_findings(list(_findings(report))))


def candidate_rows(report: SearchReport, shown: Callable[[str], str] = str) -> list[tuple[str, ...]]:
    """Return a row of HEAD for each measured candidate: the front first, then the others, fastest first.

    Args:
        report: of the search.
        shown: makes a name fit for where the rows are shown.
    """
    measured = [(one, *one.measured) for one in report.candidates if one.measured is not None]
    measured.sort(key=lambda row: (row[0].name not in report.front, -row[1].ratio))
    return [
        (
            _place(one, report),
            shown(one.name),
            interval_text(drop.interval),
            str(drop.frames),
            speedup_text(speed.ratio),
            milliseconds(speed.p99_ms),
            number(one.size_ratio, 2),
        )
        for one, speed, drop in measured
    ]


def why_lost(report: SearchReport) -> dict[str, str]:
    """Return each reason and the candidates that lost for it."""
    reasons: dict[str, list[str]] = {}
    for one in report.candidates:
        if one.name != report.winner:
            reasons.setdefault(one.reason, []).append(one.name)
    return {reason: ", ".join(names) for reason, names in reasons.items()}


def _findings(report: SearchReport) -> Iterator[Finding]:
    found = report.verdict
    if report.winner is None:
        yield Finding("alarm", "rejected: no candidate is within the budget; nothing was stored.")
        if report.nearest_miss is not None:
            yield Finding("note", f"Nearest miss: {report.nearest_miss.name}: {report.nearest_miss.misses}.")
    elif found is None:
        yield Finding("warning", f"{report.winner} won the search and was not verified.")
    else:
        verdict, text = found
        level = VERDICT_LEVELS.get(verdict.status, "warning")
        # None of the frames that the verdict stands on chose the winner.
        yield Finding(level, f"{report.winner}: {text} on frames that the search did not use.")
        if verdict.status == "inconclusive":
            for reason in verdict.reasons:
                yield Finding("warning", reason)
    for problem in report.source_frames.sentences():
        yield Finding("warning", problem)
    if all(one.drop is None for one in report.candidates):
        yield Finding("alarm", "no candidate was measured.")


def _head(report: SearchReport) -> Iterator[str]:
    frames = report.frames
    yield f"# {plain(report.model)}: search for a recipe"
    yield (
        f"{len(report.candidates)} candidates, budget {plain(report.budget.text)}, "
        f"{report.seconds:.0f} s, on {plain(report.source)}: "
        f"{number(frames.calibration, 0)} frames to calibrate, {number(frames.search, 0)} to compare, "
        f"{number(frames.verification, 0)} to verify the winner."
    )
    if report.recipe is not None:
        yield f"The winner's recipe: {code(PurePath(report.recipe).name)}."
    yield image("Drop against time of every candidate", PLOT)


def _candidates(report: SearchReport) -> Iterator[str]:
    yield "## Candidates measured"
    yield table(HEAD, candidate_rows(report, plain), right_from=2)
    yield (
        "Speed-up and p99 are from frame to result, interleaved with the baseline; the front has no "
        "candidate that another one equals or beats in everything. The drops chose the winner: they look "
        "better than on frames that chose nothing."
    )


def _place(candidate: SearchCandidate, report: SearchReport) -> str:
    if candidate.name == report.winner:
        return "winner"
    return "front" if candidate.name in report.front else ""


def _losers(report: SearchReport) -> Iterator[str]:
    reasons = why_lost(report)
    if reasons:
        yield "## Why the others lost"
        yield "\n".join(f"- {plain(names)}: {plain(why)}" for why, names in reasons.items())
    if report.left_out:
        yield "## Not tried"
        yield "\n".join(f"- {plain(what)}: {plain(why)}" for what, why in report.left_out.items())


def _facts(report: SearchReport) -> Iterator[str]:
    facts = {key: value for key, value in report.facts.items() if key != "left_out" and value not in ({}, [])}
    if facts:
        yield "## Measured on"
        yield bullets(f"{key}: {_words(value)}" for key, value in facts.items())


def _words(value: Any) -> str:
    """Return a fact in words, without the brackets of lists and mappings."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, (list, tuple)):
        return (" " if all(isinstance(item, str) for item in value) else ", ").join(map(_words, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items())
    return str(value)
