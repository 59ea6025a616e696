# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A drive for people, from its report.json alone: verdicts, metrics, paired differences, images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ad_compressed_perception.report.kit.figures import significant
from ad_compressed_perception.report.kit.findings import VERDICT_LEVELS, Finding, Level, sort_findings
from ad_compressed_perception.report.kit.rendered import Rendered
from ad_compressed_perception.report.kit.table import table
from ad_compressed_perception.report.kit.text import image, plain
from ad_road_simulation.closed_loop.drive_schema import Comparison, Drive, DriveFiles
from ad_road_simulation.closed_loop.latency import EXPERT
from ad_road_simulation.closed_loop.paired import describe
from ad_road_simulation.closed_loop.route_metrics import METRICS

_LEVELS: dict[str, Level] = {"not worse": "ok", "worse": "alarm", "undecided": "warning"}


def render_drive(drive: Drive) -> Rendered:
    """Return a drive's Markdown and findings."""
    sections = (
        _head(drive),
        _metrics(drive),
        *(_differences(comparison) for comparison in drive.comparison),
        _images(drive.files),
    )
    markdown = "\n\n".join(block for section in sections for block in section) + "\n"
    return Rendered(markdown, sort_findings(list(_findings(drive))))


def _findings(drive: Drive) -> Iterator[Finding]:
    for comparison in drive.comparison:
        yield Finding(_LEVELS.get(comparison.verdict, "warning"), f"{comparison.line}.")
    if not drive.comparison:
        yield Finding("note", "One planner drove: nothing was compared.")
    for name, one in drive.variants.items():
        if not one.routes:
            yield Finding("alarm", f"{name}: no route was driven.")
        level = VERDICT_LEVELS.get(one.gate)
        if level in ("alarm", "warning"):
            yield Finding(level, f"{name}: {one.gate} by its accept gate.")
        if "faults" in one.images:
            level = "note" if one.images["faults"] else "alarm"
            yield Finding(level, f"{name}: {_faults(one.images)}.")
        if one.images["failed"]:
            yield Finding("warning", f"{name}: no plan for {one.images['failed']} images.")


def _faults(images: Mapping[str, int]) -> str:
    if not images["faults"]:
        return "no fault was injected: the drive says nothing about faults"
    return (
        f"{images['faults']} faults were injected; the standby made {images['standby']} of "
        f"{images['planned']} plans, {images['hold']} were held, and {images['failed']} images have none"
    )


def _head(drive: Drive) -> Iterator[str]:
    settings = drive.settings
    yield f"# {plain(drive.model)}: driven in closed loop"
    yield (
        f"Routes: {settings.routes} of {settings.length_m:g} m, seed {settings.seed}, "
        f"traffic {settings.traffic:g}, weather {plain(settings.weather or 'drawn by seed')}, "
        f"latency {plain(settings.latency)}."
    )
    if drive.comparison:
        yield "\n".join(f"* {plain(comparison.line)}" for comparison in drive.comparison)


def _metrics(drive: Drive) -> Iterator[str]:
    variants = drive.variants.values()
    rows = [
        (figure.label, *(significant(one.figures[key]) for one in variants))
        for key, figure in METRICS.items()
    ]
    counters = ("planned", "dropped", "failed"), ("faults", "standby", "hold")
    rows += [
        (
            "latency p50, p99, ms",
            *(f"{one.latency_ms.p50:.1f}, {one.latency_ms.p99:.1f}" for one in variants),
        ),
        ("images planned, dropped, failed", *(_counts(one.images, counters[0]) for one in variants)),
        (
            "faults injected, plans of the standby, held",
            *(_counts(one.images, counters[1]) for one in variants),
        ),
        ("accept gate", *(plain(one.gate or "-") for one in variants)),
        (
            "endings",
            *(", ".join(f"{count} {plain(name)}" for name, count in one.endings.items()) for one in variants),
        ),
    ]
    yield "## Metrics per route, mean with 95 % interval"
    yield table(("", *map(plain, drive.variants)), rows)
    if EXPERT in drive.variants:
        yield "`expert` uses the ground truth: its errors are those of route and path tracker alone."


def _counts(images: Mapping[str, int], names: tuple[str, ...]) -> str:
    return ", ".join(str(images[name]) for name in names) if names[0] in images else "-"


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


def _images(files: DriveFiles) -> Iterator[str]:
    yield "## Plots"
    yield image("offset from the lane center", files.offsets)
    if files.differences is not None:
        yield image("differences", files.differences)
    if files.images:
        yield "## Camera images with the planned path"
        yield "\n".join(image("planned paths", name) for name in files.images)
