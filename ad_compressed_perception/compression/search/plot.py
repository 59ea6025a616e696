# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The front as a picture: drop against time, the size of a mark for the size of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ad_compressed_perception.compression.search.search import SearchResult
from ad_compressed_perception.compression.search.trial import Trial

_COLOURS = {"onnxruntime": "#0072B2", "openvino": "#D55E00", "litert": "#009E73"}
_OTHER = "#CC79A7"
_DPI = 110


def write_front(result: SearchResult, path: Path) -> Path:
    """Draw every measured candidate as a PNG: filled on the front, hollow beside it, the winner ringed.

    Left is faster and down is nearer to the baseline; the band is what the budget allows.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 6.2), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axis: Any = figure.add_subplot()
    measured = [trial for trial in result.trials if trial.is_measured]
    highest = max([trial.drop.drop for trial in measured if trial.drop] + [result.budget.drop])
    axis.axhspan(-0.02 * highest, result.budget.drop, color="#009E73", alpha=0.10, lw=0)
    axis.axhline(result.budget.drop, color="#009E73", lw=1.0, ls="--")
    axis.annotate(f"allowed drop {result.budget.drop:g}", (1.0, result.budget.drop), color="#00674B",
                  xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=9)  # fmt: skip
    for trial in measured:
        _mark(axis, trial, result)
    axis.scatter([1.0], [0.0], marker="s", s=110, color="black", zorder=4)
    axis.annotate("baseline", (1.0, 0.0), xytext=(-6, 8), textcoords="offset points", ha="right", fontsize=9)
    _name(axis, [trial for trial in measured if trial.name in result.choice.front], result)
    axis.set_xscale("log")
    axis.set_xlabel("99th percentile, frame to result, as a share of the baseline's in the same turns")
    axis.set_ylabel("drop (bars: 95 % interval)")
    axis.set_title(
        f"{result.manifest.name}: {len(measured)} of {len(result.trials)} candidates measured, "
        f"{len(result.frames.search)} search frames",
        loc="left", fontweight="bold", fontsize=11,
    )  # fmt: skip
    axis.grid(alpha=0.3)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    ticks = [0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0]
    low, high = axis.get_xlim()
    shown = [tick for tick in ticks if low <= tick <= high]
    axis.set_xticks(shown, [f"{tick:g}" for tick in shown])
    axis.minorticks_off()
    _legend(axis, measured)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
    return path


def _mark(axis: Any, trial: Trial, result: SearchResult) -> None:
    drop, speed = trial.drop, trial.speed
    assert drop is not None and speed is not None
    colour = _COLOURS.get(trial.candidate.backend, _OTHER)
    on_front = trial.name in result.choice.front
    x, area = speed.p99_share, 30.0 + 170.0 * min(trial.size, 1.5)
    axis.vlines(x, drop.low, drop.high, color=colour, lw=1.0, alpha=0.8 if on_front else 0.25)
    axis.scatter([x], [drop.drop], s=area, facecolors=colour if on_front else "none", edgecolors=colour,
                 alpha=0.9 if on_front else 0.45, lw=1.2, zorder=3)  # fmt: skip
    if trial is result.choice.winner:
        axis.scatter(
            [x], [drop.drop], s=area + 220.0, facecolors="none", edgecolors="black", lw=1.8, zorder=5
        )


def _name(axis: Any, members: list[Trial], result: SearchResult) -> None:
    """Write the names of the front's members, above and below in turns so that neighbours stay apart."""
    for number, trial in enumerate(
        sorted(members, key=lambda one: one.speed.p99_share if one.speed else 0.0)
    ):
        assert trial.drop is not None and trial.speed is not None
        above = number % 2 == 0
        axis.annotate(
            trial.name, (trial.speed.p99_share, trial.drop.drop), xytext=(8, 12 if above else -18),
            textcoords="offset points", fontsize=8, rotation=12 if above else -12,
            fontweight="bold" if trial is result.choice.winner else "normal",
        )  # fmt: skip


def _legend(axis: Any, measured: list[Trial]) -> None:
    backends = sorted({trial.candidate.backend for trial in measured})
    for backend in backends:
        axis.scatter([], [], s=90, color=_COLOURS.get(backend, _OTHER), label=backend)
    axis.scatter([], [], s=90, facecolors="none", edgecolors="#555555", label="not on the front")
    axis.scatter([], [], s=160, facecolors="none", edgecolors="black", lw=1.8, label="winner")
    for size in (1.0, 0.25):
        axis.scatter([], [], s=30.0 + 170.0 * size, facecolors="#bbbbbb", label=f"size {size:g}")
    axis.legend(loc="upper right", fontsize=8, frameon=True)
