# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plots of a compression's report, drawn from report.json alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.analysis.plots.style import COLORS, draw_distribution, new_figure, save_figure
from ad_compressed_perception.metrics.interval import Interval
from ad_compressed_perception.report.schemas.compression import CompressionReport

_COST_WORDS = {
    "stored_bytes": "size as stored",
    "file_bytes": "file the runtime reads",
    "peak_bytes": "peak memory",
    "running_bytes": "memory to run it",
    "macs": "multiply-accumulates",
    "parameters": "parameters",
}
_KIND_LOOK = {
    "quantized": ("quantized", COLORS[0], "o"),
    "weights only": ("weights only", COLORS[2], "s"),
    "float": ("stays in float", COLORS[1], "D"),
}
_MOST_NAMED_LAYERS = 60
_TOP_DB = 80.0


def write_compression_plots(report: CompressionReport, folder: Path) -> list[str]:
    """Draw every plot that the report has data for into ``folder``; return the file names."""
    written = [plot_costs(report, folder / "costs.png")]
    if any(value is not None for value in report.frames.baseline_ms):
        written.append(plot_times(report, folder / "latency.png"))
    written.append(plot_slices(report, folder / "slices.png"))
    if any(value is not None for value in report.frames.difference):
        written.append(plot_differences(report, folder / "differences.png"))
    if any(layer.sqnr_db is not None for layer in report.layers):
        written.append(plot_layers(report, folder / "layers.png"))
    return [path.name for path in written]


def plot_costs(report: CompressionReport, path: Path) -> Path:
    """Draw size, memory and time of the variant as shares of the baseline's."""
    bars: list[tuple[str, float]] = []
    for key, words in _COST_WORDS.items():
        ratio = getattr(report.costs, key).ratio
        if ratio is not None:
            bars.append((words, ratio))
    for words, timing in (
        ("inference p50", report.latency.infer),
        ("frame to result p50", report.latency.end_to_end),
    ):
        if timing.baseline_p50_ms and timing.variant_p50_ms:
            bars.append((words, timing.variant_p50_ms / timing.baseline_p50_ms))
    figure, axes = new_figure(1, 1, width=9.0, row_height=0.9 + 0.42 * len(bars))
    axis = axes[0, 0]
    places = np.arange(len(bars))
    values = [ratio for _, ratio in bars]
    axis.barh(places, values, height=0.7, color=[COLORS[0] if v <= 1.0 else COLORS[1] for v in values])
    right = max(1.0, *values)
    for place, value in zip(places, values, strict=True):
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        axis.text(value + 0.012 * right, place, f"{value:.2f}", va="center", fontsize=9, bbox=box)
    axis.axvline(1.0, color="#666666", linewidth=1.2)
    axis.set_yticks(places, [words for words, _ in bars])
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlim(0.0, right * 1.1)
    axis.set_xlabel(f"share of {report.baseline.name} (gray line: the same)")
    return save_figure(figure, path, f"Size, memory and time of {report.variant.name}")


def plot_times(report: CompressionReport, path: Path) -> Path:
    """Draw the cumulative distributions of the times of inference and end to end, both models."""
    figure, axes = new_figure(1, 2, width=11.0, row_height=3.4)
    frames = report.frames
    stages = (
        ("inference", frames.baseline_ms, frames.variant_ms),
        ("frame to result", frames.baseline_end_to_end_ms, frames.variant_end_to_end_ms),
    )
    for axis, (words, baseline, variant) in zip(axes[0], stages, strict=True):
        named = {report.baseline.name: _numbers(baseline), report.variant.name: _numbers(variant)}
        draw_distribution(axis, {name: np.sort(values) for name, values in named.items() if values.size})
        axis.set_title(words, loc="left", fontweight="bold")
        axis.set_xlabel("milliseconds per frame")
    axes[0, 0].set_ylabel("share of frames done")
    return save_figure(figure, path, "Times of every frame, interleaved (circle: p50, diamond: p99)")


def plot_slices(report: CompressionReport, path: Path) -> Path:
    """Draw the drops over all frames and in each slice with their intervals, and the allowed drop."""
    found, accuracy = report.agreement, report.accuracy
    rows = [("all frames", found.frames, found.drop)]
    rows += [(one.title, one.frames, one.drop) for one in found.slices]
    panels: list[tuple[str, str, list[tuple[str, int, Interval]], Any]] = [
        (f"without labels: {found.measure}", "drop", rows, report.gate.terms.get("max_drop"))
    ]
    if accuracy is not None:
        compared = accuracy.figures[accuracy.metric]
        labeled = [("all frames", accuracy.frames, compared.drop)]
        labeled += [(one.title, one.frames, one.figures[accuracy.metric].drop) for one in accuracy.slices]
        title = f"with labels: {accuracy.metric}"
        limit = report.gate.terms.get("max_accuracy_drop")
        panels.append((title, f"drop, {compared.unit}", labeled, limit))
    longest = max(len(panel[2]) for panel in panels)
    figure, axes = new_figure(1, len(panels), width=5.8 * len(panels), row_height=1.6 + 0.5 * longest)
    for axis, (title, unit, lines, limit) in zip(axes[0], panels, strict=True):
        _draw_drops(axis, lines, limit)
        axis.set_title(title, loc="left", fontweight="bold", fontsize=10)
        axis.set_xlabel(f"{unit} (further right is worse)")
    return save_figure(figure, path, "Loss by compression, with 95 % intervals")


