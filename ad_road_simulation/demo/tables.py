# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of the demo's report."""

from __future__ import annotations

import math

from ad_compressed_perception.analysis.evaluate import Figure
from ad_compressed_perception.replay.plan import BASELINE
from ad_compressed_perception.report.markdown import agreement_text, speedup_text, table
from ad_compressed_perception.report.schema import Report, VariantReport
from ad_road_simulation.closed_loop.report import DriveReport
from ad_road_simulation.closed_loop.route_metrics import FIGURES
from ad_road_simulation.demo.accuracy import Judged
from ad_road_simulation.demo.subjects import Subject

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
"""Figures that say nothing new to most readers; accuracy.json has them."""
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


def figure_words(name: str) -> tuple[str, str]:
    """Return what a figure is called, and its unit, which may be empty."""
    return _FIGURES.get(name, (name.replace("iou_", "IoU ").replace("_", " "), ""))


def figure_title(name: str) -> str:
    """Return a figure's name with its unit."""
    return ", ".join(filter(None, figure_words(name)))


def replayed_variant(subject: Subject, name: str, report: Report) -> VariantReport | None:
    """Return a variant's part of the replay's report; None where it did not take part."""
    key = BASELINE if name == subject.manifest.baseline else name
    return report.tasks[subject.task].variants.get(key) if subject.task in report.tasks else None


def megabytes(subject: Subject, name: str) -> float:
    """Return the size of a variant's file."""
    return subject.manifest.variant_path(name).stat().st_size / 1e6


def speed_table(subject: Subject, report: Report) -> str:
    """Return time and size of every variant."""
    rows = []
    for name in subject.variants:
        entry, one = subject.manifest.variant(name), replayed_variant(subject, name, report)
        comparison = report.tasks[subject.task].comparison.get(name) if one is not None else None
        infer = one.stages_ms.get("infer") if one is not None else None
        runtime = one.backend if one is not None and one.backend else entry.backend
        precision = one.precision if one is not None and one.precision else entry.precision
        rows.append(
            (
                variant_cell(subject, name),
                entry.verdict.status if entry.verdict else NONE,
                f"{runtime}, {precision}",
                f"{megabytes(subject, name):.2f}",
                _ms(infer.p50 if infer else None),
                _ms(infer.p99 if infer else None),
                _ms(one.end_to_end_ms.p50 if one is not None else None),
                speedup_text(comparison.speedup_infer_p50) if comparison else NONE,
                agreement_text(comparison) if comparison else NONE,
            )
        )
    head = ("variant", "gate", "runs as", "file, MB", "inference p50", "p99", "whole way p50", "speed-up")
    return table((*head, "same answers"), rows)


def variant_cell(subject: Subject, name: str) -> str:
    """Return a variant's name, the two that were compared in bold."""
    is_compared = name in (subject.manifest.baseline, subject.compressed)
    return f"**`{name}`**" if is_compared else f"`{name}`"


def accuracy_table(subject: Subject, judged: Judged) -> str:
    """Return every variant's figures on each recording, with what differs from the baseline."""
    figures = next(iter(next(iter(judged.results.values())).values())).figures
    names = [name for name in figures if name not in _LEFT_OUT]
    rows = []
    for data, results in judged.results.items():
        for variant, result in results.items():
            difference = judged.differences[data].get(variant, {}).get(names[0])
            rows.append(
                (
                    f"{data} ({len(result.indices)})",
                    variant_cell(subject, variant),
                    *(interval(result.figures[name]) for name in names),
                    interval(difference, sign="+") if difference is not None else NONE,
                )
            )
    head = (
        "images",
        "variant",
        *map(figure_title, names),
        f"{figure_title(names[0])}: difference to baseline",
    )
    return table(head, rows)


def driving_table(driven: DriveReport) -> str:
    """Return the mean of a route of everybody who drove."""
    names = list(driven.summary)
    variants = driven.document["variants"]
    rows = []
    for key in _DRIVEN:
        figure = FIGURES[key]
        title = f"{figure.title}, {figure.unit}" if figure.unit else figure.title
        rows.append((title, *(_plain(driven.summary[name][key].mean) for name in names)))
    times = [variants[name]["latency_ms"] for name in names]
    rows.append(("latency of a plan p50, ms", *(_plain(one["p50"]) if one["p50"] else NONE for one in times)))
    endings = [variants[name]["endings"] for name in names]
    rows.append(
        ("endings", *(", ".join(f"{ending} {count}" for ending, count in one.items()) for one in endings))
    )
    return table(("mean of a route", *(f"`{name}`" for name in names)), rows)


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
