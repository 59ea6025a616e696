# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""report.md: the same figures as report.json for people, ratios first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath

from ad_compressed_perception.core.timing import STAGES
from ad_compressed_perception.report.agreement_markdown import (
    accuracy_section,
    agreement_sections,
    agreement_text,
)
from ad_compressed_perception.report.frame_counters import counter_section, reason_lines, variants_of
from ad_compressed_perception.report.kit.figures import NONE, milliseconds, share, speedup_text
from ad_compressed_perception.report.kit.table import records, table
from ad_compressed_perception.report.kit.text import bullets, code, image, plain
from ad_compressed_perception.report.latency_markdown import run_latency
from ad_compressed_perception.report.live_markdown import limits, windows
from ad_compressed_perception.report.schemas.comparison import Report
from ad_compressed_perception.report.schemas.fields import Percentiles
from ad_compressed_perception.report.schemas.variant import VariantReport


def render_markdown(report: Report) -> str:
    """Return the report as GitHub-flavored Markdown; images are linked by ``report.files``."""
    sections = (
        _head(report),
        _problems(report),
        windows(report),
        _ratios(report),
        _latency(report),
        _stages(report),
        run_latency(report),
        agreement_sections(report),
        accuracy_section(report),
        counter_section(report),
        limits(report),
        _images(report),
        _recording(report),
        _bullets("Missing", report.missing),
        _bullets("Notes", report.notes),
        _host(report),
    )
    blocks = [block for section in sections for block in section]
    return "\n\n".join(blocks) + "\n"


def _head(report: Report) -> Iterator[str]:
    source = report.source
    name = PurePath(source.bag).name if source.bag else "live"
    yield f"# Baseline and compressed on {plain(name)}"
    length = "" if source.duration_s is None else f" over {source.duration_s:.1f} s"
    topic = f" of {code(source.topic)}" if source.topic else ""
    yield f"{source.frames} frames{topic}{length}. {plain(report.measurement)}".strip()
    if report.age_reference:
        yield f"Transport age is measured from {plain(report.age_reference)}."
    if source.not_offered:
        yield (
            f"{source.not_offered} frames of the bag came due while others were processed and were "
            "not offered to any variant."
        )


def _problems(report: Report) -> Iterator[str]:
    if report.problems:
        yield "## Problems"
        yield "**The figures below cannot be relied on.**"
        yield bullets([*report.problems, *reason_lines(report)])


def _ratios(report: Report) -> Iterator[str]:
    rows = [
        {
            "task": plain(task),
            "variant": plain(name),
            "inference speed-up (p50 / p50)": speedup_text(comparison.speedup_infer_p50),
            "same-frame speed-up (median)": speedup_text(comparison.speedup_infer_paired_p50),
            "end-to-end speed-up (p50 / p50)": speedup_text(comparison.speedup_end_to_end_p50),
            "agreement with the baseline": plain(agreement_text(comparison)),
            "verdict of its gate": _verdict_text(one.variants.get(name)),
        }
        for task, one in report.tasks.items()
        for name, comparison in one.comparison.items()
    ]
    yield "## Compressed against baseline"
    if rows:
        yield records(rows)
        yield (
            "A speed-up is baseline / compressed: above 1 the compressed variant is faster. Agreement "
            "takes the baseline as the reference; it does not say which of the two is right."
        )
    else:
        yield "No compressed variant took part: there is nothing to compare."
    for task, one in report.tasks.items():
        for name, variant in one.variants.items():
            if variant.verdict is not None and variant.verdict.status == "rejected":
                why = plain("; ".join(variant.verdict.reasons)) or "no reason recorded"
                yield (
                    f"> **{plain(f'{task}/{name}')} was rejected by its accept gate** ({why}). It ran here "
                    "only because that was allowed explicitly; do not drive with it."
                )


def _latency(report: Report) -> Iterator[str]:
    rows = []
    for task, name, variant in variants_of(report):
        infer, total = variant.stages_ms.get("infer", Percentiles()), variant.end_to_end_ms
        rows.append(
            {
                "task": plain(task),
                "variant": plain(name),
                "model": plain(f"{variant.model or NONE}/{variant.variant or NONE}"),
                "runtime": plain(f"{variant.backend or NONE} {_provider(variant)}"),
                "precision": plain(variant.precision or NONE),
                "infer p50": milliseconds(infer.p50),
                "infer p99": milliseconds(infer.p99),
                "end to end p50": milliseconds(total.p50),
                "p95": milliseconds(total.p95),
                "p99": milliseconds(total.p99),
                "max": milliseconds(total.max),
                "not inference": share(variant.not_inference_share),
                "deadline misses": _misses(variant),
            }
        )
    yield "## Latency, milliseconds"
    yield records(rows, right_from=5)
    if "latency.png" in report.files:
        yield "![Latency distributions](latency.png)"


def _stages(report: Report) -> Iterator[str]:
    rows = []
    for task, name, variant in variants_of(report):
        medians = (variant.stages_ms.get(stage, Percentiles()).p50 for stage in STAGES)
        rows.append((plain(task), plain(name), *map(milliseconds, medians)))
    yield "## Stages, median milliseconds"
    yield table(("task", "variant", *STAGES), rows, right_from=2)
    if "stages.png" in report.files:
        yield "![Time per stage](stages.png)"


def _images(report: Report) -> Iterator[str]:
    overlays = [name for name in report.files if name.startswith("overlay_")]
    if not overlays:
        return
    yield "## Frames side by side"
    for name in overlays:
        yield image(PurePath(name).stem.replace("_", " "), name)


def _recording(report: Report) -> Iterator[str]:
    for name in report.files:
        if name.endswith(".mcap"):
            yield "## Recording of the results"
            yield (
                f"{code(name)} has the images, and of each task and variant every result, what can be drawn "
                "of it over the image, timings and agreement. Foxglove and rerun open it; "
                f"`ros2 bag play {plain(PurePath(name).parent.name)}` plays it."
            )


def _bullets(title: str, sentences: Sequence[str]) -> Iterator[str]:
    if sentences:
        yield f"## {title}"
        yield bullets(sentences)


def _host(report: Report) -> Iterator[str]:
    host = report.host
    yield "## Measured on"
    versions = ", ".join(f"{name} {version}" for name, version in host.packages.items())
    features = f" ({', '.join(host.cpu_features)})" if host.cpu_features else ""
    yield bullets(
        (
            f"{host.cpu}{features}, {host.logical_cores} logical cores",
            f"{host.system}, Python {host.python}, {versions}",
            f"written {report.created}, format {report.schema_}",
        )
    )


def _provider(variant: VariantReport) -> str:
    actual, requested = variant.provider or "", variant.requested_provider or ""
    return f"{actual} (asked for {requested})" if requested and requested != actual else actual


def _misses(variant: VariantReport) -> str:
    if variant.deadline_ms is None:
        return "no deadline set"
    rate = "" if variant.deadline_miss_rate is None else f" ({variant.deadline_miss_rate:.1%})"
    return (
        f"{variant.deadline_misses}{rate} of {variant.deadline_ms:g} ms, "
        f"longest run {variant.longest_miss_run}"
    )


def _verdict_text(variant: VariantReport | None) -> str:
    if variant is None or variant.verdict is None:
        return "none"
    status = variant.verdict.status
    return f"**{status}**" if status != "accepted" else status