def plot_differences(report: CompressionReport, path: Path) -> Path:
    """Draw the difference of each frame, and mark the frames whose images are in the report."""
    figure, axes = new_figure(1, 1, width=11.0, row_height=3.2)
    axis = axes[0, 0]
    series = report.frames
    stamps = np.array(series.stamp_ns, np.float64)
    seconds = (stamps - stamps.min()) / 1e9
    # A folder of images without stamps counts its images instead.
    by_time = seconds.max() >= 1e-3
    x = seconds if by_time else np.arange(stamps.size, dtype=np.float64)
    y = _numbers(series.difference)
    axis.plot(x, y, "o", color=COLORS[0], markersize=4, alpha=0.7, label="frame")
    shown = [one.place for one in report.worst_frames if math.isfinite(y[one.place])]
    if shown:
        axis.plot(x[shown], y[shown], "o", color=COLORS[1], markersize=8, label="image in the report")
    axis.set_xlabel("seconds since the first frame" if by_time else "frame")
    axis.set_ylabel("difference")
    axis.set_ylim(bottom=min(0.0, -0.03 * float(np.nanmax(y))))
    axis.margins(x=0.02)
    axis.legend(loc="upper right", frameon=True, framealpha=0.85, fontsize=9)
    return save_figure(figure, path, f"Difference of the results: {report.agreement.difference_unit}")


def plot_layers(report: CompressionReport, path: Path) -> Path:
    """Draw the signal to noise ratio of every compute op's output, in the order of execution."""
    layers = report.layers
    figure, axes = new_figure(1, 1, width=12.0, row_height=5.2 if len(layers) <= _MOST_NAMED_LAYERS else 4.0)
    axis = axes[0, 0]
    values = _numbers([layer.sqnr_db for layer in layers])
    beyond = values > _TOP_DB
    shown = np.minimum(values, _TOP_DB)
    places = np.arange(len(layers))
    axis.plot(places, shown, "-", color="#bbbbbb", linewidth=1.0, zorder=1)
    for kind, (words, color, marker) in _KIND_LOOK.items():
        mine = np.array([layer.kind == kind for layer in layers])
        if mine.any():
            label = f"{words}: {int(mine.sum())}"
            axis.plot(places[mine], shown[mine], marker, color=color, markersize=5, label=label)
    for place in places[beyond]:
        axis.annotate("", (place, _TOP_DB + 2.5), (place, _TOP_DB), arrowprops={"arrowstyle": "->"})
    if len(layers) <= _MOST_NAMED_LAYERS:
        names = [_short(layer.name) for layer in layers]
        axis.set_xticks(places, names, rotation=90, fontsize=7)
    else:
        axis.set_xlabel("convolutions and matrix products, in the order of execution")
    _name_lowest(axis, layers, shown)
    axis.set_ylabel("SQNR of its output, dB")
    axis.margins(x=0.01)
    axis.set_ylim(float(np.nanmin(shown)) - 5.0, float(np.nanmax(shown)) + 6.0)
    axis.legend(loc="upper right", frameon=True, framealpha=0.85, fontsize=9)
    arrows = f"; arrows: above {_TOP_DB:.0f} dB" if beyond.any() else ""
    return save_figure(figure, path, f"Signal to quantization noise, layer by layer (6 dB: one bit{arrows})")


def _name_lowest(axis: Any, layers: list[Any], shown: NDArray[np.float64]) -> None:
    """Write the names of the noisiest layers beside them, where the axis does not name all."""
    if len(layers) <= _MOST_NAMED_LAYERS:
        return
    known = np.flatnonzero(np.isfinite(shown))
    named: list[int] = []
    for place in known[np.argsort(shown[known], kind="stable")]:
        # Names of neighbors would lie on each other.
        if all(abs(place - other) > len(layers) / 8 for other in named):
            named.append(int(place))
        if len(named) == 3:
            break
    for place in named:
        axis.annotate(
            _short(layers[place].name),
            (place, shown[place]),
            xytext=(4, -12),
            textcoords="offset points",
            fontsize=8,
            ha="left" if place < 0.8 * len(layers) else "right",
        )


def _draw_drops(axis: Any, rows: list[tuple[str, int, Interval]], limit: float | None) -> None:
    places = np.arange(len(rows))
    for place, (_, _, drop) in zip(places, rows, strict=True):
        value = drop.value
        if math.isnan(value):
            axis.text(0.0, place, "undefined", va="center", fontsize=9)
            continue
        low, high = drop.low, drop.high
        beyond = limit is not None and low > limit
        color = COLORS[1] if beyond else COLORS[0]
        axis.plot([low, high], [place, place], "-", color=color, linewidth=2.2, solid_capstyle="butt")
        axis.plot(value, place, "o", color=color, markersize=7, markeredgecolor="white")
    axis.axvline(0.0, color="#666666", linewidth=1.0)
    if limit is not None:
        axis.axvline(limit, color="#000000", linewidth=1.2, linestyle="--")
        axis.text(limit, -0.62, f" allowed {limit:g}", fontsize=9, va="center")
    axis.set_yticks(places, [f"{title}\n({frames} frames)" for title, frames, _ in rows], fontsize=9)
    axis.set_ylim(len(rows) - 0.5, -0.9)
    axis.grid(axis="y", visible=False)
    axis.margins(x=0.08)


def _numbers(values: list[float | None]) -> NDArray[np.float64]:
    return np.array(values, np.float64)  # None becomes NaN


def _short(name: str, length: int = 34) -> str:
    return name if len(name) <= length else f"...{name[-length + 3 :]}"
