# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""report.md of a compression: the verdict first, then the figures behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ad_compressed_perception.report.compression_schema import (
    CompressionReport,
    Interval,
    OutputAgreement,
    Pair,
    Timing,
)
from ad_compressed_perception.report.findings import VERDICT_LEVELS, Finding, sort_findings
from ad_compressed_perception.report.markdown_text import code, fenced, image, plain, table

_NONE = "–"
_LISTED_NOTES = 6
_SLICE_WORDS = {
    "brightness": "mean luma of the image",
    "steering_magnitude": "magnitude of the baseline's steering-wheel angle",
}


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
        _agreement(report),
        _accuracy(report),
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
        yield "\n".join(f"- {plain(reason)}" for reason in report.gate.verdict.reasons)
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


def _figures(report: CompressionReport) -> Iterator[str]:
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
        ("precision as executed", plain(report.baseline.precision), plain(report.variant.precision), ""),
        ("integer compute ops", "", f"{coverage.integer}/{coverage.compute}", _share(coverage.share)),
        ("runtime", plain(_runner(report.baseline)), plain(_runner(report.variant)), ""),
    ]
    for words, timing in (("inference", latency.infer), ("frame to result", latency.end_to_end)):
        rows += _timing(words, timing)
    yield "## Size, memory and time"
    yield table(("figure", plain(report.baseline.name), plain(report.variant.name), "ratio"), rows, 1)
    yield (
        f"Times: {latency.frames} frames, both interleaved on each frame, one process; a speed-up is "
        "baseline / variant with the 95 % interval of a bootstrap over frames. Memory: growth of a "
        "process of its own, and its peak. Multiply-accumulates and parameters: counted on the file."
    )
    yield from _image(report, "costs.png", "Size, memory and time of the variant")
    yield from _image(report, "latency.png", "Times of every frame")


def _agreement(report: CompressionReport) -> Iterator[str]:
    found = report.agreement
    yield "## Agreement with the baseline, without labels"
    rows = [("all frames", str(found.frames), _number(found.score), _interval(found.drop), "")]
    rows += [
        (
            plain(one.title),
            str(one.frames),
            _number(one.score),
            _interval(one.drop),
            "worst slice" if one.name == found.worst_slice else "",
        )
        for one in found.slices
    ]
    yield table(("frames", "number", plain(found.measure), "drop (95 % interval)", ""), rows, 1)
    if found.strict_measure:
        yield (
            f"The gate uses: {plain(found.measure)}, {_number(found.score)}. Strict, not gated: "
            f"{plain(found.strict_measure)}, {_number(found.strict_score)}."
        )
    informative = f"{found.informative_frames} of {found.frames} frames are informative"
    failed = f"; the variant gave no result on {found.failed_frames}" if found.failed_frames else ""
    yield f"{informative}{failed}. {_slice_words(report)}"
    per_class = found.details.get("per_class_iou")
    if isinstance(per_class, dict) and per_class:
        yield table(
            [plain(label) for label in per_class], [[f"{value:.4f}" for value in per_class.values()]], 0
        )
    yield from _labels_of_frames(found.details)
    yield from _outputs(found.outputs)
    for title, parts in (
        ("channel" if found.outputs else "informative label", found.labels),
        ("size of the object", found.sizes),
        ("distance", found.distances),
    ):
        if parts:
            yield table(
                (title, "frames", "drop (95 % interval)"),
                [(plain(one.name), str(one.frames), _interval(one.drop)) for one in parts],
                1,
            )
    yield from _image(report, "slices.png", "Drops in slices")
    yield from _image(report, "differences.png", "Differences frame by frame")


def _labels_of_frames(details: dict[str, Any]) -> Iterator[str]:
    """Yield what a classification's results have beside the share of equal labels."""
    counts = details.get("frames_by_label")
    if not isinstance(counts, dict) or not counts:
        return
    yield (
        f"The largest difference of a label's score is {_number(details.get('mean_score_distance'))} in the "
        f"mean over frames, {_number(details.get('max_score_distance'))} at most."
    )
    yield table(
        ("strongest label", "frames of the baseline", "of the variant", "of both"),
        [
            (plain(label), *(str(one[side]) for side in ("baseline", "variant", "both")))
            for label, one in counts.items()
        ],
        1,
    )


def _outputs(outputs: list[OutputAgreement]) -> Iterator[str]:
    if not outputs:
        return
    rows = [
        (
            code(one.name),
            plain(f"{one.compared_as}, {one.shape}"),
            "constant" if one.is_constant else _interval(one.drop),
            code(one.worst_part) if one.worst_part else "",
            _interval(one.sqnr_of_worst_db, 1),
            _number(one.sqnr_db, 1),
            _number(one.cosine, 4),
            _number(one.largest_error),
            _number(one.equal_share, 4),
        )
        for one in outputs
    ]
    yield table(
        (
            *("output", "compared as", "noise to signal (95 % interval)", "of", "SQNR of it, dB"),
            *("SQNR of all, dB", "cosine", "largest error / range", "equal"),
        ),
        rows,
        2,
    )
    yield (
        "Signal is what changes from frame to frame. A drop of 0.1 is an SQNR of 10 dB, 0.05 is 13 dB, 0.01 "
        "is 20 dB; the gate takes the worst part, since over joined values of different units the largest "
        "ones hide the others."
    )


