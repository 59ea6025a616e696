# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the time of a frame goes: the stages one after another, above the floor and the empty hop."""

from __future__ import annotations

from pathlib import Path

from ad_compressed_perception.core.timing import STAGES
from benchmark.hot_path.arithmetic import figures, percentile
from benchmark.hot_path.measure import CellResult, Measured

_LABELS = {
    "transport_age": "publish call to callback",
    "queue_wait": "wait for the worker",
    "publish": "result to message",
    "return": "message to driver",
}
_COLORS = {"stage": "#2a6f97", "around": "#e09f3e", "reference": "#8d99ae"}
_AROUND = ("transport_age", "queue_wait", "publish", "return")
_REFERENCES = ("floor", "floor_loop", "hop", "hop_bytes")


def draw(result: CellResult, target: str, path: Path) -> bool:
    """Write a PNG of a target's stages; return False where it reported none.

    Bars are medians, each beginning where the one before ends; lines reach to the 95th percentile. Medians of
    parts need not sum to the median of the whole, which is drawn as a line of its own.
    """
    from matplotlib.figure import Figure

    one = result.targets.get(target)
    if one is None or not one.stages or not one.figures.answered:
        return False
    rows = _rows(one)
    references = [
        (name, figures(list(each.latency_ms.values())))
        for name in _REFERENCES
        if (each := result.targets.get(name)) is not None and each.figures.answered
    ]
    figure = Figure(figsize=(9.0, 0.42 * (len(rows) + len(references) + 1) + 1.3), layout="constrained")
    axes = figure.add_subplot()
    left, labels = 0.0, []
    for name, median_ms, p95_ms in rows:
        color = _COLORS["around" if name in _AROUND else "stage"]
        _bar(axes, len(labels), left, median_ms, p95_ms, color)
        left += median_ms
        labels.append(_LABELS.get(name, name))
    whole = one.figures
    _bar(axes, len(labels), 0.0, whole.p50, whole.p95, "#222222")
    labels.append(f"{target}, end to end")
    if whole.p50 < float("inf"):
        axes.axvline(whole.p50, color="#222222", linewidth=0.8, linestyle=":")
    for name, shown in references:
        _bar(axes, len(labels), 0.0, shown.p50, shown.p95, _COLORS["reference"])
        labels.append(name)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlim(left=min(0.0, min((low for _, low, _ in rows), default=0.0)))
    axes.set_xlabel("ms (bar: median, line: to the 95th percentile)")
    axes.set_title(f"{target}: {result.cell.title}, {whole.answered} of {whole.offered} frames", fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=120)
    return True


def _rows(one: Measured) -> list[tuple[str, float, float]]:
    """Return stage, median and 95th percentile in the order a frame passes them."""
    rows = []
    for name in (*STAGES, "return"):
        values = [stages[name] for stages in one.stages.values() if name in stages]
        if values:
            rows.append((name, percentile(values, 50.0), percentile(values, 95.0)))
    return rows


def _bar(axes: object, row: int, left: float, median_ms: float, p95_ms: float, color: str) -> None:
    if median_ms == float("inf"):
        axes.annotate("half of the frames are lost", (left, row), va="center", fontsize=8)  # type: ignore[attr-defined]
        return
    axes.barh(row, median_ms, left=left, color=color, height=0.62)  # type: ignore[attr-defined]
    if p95_ms < float("inf"):
        axes.plot([left + median_ms, left + p95_ms], [row, row], color=color, linewidth=1.2)  # type: ignore[attr-defined]
    end = left + max(median_ms, p95_ms if p95_ms < float("inf") else 0.0)
    axes.annotate(  # type: ignore[attr-defined]
        f"{median_ms:.2f}", (end, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
    )
