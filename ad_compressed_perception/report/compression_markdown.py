# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""report.md of a compression: the verdict first, then the figures behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ad_compressed_perception.metrics.interval import Interval
from ad_compressed_perception.report.compression_agreement import (
    accuracy_sections,
    agreement_sections,
    head_sections,
    plot,
)
from ad_compressed_perception.report.kit.figures import NONE, first_items, interval_text, number, share
from ad_compressed_perception.report.kit.findings import VERDICT_LEVELS, Finding, sort_findings
from ad_compressed_perception.report.kit.table import table
from ad_compressed_perception.report.kit.text import bullets, code, fenced, image, plain
from ad_compressed_perception.report.schemas.compression import CompressionReport, Pair, Runner, Timing

_LISTED_NOTES = 6

Row = tuple[str, str, str, str]


def render_compression(report: CompressionReport) -> str:
    """Return the report as GitHub-flavored Markdown; images are linked by ``report.files``."""
    return _text(_head(report), report)


def compression_body(report: CompressionReport) -> str:
    """Return the same without the verdict, for a page that shows it as a finding."""
    return _text((title_line(report), _terms(report)), report)


def _text(head: Iterable[str], report: CompressionReport) -> str:
    sections = (
        head,
        _figures(report),
        *(
            (agreement_sections(report), accuracy_sections(report))
            if report.heads is None
            else (head_sections(report),)
        ),
        _layers(report),
        _images(report),
        _passes(report),
        _provenance(report),
        _notes(report),
    )
    return "\n\n".join(block for section in sections for block in section) + "\n"


def _head(report: CompressionReport) -> Iterator[str]:
    yield title_line(report)
    yield f"**{plain(report.gate.verdict_text)}**"
    if report.gate.verdict.status != "rejected" and report.gate.verdict.reasons:
        yield bullets(report.gate.verdict.reasons)
    yield _terms(report)


def _terms(report: CompressionReport) -> str:
    terms = ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in report.gate.terms.items()
        if value is not None
    )
    return f"Terms of the recipe {code(report.provenance.recipe)}: {plain(terms)}."


def title_line(report: CompressionReport) -> str:
    """Return the first line: which variant against which baseline."""
    return f"# {plain(f'{report.model}: {report.variant.name} against {report.baseline.name}')}"


def compression_findings(report: CompressionReport) -> list[Finding]:
    """Return the verdict and what is wrong with the frames that it stands on, the worst first."""
    found = report.agreement
    verdict = report.gate.verdict
    findings = [Finding(VERDICT_LEVELS[verdict.status], report.gate.verdict_text)]
    if verdict.status == "inconclusive":
        findings += [Finding("warning", reason) for reason in verdict.reasons]
    if found.failed_frames:
        findings.append(Finding("alarm", f"the variant gave no result on {found.failed_frames} frames"))
    if not found.informative_frames:
        findings.append(Finding("warning", f"none of {found.frames} frames is informative"))
    return sort_findings(findings)


def figure_rows(report: CompressionReport, shown: Callable[[str], str] = plain) -> list[Row]:
    """Return sizes, memory, precision and times of both, and their ratios.

    Args:
        report: of the compression.
        shown: makes a name fit for where the rows are shown; for Markdown by default.
    """
    costs, coverage, latency = report.costs, report.coverage, report.latency
    rows = [
        ("size as stored", *_bytes(costs.stored_bytes)),
        ("file the runtime reads", *_bytes(costs.file_bytes)),
        ("memory after loading", *_bytes(costs.loaded_bytes)),
        ("memory after running", *_bytes(costs.running_bytes)),
        ("peak memory", *_bytes(costs.peak_bytes)),
        ("multiply-accumulates", *_counts(costs.macs, 1e6, " M")),
        ("parameters", *_counts(costs.parameters, 1e3, " k")),
        (
            "input",
            f"{report.baseline.input_width}x{report.baseline.input_height}",
            f"{report.variant.input_width}x{report.variant.input_height}",
            "",
        ),
        ("precision as executed", shown(report.baseline.precision), shown(report.variant.precision), ""),
        (
            "integer coverage of compute ops",
            "",
            f"{coverage.integer}/{coverage.compute}",
            share(coverage.share, 0),
        ),
        ("runtime", shown(_runner(report.baseline)), shown(_runner(report.variant)), ""),
    ]
    for words, timing in (("inference", latency.infer), ("frame to result", latency.end_to_end)):
        rows += _timing(words, timing)
    return rows


def _figures(report: CompressionReport) -> Iterator[str]:
    latency = report.latency
    yield "## Size, memory and time"
    yield table(
        ("figure", plain(report.baseline.name), plain(report.variant.name), "ratio"), figure_rows(report), 1
    )
    yield (
        f"Times: {latency.frames} frames, both interleaved on each frame, one process; a speed-up is "
        "baseline / variant with the 95 % interval of a bootstrap over frames. Memory: growth of a "
        "process of its own, and its peak. Multiply-accumulates and parameters: counted on the file."
    )
    yield from plot(report, "costs.png", "Size, memory and time of the variant")
    yield from plot(report, "latency.png", "Times of every frame")


