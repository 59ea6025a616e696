# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of the demo's report."""

from __future__ import annotations

import math

from ad_compressed_perception.analysis.evaluate import Figure
from ad_compressed_perception.replay.plan import BASELINE
from ad_compressed_perception.report.markdown import agreement_text, speedup_text
from ad_compressed_perception.report.markdown_text import table
from ad_compressed_perception.report.schema import Report, VariantReport
from ad_road_simulation.closed_loop.report import DriveReport
from ad_road_simulation.closed_loop.route_metrics import METRICS
from ad_road_simulation.demo.accuracy import AccuracyResult
from ad_road_simulation.demo.demo_models import DemoModel

NONE = "–"
_FIGURES = {
    "map": ("mAP", ""),
    "ap50": ("AP50", ""),
    "miou": ("mean IoU", ""),
    "ade_m": ("ADE", "m"),
    "fde_m": ("FDE", "m"),
    "rmse_rad": ("steering RMSE", "rad"),
}
_LEFT_OUT = ("iou_background", "mae_rad", "correlation")
"""Figures that are not in the table; accuracy.json has them."""
_DRIVEN = (
    "completion",
    "departures",
    "collisions",
    "red_lights",
    "stops_missed",
    "stuck",
    "lateral_rmse_m",
    "jerk_rms_mps3",
    "mean_speed_mps",
)


def metric_label(name: str) -> tuple[str, str]:
    """Return the name of a figure and its unit, which may be empty."""
    return _FIGURES.get(name, (name.replace("iou_", "IoU ").replace("_", " "), ""))


def metric_title(name: str) -> str:
    """Return a figure's name with its unit."""
    return ", ".join(filter(None, metric_label(name)))


def replayed_variant(model: DemoModel, name: str, report: Report) -> VariantReport | None:
    """Return a variant's part of the replay report; None where it was not replayed."""
    key = BASELINE if name == model.manifest.baseline else name
    return report.tasks[model.task].variants.get(key) if model.task in report.tasks else None


def megabytes(model: DemoModel, name: str) -> float:
    """Return the file size of a variant in megabytes."""
    return model.manifest.variant_path(name).stat().st_size / 1e6


def speed_table(model: DemoModel, report: Report) -> str:
    """Return time and size of every variant."""
    rows = []
    for name in model.variants:
        entry, one = model.manifest.variant(name), replayed_variant(model, name, report)
        comparison = report.tasks[model.task].comparison.get(name) if one is not None else None
        infer = one.stages_ms.get("infer") if one is not None else None
        runtime = one.backend if one is not None and one.backend else entry.backend
        precision = one.precision if one is not None and one.precision else entry.precision
        rows.append(
            (
                variant_cell(model, name),
                entry.verdict.status if entry.verdict else NONE,
                f"{runtime}, {precision}",
                f"{megabytes(model, name):.2f}",
                _ms(infer.p50 if infer else None),
                _ms(infer.p99 if infer else None),
                _ms(one.end_to_end_ms.p50 if one is not None else None),
                speedup_text(comparison.speedup_infer_p50) if comparison else NONE,
                agreement_text(comparison) if comparison else NONE,
            )
        )
    head = ("variant", "gate", "runs as", "file, MB", "inference p50", "p99", "end to end p50", "speed-up")
    return table((*head, "agreement"), rows)


def variant_cell(model: DemoModel, name: str) -> str:
    """Return a variant's name, in bold for the two compared ones."""
    is_compared = name in (model.manifest.baseline, model.compressed)
    return f"**`{name}`**" if is_compared else f"`{name}`"


def accuracy_table(model: DemoModel, accuracy: AccuracyResult) -> str:
    """Return every variant's figures on each recording, with the difference to the baseline."""
    figures = next(iter(next(iter(accuracy.results.values())).values())).figures
    names = [name for name in figures if name not in _LEFT_OUT]
    rows = []
    for data, results in accuracy.results.items():
        for variant, result in results.items():
            difference = accuracy.differences[data].get(variant, {}).get(names[0])
            rows.append(
                (
                    f"{data} ({len(result.indices)})",
                    variant_cell(model, variant),
                    *(interval(result.figures[name]) for name in names),
                    interval(difference, sign="+") if difference is not None else NONE,
                )
            )
    head = (
        "images",
        "variant",
        *map(metric_title, names),
        f"{metric_title(names[0])}: difference to baseline",
    )
    return table(head, rows)


def driving_table(driven: DriveReport) -> str:
    """Return the mean metrics per route of each variant."""
    names = list(driven.summary)
    variants = driven.document["variants"]
    rows = []
    for key in _DRIVEN:
        figure = METRICS[key]
        title = f"{figure.title}, {figure.unit}" if figure.unit else figure.title
        rows.append((title, *(_plain(driven.summary[name][key].mean) for name in names)))
    times = [variants[name]["latency_ms"] for name in names]
    rows.append(("latency of a plan p50, ms", *(_plain(one["p50"]) if one["p50"] else NONE for one in times)))
    endings = [variants[name]["endings"] for name in names]
    rows.append(
        ("endings", *(", ".join(f"{ending} {count}" for ending, count in one.items()) for one in endings))
    )
    return table(("mean per route", *(f"`{name}`" for name in names)), rows)


def interval(figure: Figure, sign: str = "") -> str:
    """Return a figure with its interval."""
    if not math.isfinite(figure.value):
        return NONE
    low, high = (NONE if math.isnan(end) else format(end, f"{sign}.3f") for end in (figure.low, figure.high))
    return f"{figure.value:{sign}.3f} [{low}, {high}]"


def _ms(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f}"


def _plain(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else NONE
