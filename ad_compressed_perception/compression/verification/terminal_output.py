# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The result of a compression, as a dictionary for JSON and as tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.compression.verification.outcome import CompressionResult
from ad_compressed_perception.report.compression_schema import CompressionReport, Interval

if TYPE_CHECKING:
    from rich.console import RenderableType

SCHEMA = "adcp-compress/1"

_SHOWN = 6
_SHOWN_OUTPUTS = 8


def as_dict(result: CompressionResult) -> dict[str, Any]:
    """Return the result as plain values (no NaN), for ``--json``."""
    variant = result.variant
    agreement, latency = result.verification.agreement, result.verification.latency
    return _plain(
        {
            "schema": SCHEMA,
            "model": result.manifest.name,
            "task": result.manifest.task,
            "variant": result.name,
            "replaced": result.replaced,
            "manifest": str(_manifest_path(result)),
            "file": str(result.manifest.variant_path(result.name)),
            "sha256": variant.sha256,
            "backend": variant.backend,
            "options": variant.options,
            "precision": variant.precision,
            "recipe": {
                "name": result.recipe.recipe.name,
                "path": str(result.recipe.path),
                "sha256": result.recipe.sha256,
            },
            "source": result.source,
            "frames": account.model_dump() if (account := result.report.provenance.frames) else None,
            "calibration": variant.calibration.model_dump() if variant.calibration else None,
            "passes": [asdict(record) for record in result.passes],
            "size": {
                "baseline_bytes": result.baseline_bytes,
                "variant_bytes": result.variant_bytes,
                "ratio": result.variant_bytes / result.baseline_bytes,
                "baseline": result.baseline_sizes.as_dict(),
                "variant": result.variant_sizes.as_dict(),
            },
            "coverage": {**asdict(result.coverage), "share": result.coverage.share},
            "agreement": agreement.as_dict(),
            "inference": latency.as_dict(),
            "verdict": {"status": result.verdict.status, "reasons": list(result.verdict.reasons)},
            "verdict_text": result.report.gate.verdict_text,
            "host": variant.provenance["host"],
            "versions": variant.provenance["versions"],
            "report": str(result.report_folder / "report.json"),
            "accuracy": result.report.accuracy.model_dump() if result.report.accuracy else None,
            "seconds": result.seconds,
        }
    )


def _manifest_path(result: CompressionResult) -> Path:
    return result.manifest.folder / "model.yaml"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def tables(result: CompressionResult) -> list[RenderableType]:
    """Return the tables for the terminal: the steps, the figures, the verdict."""
    from rich.markup import escape
    from rich.table import Table

    steps = Table("pass", "seconds", "operators", "notes", title=f"{result.manifest.name}: {result.name}")
    for record in result.passes:
        steps.add_row(
            record.name,
            f"{record.seconds:.1f}",
            f"{record.nodes_before} -> {record.nodes_after}",
            escape(", ".join(f"{key} {_short(value)}" for key, value in record.notes.items() if value != [])),
        )
    agreement, latency = result.verification.agreement, result.verification.latency
    figures = Table("figure", "baseline", "variant", "ratio or interval")
    figures.add_row(
        "size as stored",
        _kilobytes(result.baseline_bytes),
        _kilobytes(result.variant_bytes),
        f"{result.variant_bytes / result.baseline_bytes:.3f}",
    )
    for label, key in (
        ("file the runtime reads", "file_bytes"),
        ("RAM to load it", "loaded_bytes"),
        ("RAM to run it", "running_bytes"),
        ("RAM at its peak", "peak_bytes"),
    ):
        sizes = [getattr(each, key) for each in (result.baseline_sizes, result.variant_sizes)]
        known = None not in sizes and sizes[0] > 0
        figures.add_row(label, *map(_kilobytes, sizes), f"{sizes[1] / sizes[0]:.3f}" if known else "")
    figures.add_row(
        "integer coverage",
        "",
        f"{result.coverage.integer}/{result.coverage.compute}",
        result.variant.precision,
    )
    figures.add_row(
        f"agreement (gated): {agreement.measure}",
        "1",
        f"{agreement.score:.3f}",
        f"drop {agreement.drop:.3f} ({agreement.drop_low:.3f} to {agreement.drop_high:.3f})",
    )
    figures.add_row(f"not gated: {agreement.strict_measure}", "1", f"{agreement.strict_score:.3f}", "")
    figures.add_row(
        "inference p50",
        f"{latency.baseline_p50_ms:.2f} ms",
        f"{latency.variant_p50_ms:.2f} ms",
        f"{latency.speedup_p50:.2f}x ({latency.speedup_p50_low:.2f} to {latency.speedup_p50_high:.2f})",
    )
    figures.add_row(
        "inference p99",
        f"{latency.baseline_p99_ms:.2f} ms",
        f"{latency.variant_p99_ms:.2f} ms",
        f"{latency.speedup_p99:.2f}x ({latency.speedup_p99_low:.2f} to {latency.speedup_p99_high:.2f})",
    )
    figures.add_row(
        "frame to result p50",
        f"{latency.baseline_end_to_end_p50_ms:.2f} ms",
        f"{latency.variant_end_to_end_p50_ms:.2f} ms",
        f"{latency.speedup_end_to_end_p50:.2f}x "
        f"({latency.speedup_end_to_end_p50_low:.2f} to {latency.speedup_end_to_end_p50_high:.2f})",
    )
    for row in _output_rows(result.report):
        figures.add_row(*map(escape, row))
    for row in _slice_rows(result.report):
        figures.add_row(*row)
    return [steps, figures, *(escape(line) for line in _closing_lines(result))]