def _layers(report: CompressionReport) -> Iterator[str]:
    if not report.layers:
        return
    yield "## Layer by layer"
    counts = {
        kind: sum(one.kind == kind for one in report.layers)
        for kind in ("quantized", "weights only", "float")
    }
    parts = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    yield (
        f"{len(report.layers)} convolutions and matrix products: {parts}. Signal to quantization noise ratio "
        f"of each one's output on {report.layer_frames} frames, against the graph before quantization."
    )
    yield from plot(report, "layers.png", "Noise layer by layer")
    kept = [one for one in report.layers if one.why_float]
    if kept:
        yield table(
            ("stays in float", "operator", "why"),
            [(code(one.name), plain(one.operator), plain(one.why_float or "")) for one in kept],
        )
    noisy = sorted(
        (one for one in report.layers if one.sqnr_db is not None), key=lambda one: one.sqnr_db or 0.0
    )
    if noisy:
        rows = [(code(one.name), plain(one.operator), one.kind, f"{one.sqnr_db:.1f}") for one in noisy[:5]]
        yield table(("noisiest", "operator", "kind", "SQNR, dB"), rows, 3)


def _images(report: CompressionReport) -> Iterator[str]:
    if not report.worst_frames:
        return
    yield "## Largest differences"
    yield f"Frames are ranked by: {plain(report.agreement.difference_unit)}."
    for one in report.worst_frames:
        yield image(one.caption, one.file)


def _passes(report: CompressionReport) -> Iterator[str]:
    yield "## Passes"
    rows = [
        (
            plain(one.name),
            f"{one.seconds:.1f}",
            f"{one.nodes_before} → {one.nodes_after}",
            plain(notes_text(one.notes)),
        )
        for one in report.passes
    ]
    yield table(("pass", "seconds", "operators", "notes"), rows)
    found = report.graph_optimization
    if found is not None:
        yield (
            f"Graph optimization ({plain(', '.join(found.passes))}): {found.nodes_before} operators became "
            f"{found.nodes_after}; alone it makes inference {interval_text(found.speedup, 2)} times as fast "
            f"on the baseline's runtime ({found.rounds} pairs of runs)."
        )


def _provenance(report: CompressionReport) -> Iterator[str]:
    origin, host = report.provenance, report.host
    versions = ", ".join(f"{name} {version}" for name, version in host.packages.items())
    yield "## Provenance"
    yield "\n".join(
        f"- {line}"
        for line in (
            f"baseline {code(report.baseline.name)}, sha256 {code(origin.source_sha256)}",
            f"variant {code(report.variant.name)}, sha256 {code(report.variant.sha256)}",
            f"recipe {code(origin.recipe)}, sha256 {code(origin.recipe_sha256)} (below)",
            f"calibrated on {origin.calibration.frames} frames of {plain(origin.calibration.source)}, "
            f"sha256 {code(origin.calibration.sha256)}",
            f"verified on {origin.verification_frames} other frames of {plain(origin.verification_source)}",
            plain(
                f"{host.cpu or host.machine} ({', '.join(host.cpu_features)}), {host.logical_cores} logical "
                f"cores, {host.system}"
            ),
            plain(f"Python {host.python}, {versions}"),
            plain(f"written {report.created}, format {report.schema_}"),
        )
    )
    yield fenced(origin.recipe_text, "yaml")


def _notes(report: CompressionReport) -> Iterator[str]:
    if report.notes:
        yield "## Notes"
        yield bullets(report.notes)


def _bytes(pair: Pair) -> tuple[str, str, str]:
    return _counts(pair, 1e3, " kB")


def _counts(pair: Pair, unit: float, suffix: str) -> tuple[str, str, str]:
    sides = (
        NONE if value is None else f"{value / unit:,.0f}{suffix}" for value in (pair.baseline, pair.variant)
    )
    return (*sides, number(pair.ratio))  # type: ignore[return-value]


def _timing(words: str, one: Timing) -> Iterator[Row]:
    parts = [("p50", one.baseline_p50_ms, one.variant_p50_ms, one.speedup_p50)]
    if one.speedup_p99 is not None:
        parts.append(("p99", one.baseline_p99_ms, one.variant_p99_ms, one.speedup_p99))
    for name, baseline, variant, speedup in parts:
        yield (f"{words} {name}", number(baseline, 2, " ms"), number(variant, 2, " ms"), _speedup(speedup))


def _speedup(one: Interval) -> str:
    return f"{interval_text(one, 2)} times as fast" if one.is_known else NONE


def _runner(one: Runner) -> str:
    threads = f"{one.threads} thread{'s' if one.threads != 1 else ''}" if one.threads else "default threads"
    return f"{one.backend} {one.provider.removesuffix('ExecutionProvider')}, {threads}"


def notes_text(notes: dict[str, Any]) -> str:
    """Return a pass's notes, shortened; long and nested ones are in report.json."""
    known = {key: value for key, value in notes.items() if value not in ([], {}, None)}
    return ", ".join(f"{key} {first_items(value, _LISTED_NOTES)}" for key, value in known.items())