def _accuracy(report: CompressionReport) -> Iterator[str]:
    found = report.accuracy
    if found is None:
        return
    yield "## Accuracy on labeled data"
    yield table(
        (
            "figure",
            plain(report.baseline.name),
            plain(report.variant.name),
            "worse by (95 % interval, paired)",
        ),
        [
            (
                plain(name) + (" (used by the gate)" if name == found.metric else ""),
                _interval(one.baseline, 4),
                _interval(one.variant, 4),
                f"{_interval(one.drop, 2)} {one.unit}",
            )
            for name, one in found.figures.items()
        ],
        1,
    )
    rows = []
    for one in found.slices:
        figure = one.figures[found.metric]
        rows.append(
            (
                plain(one.title),
                str(one.frames),
                _number(figure.baseline.value, 4),
                _number(figure.variant.value, 4),
                f"{_interval(figure.drop, 2)} {figure.unit}",
                "worst slice" if one.name == found.worst_slice else "",
            )
        )
    if rows:
        yield table(
            (
                "slice",
                "frames",
                plain(f"{found.metric} {report.baseline.name}"),
                plain(report.variant.name),
                "worse by",
                "",
            ),
            rows,
            1,
        )
    runs = "resampled singly" if found.block_length == 1 else f"resampled in blocks of {found.block_length}"
    yield f"{found.frames} labeled frames of {plain(found.data)}, {runs}, {found.resamples} resamples."
    if found.notes:
        yield "\n".join(f"- {plain(note)}" for note in found.notes)


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
    yield from _image(report, "layers.png", "Noise layer by layer")
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
            plain(_notes_text(one.notes)),
        )
        for one in report.passes
    ]
    yield table(("pass", "seconds", "operators", "notes"), rows)
    found = report.graph_optimization
    if found is not None:
        yield (
            f"Graph optimization ({plain(', '.join(found.passes))}): {found.nodes_before} operators became "
            f"{found.nodes_after}; alone it makes inference {_interval(found.speedup, 2)} times as fast on "
            f"the baseline's runtime ({found.rounds} pairs of runs)."
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
        yield "\n".join(f"- {plain(note)}" for note in report.notes)


def _image(report: CompressionReport, name: str, words: str) -> Iterator[str]:
    if name in report.files:
        yield f"![{words}]({name})"


def _bytes(pair: Pair) -> tuple[str, str, str]:
    return _counts(pair, 1e3, " kB")


def _counts(pair: Pair, unit: float, suffix: str) -> tuple[str, str, str]:
    sides = (
        _NONE if value is None else f"{value / unit:,.0f}{suffix}" for value in (pair.baseline, pair.variant)
    )
    return (*sides, _number(pair.ratio))  # type: ignore[return-value]


def _timing(words: str, one: Timing) -> Iterator[tuple[str, str, str, str]]:
    yield (f"{words} p50", _ms(one.baseline_p50_ms), _ms(one.variant_p50_ms), _speedup(one.speedup_p50))
    if one.speedup_p99 is not None:
        yield (f"{words} p99", _ms(one.baseline_p99_ms), _ms(one.variant_p99_ms), _speedup(one.speedup_p99))


def _speedup(one: Interval) -> str:
    return _NONE if one.value is None else f"{_interval(one, 2)} times as fast"


def _runner(one: Any) -> str:
    threads = f"{one.threads} thread{'s' if one.threads != 1 else ''}" if one.threads else "default threads"
    return f"{one.backend} {one.provider.removesuffix('ExecutionProvider')}, {threads}"


def _interval(one: Interval, digits: int = 3) -> str:
    if one.value is None:
        return _NONE
    return f"{_number(one.value, digits)} ({_number(one.low, digits)} to {_number(one.high, digits)})"


def _number(value: float | None, digits: int = 3) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return _NONE if value is None else f"{value:.0%}"


def _ms(value: float | None) -> str:
    return _NONE if value is None else f"{value:.2f} ms"


def _slice_words(report: CompressionReport) -> str:
    counted = "objects" if report.task == "detection" else "edges between labels"
    object_density = f"{counted} in the baseline's result"
    words = {**_SLICE_WORDS, "object_density": object_density}
    rules = [
        f"{plain(one.title)}: by {words.get(one.attribute, one.attribute)}" for one in report.agreement.slices
    ]
    return f"Slices hold a tenth of the frames each ({'; '.join(rules)})." if rules else ""


def _notes_text(notes: dict[str, Any]) -> str:
    """Return a pass's notes, shortened; long and nested ones are in report.json."""
    parts = []
    for key, value in notes.items():
        if value in ([], {}, None):
            continue
        if isinstance(value, float):
            parts.append(f"{key} {value:.3g}")
        elif isinstance(value, dict):
            parts.append(f"{key} ({len(value)})")
        elif isinstance(value, list):
            plain = not any(isinstance(item, (dict, list)) for item in value)
            shown = (
                ", ".join(map(str, value[:_LISTED_NOTES])) if plain and len(value) <= _LISTED_NOTES else ""
            )
            parts.append(f"{key} {shown or f'({len(value)})'}")
        else:
            parts.append(f"{key} {value}")
    return ", ".join(parts)
