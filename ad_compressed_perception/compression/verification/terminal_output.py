# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The result of a compression as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ad_compressed_perception.analysis.terminal_table import new_table
from ad_compressed_perception.compression.drift_recording import PREFIX
from ad_compressed_perception.compression.verification.outcome import CompressionResult
from ad_compressed_perception.report.compression_markdown import figure_rows, notes_text
from ad_compressed_perception.report.kit.figures import interval_text, number
from ad_compressed_perception.report.schemas.compression import CompressionReport

if TYPE_CHECKING:
    from rich.console import RenderableType

_SHOWN_OUTPUTS = 8


def tables(result: CompressionResult) -> list[RenderableType]:
    """Return the tables for the terminal: the steps, the figures, the verdict."""
    from rich.markup import escape

    report = result.report
    steps = new_table(
        f"{report.model}: {result.name}",
        *("pass", "seconds", "operators", "notes"),
        rows=[
            (
                one.name,
                f"{one.seconds:.1f}",
                f"{one.nodes_before} -> {one.nodes_after}",
                notes_text(one.notes),
            )
            for one in report.passes
        ],
    )
    rows = [
        *figure_rows(report, shown=str),
        *agreement_rows(report),
        *_output_rows(report),
        *_slice_rows(report),
    ]
    figures = new_table(None, "figure", "baseline", "variant", "ratio or interval", rows=rows)
    return [steps, figures, *(escape(line) for line in _closing_lines(result))]


def agreement_rows(report: CompressionReport) -> list[tuple[str, str, str, str]]:
    """Return the agreement that the verdict is on: of the model, or of each of its heads."""
    if report.heads is not None:
        return list(_head_rows(report))
    one = report.agreement
    drop = f"drop {interval_text(one.drop)}"
    return [
        (f"agreement (gated): {one.measure}", "1", number(one.score), drop),
        (f"not gated: {one.strict_measure}", "1", number(one.strict_score), ""),
    ]


def _head_rows(report: CompressionReport) -> Iterator[tuple[str, str, str, str]]:
    """Yield the agreement of each head of a model with several, and its accuracy on labeled data."""
    for name, one in (report.heads or {}).items():
        drop = f"drop {interval_text(one.agreement.drop)}"
        yield (f"head {name} (gated): {one.agreement.measure}", "1", number(one.agreement.score), drop)
        if one.accuracy is not None:
            figure = one.accuracy.figures[one.accuracy.metric]
            baseline, variant = number(figure.baseline.value, 4), number(figure.variant.value, 4)
            worse = f"worse by {interval_text(figure.drop, 2)} {figure.unit}"
            yield (f"head {name}, labeled: {one.accuracy.metric}", baseline, variant, worse)


def _output_rows(report: CompressionReport) -> Iterator[tuple[str, str, str, str]]:
    """Yield each output of a model whose outputs nothing decodes."""
    for one in report.agreement.outputs[:_SHOWN_OUTPUTS]:
        name = f"output {one.name}"
        if one.is_constant:
            yield (name, "", "constant", "")
        elif one.compared_as == "numbers":
            errors = f"cosine {number(one.cosine, 4)}, largest error {number(one.largest_error, 4)}"
            sqnr = f"SQNR {interval_text(one.sqnr_of_worst_db, 1)} dB"
            yield (f"output {one.worst_part or one.name}", "", sqnr, errors)
        elif one.equal_share is None:
            yield (name, "", one.compared_as, f"drop {interval_text(one.drop)}")
        else:
            yield (name, "", one.compared_as, f"equal {one.equal_share:.4f}")


def _slice_rows(report: CompressionReport) -> Iterator[tuple[str, str, str, str]]:
    """Yield the worst slice, and accuracy on labeled data with its worst slice."""
    worst = next((one for one in report.agreement.slices if one.name == report.agreement.worst_slice), None)
    if worst is not None and worst.score is not None:
        label = f"worst slice: {worst.title} ({worst.frames} frames)"
        yield (label, "1", number(worst.score), f"drop {interval_text(worst.drop)}")
    accuracy = report.accuracy
    if accuracy is None:
        return
    parts = [("", accuracy.figures)]
    parts += [(f", {one.title}", one.figures) for one in accuracy.slices if one.name == accuracy.worst_slice]
    for suffix, figures in parts:
        one = figures[accuracy.metric]
        if one.baseline.is_known and one.variant.is_known:
            yield (
                f"labeled: {accuracy.metric}{suffix}",
                number(one.baseline.value, 4),
                number(one.variant.value, 4),
                f"worse by {interval_text(one.drop, 2)} {one.unit}",
            )


def _closing_lines(result: CompressionResult) -> list[str]:
    lines = [f"verdict: {result.report.gate.verdict_text}"]
    if result.verdict.status != "rejected":  # its text holds the reasons
        lines += [f"  - {reason}" for reason in result.verdict.reasons]
    else:
        lines.append("  kept, marked rejected: loaded on explicit request only")
    account = result.report.provenance.frames
    lines += [] if account is None else [f"frames: {sentence}" for sentence in account.sentences()]
    lines += [note for note in result.report.notes if note.startswith(("warning:", PREFIX))]
    kept = "replaced the earlier variant of that name" if result.replaced else "written"
    lines.append(f"report: {result.report_folder / 'report.md'}")
    lines.append(f"{kept}: {result.manifest.variant_path(result.name)} ({result.seconds:.0f} s)")
    return lines
