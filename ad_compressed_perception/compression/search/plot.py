# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plot of the Pareto front: drop against median time and against p99; marker area shows the file size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ad_compressed_perception.compression.search.search import SearchResult
from ad_compressed_perception.compression.search.trial import Trial

_COLORS = {"onnxruntime": "#0072B2", "openvino": "#D55E00", "litert": "#009E73"}
_OTHER = "#CC79A7"
_BAND = "#009E73"
_DPI = 110
_TICKS = np.array(
    [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.5, 2, 3, 5, 10]
)
_FEW_TICKS = 8


def write_front(result: SearchResult, path: Path) -> Path:
    """Draw every measured candidate as a PNG: filled on the front, hollow off it, a ring around the winner.

    Left is faster and down is nearer to the baseline; the band is the drop that the budget allows. The axis
    of the drop is linear up to twice that and logarithmic beyond. Members of the front are numbered, the
    fastest first; the list beside the panels names them.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15.0, 6.4), dpi=_DPI, layout="constrained")
    left, right, legend = figure.subplots(1, 3, width_ratios=(1.0, 1.0, 0.62))
    measured = [trial for trial in result.trials if trial.is_measured]
    members = [trial for name in result.choice.front for trial in measured if trial.name == name]
    for axis, tail in ((left, False), (right, True)):
        _panel(axis, measured, members, result, tail)
    left.set_ylabel("drop (bars: 95 % interval)")
    _list(legend, measured, members, result)
    figure.suptitle(
        f"{result.manifest.name}: {len(measured)} of {len(result.trials)} candidates measured, "
        f"budget {result.budget}", x=0.01, ha="left", fontweight="bold", fontsize=12,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
    return path


def _panel(axis: Any, measured: list[Trial], members: list[Trial], result: SearchResult, tail: bool) -> None:
    limit = result.budget.drop
    threshold = max(2.0 * limit, 0.01)
    axis.set_yscale("symlog", linthresh=threshold, linscale=2.0)
    axis.axhspan(-1.0, limit, color=_BAND, alpha=0.10, lw=0)
    axis.axhline(limit, color=_BAND, lw=1.0, ls="--")
    axis.annotate(f"allowed {limit:g}", (1.0, limit), xycoords=("axes fraction", "data"), color="#00674B",
                  ha="right", va="bottom", fontsize=8)  # fmt: skip
    for trial in measured:
        _mark(axis, trial, members, result, tail)
    axis.scatter([1.0], [0.0], marker="s", s=70, color="black", zorder=2)
    highest = max([trial.drop.drop for trial in measured if trial.drop] + [threshold])
    axis.set_ylim(-0.2 * threshold, 1.25 * highest)
    ticks = [0.0, limit, threshold, *(tick for tick in (0.1, 0.2, 0.5, 1.0) if threshold < tick <= highest)]
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    shown = _TICKS[(low <= _TICKS) & (high >= _TICKS)]
    shown = shown[:: max(1, -(-len(shown) // _FEW_TICKS))]
    axis.set_xticks(shown, [f"{tick:g}" for tick in shown])
    axis.minorticks_off()
    axis.set_title("99th percentile" if tail else "median", loc="left", fontsize=11)
    axis.set_xlabel("time from frame to result / the baseline's in the same rounds")
    axis.grid(alpha=0.3)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _mark(axis: Any, trial: Trial, members: list[Trial], result: SearchResult, tail: bool) -> None:
    drop, speed = trial.drop, trial.speed
    assert drop is not None and speed is not None
    color = _COLORS.get(trial.candidate.backend, _OTHER)
    on_front = trial in members
    x, area = (speed.p99_share if tail else 1.0 / speed.ratio), _area(trial.size)
    axis.vlines(x, drop.low, drop.high, color=color, lw=1.0, alpha=0.8 if on_front else 0.2)
    axis.scatter([x], [drop.drop], s=area, facecolors=color if on_front else "none", edgecolors=color,
                 alpha=0.9 if on_front else 0.4, lw=1.2, zorder=3)  # fmt: skip
    if trial is result.choice.winner:
        axis.scatter(
            [x], [drop.drop], s=area + 220.0, facecolors="none", edgecolors="black", lw=1.8, zorder=5
        )
    if on_front:
        number, place = str(members.index(trial) + 1), (x, drop.drop)
        axis.annotate(number, place, xytext=(9, 5), textcoords="offset points", ha="left", fontsize=9,
                      fontweight="bold", zorder=6)  # fmt: skip


def _list(axis: Any, measured: list[Trial], members: list[Trial], result: SearchResult) -> None:
    """Write the legend of numbers and markers."""
    axis.axis("off")
    for backend in sorted({trial.candidate.backend for trial in measured}):
        axis.scatter([], [], s=80, color=_COLORS.get(backend, _OTHER), label=backend)
    axis.scatter([], [], s=80, facecolors="none", edgecolors="#555555", label="not on the front")
    axis.scatter([], [], s=160, facecolors="none", edgecolors="black", lw=1.8, label="winner")
    axis.scatter([], [], s=70, marker="s", color="black", label="baseline")
    for size in (1.0, 0.25):
        axis.scatter([], [], s=_area(size), facecolors="#bbbbbb", label=f"size {size:g}")
    axis.legend(loc="upper left", fontsize=8, frameon=False, ncols=2)
    lines = []
    for number, trial in enumerate(members):
        assert trial.drop is not None and trial.speed is not None
        lines.append(
            f"{number + 1} {trial.name}\n   {trial.speed.ratio:.2f}x, drop {trial.drop.drop:.3f}, "
            f"size {trial.size:.2f}"
        )
    axis.text(0.0, 0.74, "\n".join(lines), transform=axis.transAxes, va="top", fontsize=8, linespacing=1.35)


def _area(size: float) -> float:
    return 30.0 + 150.0 * min(size, 1.5)
