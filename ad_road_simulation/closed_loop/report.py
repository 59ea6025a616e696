# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The report of a drive: report.json, report.md, report.html, plots and images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ad_compressed_perception.core.manifest import Manifest, VerdictStatus
from ad_compressed_perception.metrics.interval import Interval
from ad_compressed_perception.report.host import describe_host
from ad_compressed_perception.report.kit.document import copied
from ad_compressed_perception.report.kit.page import HTML_NAME
from ad_compressed_perception.report.kit.rendered import Rendered
from ad_road_simulation.closed_loop.drive_markdown import render_drive
from ad_road_simulation.closed_loop.drive_schema import (
    Comparison,
    Drive,
    DriveFiles,
    DrivenRoute,
    DrivenVariant,
    DriveSettings,
    PlanLatency,
)
from ad_road_simulation.closed_loop.faulted import variant_of
from ad_road_simulation.closed_loop.images import join_images
from ad_road_simulation.closed_loop.latency import EXPERT, Latency
from ad_road_simulation.closed_loop.paired import compare, summarize
from ad_road_simulation.closed_loop.plots import plot_differences, plot_offsets
from ad_road_simulation.closed_loop.route_metrics import RouteResult

REPORT_JSON, REPORT_MD = "report.json", "report.md"

Driven = Mapping[str, Mapping[int, RouteResult]]


@dataclass(frozen=True)
class DriveReport:
    """The result of a drive.

    Attributes:
        document: content of report.json.
        markdown: content of report.md.
        folder: of the report.
    """

    document: Drive
    markdown: str
    folder: Path

    @property
    def summary(self) -> dict[str, dict[str, Interval]]:
        """Variant to metric to mean over routes."""
        return {name: one.figures for name, one in self.document.variants.items()}

    @property
    def comparisons(self) -> list[Comparison]:
        """Each further variant against the first one."""
        return self.document.comparison


def write_report(
    manifest: Manifest,
    folder: Path,
    settings: DriveSettings,
    driven: Driven,
    latencies: Mapping[str, Latency],
) -> DriveReport:
    """Compare the variants with the first one and write everything into a folder.

    Args:
        manifest: the model.
        folder: of the report; must exist.
        settings: requested options, for the report.
        driven: variant to seed to result; the first one is the reference.
        latencies: variant to the milliseconds from which the latencies of its plans were drawn.
    """
    names = list(driven)
    comparisons = [compare(name, names[0], driven[name], driven[names[0]]) for name in names[1:]]
    offsets = plot_offsets(driven, folder / "offsets.png").name
    differences = plot_differences(comparisons, folder / "differences.png").name if comparisons else None
    document = Drive(
        model=manifest.name,
        settings=settings,
        variants={
            name: DrivenVariant(
                gate=_gate(manifest, name),
                routes=len(driven[name]),
                endings=_endings(driven[name]),
                latency_ms=_latency_percentiles(latencies[name]),
                images=_images(driven[name]),
                figures=summarize(list(driven[name].values())),
            )
            for name in names
        },
        comparison=comparisons,
        routes=[copied(DrivenRoute, result) for name in names for result in driven[name].values()],
        files=DriveFiles(
            offsets=offsets,
            differences=differences,
            images=[path.name for path in join_images(folder, names)],
        ),
        host=describe_host(),
    )
    rendered = render_drive(document)
    document.write(folder / REPORT_JSON)
    rendered.write_markdown(folder / REPORT_MD)
    rendered.write_page(folder / HTML_NAME)
    return DriveReport(document, rendered.markdown, folder)


def render_document(text: bytes, where: str, folder: Path) -> Rendered:
    """Render a drive's report.json; its plots and images stay as they are.

    Raises:
        DataError: it is no such document; one line.
    """
    return render_drive(Drive.parse(text, where))


def _gate(manifest: Manifest, name: str) -> VerdictStatus | None:
    """Return the accept gate's verdict on a variant; None where it has none."""
    verdict = manifest.variant(variant_of(name)).verdict if name != EXPERT else None
    return verdict.status if verdict else None


def _endings(results: Mapping[int, RouteResult]) -> dict[str, int]:
    endings = [result.ending for result in results.values()]
    return {name: endings.count(name) for name in dict.fromkeys(endings)}


def _images(results: Mapping[int, RouteResult]) -> dict[str, int]:
    keys = dict.fromkeys(("taken", "planned", "dropped", "failed"))
    for result in results.values():
        keys |= dict.fromkeys(result.images)
    return {key: sum(result.images.get(key, 0) for result in results.values()) for key in keys}


def _latency_percentiles(latency_ms: Latency) -> PlanLatency:
    p50, p99 = np.percentile(latency_ms, [50, 99]).tolist() if latency_ms else (0.0, 0.0)
    return PlanLatency(p50=p50, p99=p99)
