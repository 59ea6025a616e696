# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the figures mean, in a sentence each."""

from __future__ import annotations

import math

from ad_compressed_perception.analysis.evaluate import Figure
from ad_compressed_perception.report.schema import Report
from ad_road_simulation.closed_loop.report import DriveReport
from ad_road_simulation.demo.accuracy import DATA, Judged
from ad_road_simulation.demo.subjects import Subject
from ad_road_simulation.demo.tables import figure_words, interval, megabytes, replayed_variant


def speed_sentence(subject: Subject, report: Report) -> str:
    """Return how much faster and smaller the compressed variant is."""
    baseline, name = subject.manifest.baseline, subject.compressed
    sizes = megabytes(subject, baseline), megabytes(subject, name)
    size = f"its file is {sizes[1] / sizes[0]:.2f}x as large ({sizes[1]:.1f} instead of {sizes[0]:.1f} MB)"
    before, after = (_medians(subject, one, report) for one in (baseline, name))
    if before is None or after is None:
        return f"`{name}` was not timed; {size}."
    ratio = before[0] / after[0]
    speed = f"{ratio:.1f}x as fast" if ratio >= 1.0 else f"slower, {ratio:.2f}x as fast"
    return (
        f"`{name}` is {speed} (inference {after[0]:.1f} instead of {before[0]:.1f} ms, the whole way "
        f"{after[1]:.1f} instead of {before[1]:.1f} ms); {size}."
    )


def _medians(subject: Subject, name: str, report: Report) -> tuple[float, float] | None:
    """Return the medians of inference and of the whole way, ms; None where they were not measured."""
    one = replayed_variant(subject, name, report)
    infer = one.stages_ms.get("infer") if one is not None else None
    if one is None or infer is None or not infer.p50 or one.end_to_end_ms.p50 is None:
        return None
    return infer.p50, one.end_to_end_ms.p50


def accuracy_sentence(subject: Subject, judged: Judged) -> str:
    """Return what the compressed variant lost against the ground truth, and whether chance could have done it."""
    baseline, name = subject.manifest.baseline, subject.compressed
    for data in DATA:
        results = judged.results.get(data, {})
        if baseline not in results or name not in results:
            continue
        key = next(iter(results[name].figures))
        before, after = results[baseline].figures[key].value, results[name].figures[key].value
        if not (math.isfinite(before) and math.isfinite(after)):
            continue
        words, unit = figure_words(key)
        difference = judged.differences[data][name][key]
        said = judgment(difference, lower_is_better=key in results[name].score.lower_is_better)
        after_text = f"{after:.3f} {unit}".strip()
        return (
            f"Against the ground truth: {words} {after_text} instead of {before:.3f}, "
            f"{interval(difference, sign='+')}, {said}."
        )
    return "It could not be compared with the ground truth."


def judgment(difference: Figure, *, lower_is_better: bool) -> str:
    """Return what the interval of a difference to the baseline says in words."""
    low, high = (-difference.high, -difference.low) if lower_is_better else (difference.low, difference.high)
    if math.isnan(low) or math.isnan(high):
        return "of which nothing can be said"
    if low == high == 0.0:
        return "no difference"
    if high < 0.0:
        return "a loss beyond chance"
    return "a gain beyond chance" if low > 0.0 else "which may be chance"


def driving_sentence(driven: DriveReport) -> str:
    """Return how many routes everybody finished, and with how many departures and collisions."""
    routes = driven.comparisons[0].routes
    parts = []
    for name, figures in driven.summary.items():
        finished = driven.document["variants"][name]["endings"].get("finished", 0)
        events = round(figures["events"].mean * routes)
        parts.append(f"`{name}` {finished} ({events})")
    return f"routes finished of {routes} (lane departures and collisions): {', '.join(parts)}."
