# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plots of a replay's report: latency distributions, time by stage, agreement over time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.analysis.plots.style import draw_distribution, look, new_figure, save_figure
from ad_compressed_perception.core.timing import STAGES
from ad_compressed_perception.report.series import TaskSeries

STAGE_COLORS = {
    "transport_age": "#999999",
    "queue_wait": "#F0E442",
    "decode": "#56B4E9",
    "prepare": "#009E73",
    "infer": "#0072B2",
    "post": "#E69F00",
    "publish": "#CC79A7",
}
STAGE_WORDS = {
    "transport_age": "transport (send to arrival)",
    "queue_wait": "wait for the worker",
    "decode": "decode (message to array)",
    "prepare": "prepare (array to model input)",
    "infer": "inference",
    "post": "post (output to result)",
    "publish": "publish",
}
_SMOOTHING_FRAMES = 15


def write_plots(series: Mapping[str, TaskSeries], folder: Path) -> list[Path]:
    """Draw every plot there is data for into ``folder`` as PNG and return the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    with_frames = {task: one for task, one in series.items() if _has_frames(one)}
    written: list[Path] = []
    # The times of all heads TASK.HEAD of a model are those of the model.
    timed = {task.partition(".")[0]: one for task, one in with_frames.items()}
    if timed:
        written.append(plot_latency(timed, folder / "latency.png"))
        written.append(plot_stages(timed, folder / "stages.png"))
    compared = {task: one for task, one in with_frames.items() if any(one.agreement.values())}
    if compared:
        written.append(plot_agreement(compared, folder / "agreement.png"))
    return written


def plot_latency(series: Mapping[str, TaskSeries], path: Path) -> Path:
    """Draw the cumulative distributions of inference and end-to-end time, one row a task.

    A point (x, y) of a curve says that y of the frames took at most x. Circles mark p50, diamonds p99.
    The axis ends a little beyond the highest p99; the legend names the maximum, which may lie outside.
    """
    figure, axes = new_figure(len(series), 2, width=11.0, row_height=3.1)
    for row, (task, one) in enumerate(series.items()):
        for column, (stage, words) in enumerate((("infer", "inference"), ("end_to_end", "end to end"))):
            axis = axes[row, column]
            values = {name: np.sort(one.stage_ms(name, stage)) for name in one.timings}
            draw_distribution(axis, {name: value for name, value in values.items() if value.size})
            axis.set_title(f"{task}: {words}", loc="left", fontweight="bold")
            axis.set_xlabel("milliseconds per frame")
            if column == 0:
                axis.set_ylabel("share of frames done")
    return save_figure(figure, path, "Latency, every frame (circle: p50, diamond: p99)")


def plot_stages(series: Mapping[str, TaskSeries], path: Path) -> Path:
    """Draw the mean milliseconds of each stage as stacked bars, which add up to the mean end to end."""
    names = [(task, variant) for task, one in series.items() for variant in one.timings]
    figure, axes = new_figure(1, 1, width=11.0, row_height=1.9 + 0.5 * len(names))
    axis = axes[0, 0]
    places: list[float] = []
    texts: list[str] = []
    place = 0.0
    totals: list[float] = []
    for task, one in series.items():
        for variant in one.timings:
            places.append(place)
            texts.append(f"{task}\n{variant}")
            totals.append(_draw_stage_bar(axis, place, one, variant))
            place += 1.0
        place += 0.5
    for where, total in zip(places, totals, strict=True):
        axis.text(total + 0.01 * max(totals), where, f"{total:.1f} ms", va="center", fontsize=9)
    axis.set_yticks(places, texts, fontsize=9)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlim(right=max(max(totals) * 1.1, 1e-3))
    axis.set_xlabel("mean milliseconds per frame")
    handles = _stage_handles()
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return save_figure(figure, path, "Time of a frame by stage")


def plot_agreement(series: Mapping[str, TaskSeries], path: Path) -> Path:
    """Draw the agreement of each compressed variant with the baseline, frame by frame."""
    figure, axes = new_figure(len(series), 1, width=11.0, row_height=2.6)
    for row, (task, one) in enumerate(series.items()):
        axis = axes[row, 0]
        what = one.axis
        names = list(one.timings)
        for name, points in one.agreement.items():
            stamps = np.array([stamp for stamp, _ in points], dtype=np.int64)
            values = np.array([value for _, value in points], dtype=np.float64)
            order = np.argsort(stamps)
            seconds = (stamps[order] - one.first_stamp_ns) / 1e9
            color, line = look(names.index(name) if name in names else 1)
            axis.plot(seconds, values[order], ".", color=color, alpha=0.35, markersize=4)
            median = float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")
            axis.plot(
                seconds,
                _running_mean(values[order], _SMOOTHING_FRAMES),
                linestyle=line,
                color=color,
                linewidth=1.8,
                label=f"{name}: median {median:.3g}",
            )
        axis.axhline(what.best, color="#666666", linewidth=1.0)
        axis.set_title(f"{task}: {what.title}", loc="left", fontweight="bold")
        axis.set_ylabel(what.unit)
        low, high = axis.get_ylim()
        if what.best == 1.0:
            low = 0.0 if low < 0.5 else low
            axis.set_ylim(low, 1.0 + 0.05 * (1.0 - low))
        else:
            axis.set_ylim(-0.03 * high, high)
        axis.margins(x=0.01)
        axis.legend(loc="best", frameon=True, framealpha=0.85, fontsize=9)
    axes[-1, 0].set_xlabel("seconds since the first frame")
    return save_figure(
        figure,
        path,
        f"Agreement with the baseline (dots: frames; line: mean of {_SMOOTHING_FRAMES} frames; "
        "gray: perfect)",
    )


def _has_frames(one: TaskSeries) -> bool:
    return any(one.stage_ms(name, "infer") for name in one.timings)


def _draw_stage_bar(axis: Any, place: float, one: TaskSeries, variant: str) -> float:
    """Stack the stages' means; negative means (clocks that disagree) stack to the left. Return the sum."""
    right = left = 0.0
    for stage in STAGES:
        values = one.stage_ms(variant, stage)
        mean = float(np.mean(values)) if values else 0.0
        start = right if mean >= 0 else left
        axis.barh(place, mean, left=start, height=0.8, color=STAGE_COLORS[stage], edgecolor="white")
        if mean >= 0:
            right += mean
        else:
            left += mean
    return right + left


def _stage_handles() -> list[Any]:
    from matplotlib.patches import Patch

    return [Patch(color=STAGE_COLORS[stage], label=STAGE_WORDS[stage]) for stage in STAGES]


def _running_mean(values: NDArray[np.float64], frames: int) -> NDArray[np.float64]:
    """Centered mean over ``frames`` values that ignores NaN and shrinks at both ends."""
    finite = np.isfinite(values)
    kernel = np.ones(min(frames, max(values.size, 1)))
    total = np.convolve(np.where(finite, values, 0.0), kernel, mode="same")
    count = np.convolve(finite.astype(np.float64), kernel, mode="same")
    mean = np.full(values.shape, np.nan)
    np.divide(total, count, out=mean, where=count > 0.5)
    return mean