def _output_rows(report: CompressionReport) -> Iterator[tuple[str, str, str, str]]:
    """Yield each output of a model whose outputs nothing decodes."""
    for one in report.agreement.outputs[:_SHOWN_OUTPUTS]:
        if one.compared_as == "numbers" and not one.is_constant:
            what = f"SQNR {_interval(one.sqnr_of_worst_db, 1)} dB"
            label = f"output {one.worst_part or one.name}"
            yield (
                label,
                "",
                what,
                f"cosine {_or_none(one.cosine)}, largest error {_or_none(one.largest_error)}",
            )
        elif one.is_constant:
            yield (f"output {one.name}", "", "constant", "")
        else:
            equal = "" if one.equal_share is None else f"equal {one.equal_share:.4f}"
            yield (f"output {one.name}", "", one.compared_as, equal or f"drop {_interval(one.drop, 3)}")


def _or_none(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _slice_rows(report: CompressionReport) -> Iterator[tuple[str, str, str, str]]:
    """Yield the worst slice, and accuracy on labeled data with its worst slice."""
    worst = next((one for one in report.agreement.slices if one.name == report.agreement.worst_slice), None)
    if worst is not None and worst.score is not None:
        label = f"worst slice: {worst.title} ({worst.frames} frames)"
        yield (label, "1", f"{worst.score:.3f}", f"drop {_interval(worst.drop, 3)}")
    accuracy = report.accuracy
    if accuracy is None:
        return
    parts = [("", accuracy.figures)]
    parts += [(f", {one.title}", one.figures) for one in accuracy.slices if one.name == accuracy.worst_slice]
    for suffix, figures in parts:
        one = figures[accuracy.metric]
        if one.baseline.value is not None and one.variant.value is not None:
            yield (
                f"labeled: {accuracy.metric}{suffix}",
                f"{one.baseline.value:.4f}",
                f"{one.variant.value:.4f}",
                f"worse by {_interval(one.drop, 2)} {one.unit}",
            )


def _interval(one: Interval, digits: int) -> str:
    if one.value is None or one.low is None or one.high is None:
        return "undefined"
    return f"{one.value:.{digits}f} ({one.low:.{digits}f} to {one.high:.{digits}f})"


def _closing_lines(result: CompressionResult) -> list[str]:
    lines = [f"verdict: {result.report.gate.verdict_text}"]
    if result.verdict.status != "rejected":  # its text holds the reasons
        lines += [f"  - {reason}" for reason in result.verdict.reasons]
    else:
        lines.append("  kept, marked rejected: loaded on explicit request only")
    account = result.report.provenance.frames
    lines += [] if account is None else [f"frames: {sentence}" for sentence in account.sentences()]
    lines += [note for note in result.report.notes if note.startswith("warning:")]
    kept = "replaced the earlier variant of that name" if result.replaced else "written"
    lines.append(f"report: {result.report_folder / 'report.md'}")
    lines.append(f"{kept}: {result.manifest.variant_path(result.name)} ({result.seconds:.0f} s)")
    return lines


def _short(value: Any) -> str:
    """Return a note for a table's cell; long lists are cut, nested values are counted."""
    if isinstance(value, float):
        return f"{value:.2g}"
    if isinstance(value, dict) and len(value) > _SHOWN:
        return f"({len(value)} in the manifest)"
    if isinstance(value, list):
        if any(isinstance(item, (dict, list)) for item in value):
            return f"({len(value)} in the manifest)"
        rest = len(value) - _SHOWN
        return f"{', '.join(map(str, value[:_SHOWN]))}{f' and {rest} more' if rest > 0 else ''}"
    return str(value)


def _kilobytes(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 1000:,.0f} kB"
