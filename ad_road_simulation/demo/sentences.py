# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One-sentence summaries of the results."""

from __future__ import annotations

import math

from ad_compressed_perception.analysis.evaluate import Figure
from ad_compressed_perception.report.schema import Report
from ad_road_simulation.closed_loop.report import DriveReport
from ad_road_simulation.demo.accuracy import DATA, AccuracyResult
from ad_road_simulation.demo.demo_models import DemoModel
from ad_road_simulation.demo.tables import interval, megabytes, metric_label, replayed_variant


def speed_sentence(model: DemoModel, report: Report) -> str:
    """Return speed and file size of the compressed variant relative to the baseline."""
    baseline, name = model.manifest.baseline, model.compressed
    sizes = megabytes(model, baseline), megabytes(model, name)
    size = f"its file is {sizes[1] / sizes[0]:.2f}x as large ({sizes[1]:.1f} instead of {sizes[0]:.1f} MB)"
    before, after = (_medians(model, one, report) for one in (baseline, name))
    if before is None or after is None:
        return f"`{name}` was not timed; {size}."
    ratio = before[0] / after[0]
    speed = f"{ratio:.1f}x as fast" if ratio >= 1.0 else f"slower, {ratio:.2f}x as fast"
    return (
        f"`{name}` is {speed} (inference {after[0]:.1f} instead of {before[0]:.1f} ms, end to end "
        f"{after[1]:.1f} instead of {before[1]:.1f} ms); {size}."
    )


def _medians(model: DemoModel, name: str, report: Report) -> tuple[float, float] | None:
    """Return the medians of inference and end-to-end time in ms; None where they were not measured."""
    one = replayed_variant(model, name, report)
    infer = one.stages_ms.get("infer") if one is not None else None
    if one is None or infer is None or not infer.p50 or one.end_to_end_ms.p50 is None:
        return None
    return infer.p50, one.end_to_end_ms.p50


def accuracy_sentence(model: DemoModel, accuracy: AccuracyResult) -> str:
    """Return the accuracy of the compressed variant, and whether the difference is significant."""
    baseline, name = model.manifest.baseline, model.compressed
    for data in DATA:
        results = accuracy.results.get(data, {})
        if baseline not in results or name not in results:
            continue
        key = next(iter(results[name].figures))
        before, after = results[baseline].figures[key].value, results[name].figures[key].value
        if not (math.isfinite(before) and math.isfinite(after)):
            continue
        words, unit = metric_label(key)
        difference = accuracy.differences[data][name][key]
        verdict = describe_difference(difference, lower_is_better=key in results[name].score.lower_is_better)
        after_text = f"{after:.3f} {unit}".strip()
        return (
            f"Against the ground truth: {words} {after_text} instead of {before:.3f}, "
            f"{interval(difference, sign='+')}, {verdict}."
        )
    return "It could not be compared with the ground truth."


def describe_difference(difference: Figure, *, lower_is_better: bool) -> str:
    """Return the interpretation of a difference to the baseline by its interval, as text."""
    low, high = (-difference.high, -difference.low) if lower_is_better else (difference.low, difference.high)
    if math.isnan(low) or math.isnan(high):
        return "without an interval"
    if low == high == 0.0:
        return "no difference"
    if high < 0.0:
        return "a significant loss"
    return "a significant gain" if low > 0.0 else "not significant"


def driving_sentence(driven: DriveReport) -> str:
    """Return how many routes each variant finished, with the number of departures and collisions."""
    routes = driven.comparisons[0].routes
    parts = []
    for name, figures in driven.summary.items():
        finished = driven.document["variants"][name]["endings"].get("finished", 0)
        events = round(figures["events"].mean * routes)
        parts.append(f"`{name}` {finished} ({events})")
    return f"routes finished of {routes} (lane departures and collisions): {', '.join(parts)}."
