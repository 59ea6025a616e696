# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The report of a drive: report.json, report.md, report.html, plots and images."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.report.host import describe_host
from ad_compressed_perception.report.html_page import HTML_NAME, write_page
from ad_compressed_perception.report.rendered import Rendered
from ad_road_simulation.closed_loop.drive_markdown import SCHEMA, render_drive
from ad_road_simulation.closed_loop.images import join_images
from ad_road_simulation.closed_loop.latency import EXPERT, Latency
from ad_road_simulation.closed_loop.paired import Comparison, MeanInterval, compare, summarize
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
        summary: variant to metric to mean over routes.
        comparisons: of each further variant with the first one.
        folder: of the report.
    """

    document: dict[str, Any]
    markdown: str
    summary: dict[str, dict[str, MeanInterval]]
    comparisons: tuple[Comparison, ...]
    folder: Path

    def to_json(self) -> str:
        """Return the text of report.json."""
        return json.dumps(self.document, indent=2, allow_nan=False)


def write_report(
    manifest: Manifest,
    folder: Path,
    settings: Mapping[str, Any],
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
    summary = {name: summarize(list(driven[name].values())) for name in names}
    comparisons = tuple(compare(name, names[0], driven[name], driven[names[0]]) for name in names[1:])
    figures = {"offsets": plot_offsets(driven, folder / "offsets.png").name}
    if comparisons:
        figures["differences"] = plot_differences(comparisons, folder / "differences.png").name
    images = [path.name for path in join_images(folder, names)]
    document = {
        "schema": SCHEMA,
        "model": manifest.name,
        "settings": dict(settings),
        "variants": {
            name: {
                "gate": _gate(manifest, name),
                "routes": len(driven[name]),
                "endings": _endings(driven[name]),
                "latency_ms": _latency_percentiles(latencies[name]),
                "images": _images(driven[name]),
                "figures": {key: asdict(value) for key, value in summary[name].items()},
            }
            for name in names
        },
        "comparison": [comparison.as_dict() for comparison in comparisons],
        "routes": [
            {key: value for key, value in result.as_dict().items() if key != "offsets_m"}
            for name in names
            for result in driven[name].values()
        ],
        "files": {**figures, "images": images},
        "host": describe_host().model_dump(mode="json"),
    }
    document = _plain(document)
    rendered = render_drive(document)
    report = DriveReport(document, rendered.markdown, summary, comparisons, folder)
    (folder / REPORT_JSON).write_text(report.to_json() + "\n", encoding="utf-8")
    (folder / REPORT_MD).write_text(rendered.markdown, encoding="utf-8")
    write_page(folder / HTML_NAME, rendered.markdown, rendered.findings)
    return report


def render_document(text: bytes, where: str, folder: Path) -> Rendered:
    """Render a drive's report.json; its plots and images stay as they are.

    Raises:
        DataError: it is no such document; one line.
    """
    try:
        return render_drive(json.loads(text))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where} is no {SCHEMA}: {type(error).__name__} {error}") from error


def _gate(manifest: Manifest, name: str) -> str | None:
    """Return the accept gate's verdict on a variant; None where it has none."""
    verdict = manifest.variant(name).verdict if name != EXPERT else None
    return verdict.status if verdict else None


def _endings(results: Mapping[int, RouteResult]) -> dict[str, int]:
    endings = [result.ending for result in results.values()]
    return {name: endings.count(name) for name in dict.fromkeys(endings)}


def _images(results: Mapping[int, RouteResult]) -> dict[str, int]:
    keys = ("taken", "planned", "dropped", "failed")
    return {key: sum(result.images[key] for result in results.values()) for key in keys}


def _latency_percentiles(latency_ms: Latency) -> dict[str, float]:
    p50, p99 = np.percentile(latency_ms, [50, 99]).tolist() if latency_ms else (0.0, 0.0)
    return {"p50": p50, "p99": p99}


def _plain(value: Any) -> Any:
    """Return a value with NaN and infinities replaced by None: JSON has neither."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
