# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A drive for people, from its report.json alone: verdicts, metrics, paired differences, images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ad_compressed_perception.report.findings import VERDICT_LEVELS, Finding, Level, sort_findings
from ad_compressed_perception.report.markdown_text import image, plain, table
from ad_compressed_perception.report.rendered import Rendered
from ad_road_simulation.closed_loop.latency import EXPERT
from ad_road_simulation.closed_loop.paired import Comparison, MeanInterval, describe
from ad_road_simulation.closed_loop.route_metrics import METRICS

SCHEMA = "adcp-drive/1"
_LEVELS: dict[str, Level] = {"not worse": "ok", "worse": "alarm", "undecided": "warning"}

Document = Mapping[str, Any]


def render_drive(document: Document) -> Rendered:
    """Return a drive's Markdown and findings; raise KeyError, TypeError or ValueError where it is none."""
    comparisons = [
        Comparison(
            str(one["variant"]),
            str(one["reference"]),
            int(one["routes"]),
            {key: _interval(value) for key, value in one["differences"].items()},
            one["verdict"],
            tuple(map(str, one["reasons"])),
        )
        for one in document["comparison"]
    ]
    sections = (
        _head(document, comparisons),
        _metrics(document),
        *(_differences(comparison) for comparison in comparisons),
        _images(document["files"]),
    )
    markdown = "\n\n".join(block for section in sections for block in section) + "\n"
    return Rendered(markdown, sort_findings(list(_findings(document, comparisons))))


def _findings(document: Document, comparisons: list[Comparison]) -> Iterator[Finding]:
    for comparison in comparisons:
        yield Finding(_LEVELS.get(comparison.verdict, "warning"), f"{comparison.line}.")
    if not comparisons:
        yield Finding("note", "One planner drove: nothing was compared.")
    for name, one in document["variants"].items():
        if not one["routes"]:
            yield Finding("alarm", f"{name}: no route was driven.")
        level = VERDICT_LEVELS.get(one["gate"])
        if level in ("alarm", "warning"):
            yield Finding(level, f"{name}: {one['gate']} by its accept gate.")
        if one["images"]["failed"]:
            yield Finding("warning", f"{name}: no plan for {one['images']['failed']} images.")


def _head(document: Document, comparisons: list[Comparison]) -> Iterator[str]:
    settings = document["settings"]
    weather = settings["weather"] or "drawn by seed"
    yield f"# {plain(document['model'])}: driven in closed loop"
    yield (
        f"Routes: {int(settings['routes'])} of {settings['length_m']:g} m, seed {int(settings['seed'])}, "
        f"traffic {settings['traffic']:g}, weather {plain(str(weather))}, "
        f"latency {plain(str(settings['latency']))}."
    )
    if comparisons:
        yield "\n".join(f"* {plain(comparison.line)}" for comparison in comparisons)


def _metrics(document: Document) -> Iterator[str]:
    variants = document["variants"]
    rows = [
        (
            f"{figure.title}, {figure.unit}" if figure.unit else figure.title,
            *(mean_text(_interval(one["figures"][key])) for one in variants.values()),
        )
        for key, figure in METRICS.items()
    ]
    for title, cell in (
        ("latency p50, p99, ms", lambda one: "{p50:.1f}, {p99:.1f}".format(**one["latency_ms"])),
        (
            "images planned, dropped, failed",
            lambda one: "{planned}, {dropped}, {failed}".format(**one["images"]),
        ),
        ("accept gate", lambda one: plain(one["gate"] or "-")),
        (
            "endings",
            lambda one: ", ".join(f"{count} {plain(name)}" for name, count in one["endings"].items()),
        ),
    ):
        rows.append((title, *(cell(one) for one in variants.values())))
    yield "## Metrics per route, mean with 95 % interval"
    yield table(("", *map(plain, variants)), rows)
    if EXPERT in variants:
        yield "`expert` uses the ground truth: its errors are those of route and path tracker alone."


def _differences(comparison: Comparison) -> Iterator[str]:
    yield (
        f"## {plain(f'{comparison.variant} - {comparison.reference}')}, paired by route "
        f"({comparison.routes} routes)"
    )
    yield table(
        ("", "difference (95 % interval)"),
        [
            (METRICS[key].title, describe(value, METRICS[key].unit))
            for key, value in comparison.differences.items()
        ],
    )


def _images(files: Document) -> Iterator[str]:
    yield "## Plots"
    yield image("offset from the lane center", files["offsets"])
    if "differences" in files:
        yield image("differences", files["differences"])
    if files["images"]:
        yield "## Camera images with the planned path"
        yield "\n".join(image("planned paths", name) for name in files["images"])


def _interval(values: Document) -> MeanInterval:
    """Return an interval of the document, in which NaN is null."""
    return MeanInterval(
        *(math.nan if values[key] is None else values[key] for key in ("mean", "low", "high"))
    )


def mean_text(interval: MeanInterval) -> str:
    """Return a mean with its interval; a dash where there is none."""
    if not math.isfinite(interval.mean):
        return "-"
    return f"{interval.mean:.3g} ({interval.low:.3g} to {interval.high:.3g})"
