# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plots of a drive: lateral offsets along the routes, and differences with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ad_compressed_perception.analysis.plots.style import look, new_figure, save_figure
from ad_road_simulation.closed_loop.paired import Comparison
from ad_road_simulation.closed_loop.route_metrics import METRICS, RouteResult

_DRAWN = (
    "departures",
    "collisions",
    "red_lights",
    "stops_missed",
    "stuck",
    "lateral_rmse_m",
    "lateral_max_m",
    "jerk_rms_mps3",
    "mean_speed_mps",
    "completion",
)
_BAD = "#B22222"
_REACH_M = (0.1, 3.0)
_MARKS = {"departure": "x", "collision": "X", "red_light": "s", "stop_missed": "8"}


def plot_offsets(driven: Mapping[str, Mapping[int, RouteResult]], path: Path) -> Path:
    """Draw the lateral offset along one route and over all routes.

    Top: the route on which the lateral RMSE of the variants differ most, with its events. Bottom: median
    and 90 % band over routes.

    Args:
        driven: variant to seed to result.
        path: of the PNG file.
    """
    figure, axes = new_figure(2, 1, width=11.0, row_height=3.2)
    seed = _farthest_apart(driven)
    for index, (name, results) in enumerate(driven.items()):
        color, line = look(index)
        if seed in results:
            _draw_route(axes[0, 0], results[seed], name, color, line)
        _draw_band(axes[1, 0], list(results.values()), name, color, line)
    for axis, title in (
        (axes[0, 0], f"route {seed}, where the variants differ most"),
        (axes[1, 0], "all routes: median and 90 % band"),
    ):
        axis.axhline(0.0, color="#666666", linewidth=1.0)
        axis.set_title(title, loc="left", fontweight="bold")
        axis.set_ylabel("offset, m (left +)")
        axis.margins(x=0.01)
        # The range is limited to offsets within the road; a car that leaves the road leaves the plot.
        reach = float(np.clip(np.abs(axis.get_ylim()).max(), _REACH_M[0], _REACH_M[1]))
        axis.set_ylim(-reach, reach)
        axis.legend(loc="upper right", frameon=True, framealpha=0.85, fontsize=9)
    axes[1, 0].set_xlabel("meters along the route")
    return save_figure(figure, path, "Lateral offset from the lane center")


def plot_differences(comparisons: Sequence[Comparison], path: Path) -> Path:
    """Draw each metric's difference to the first variant as a point with its 95 % interval.

    Each metric has its own axis, as units differ; an interval that lies entirely on the worse side of zero
    is red.
    """
    columns = 5
    rows = -(-len(_DRAWN) // columns)
    figure, axes = new_figure(rows, columns, width=13.0, row_height=1.0 + 0.45 * len(comparisons))
    for index, name in enumerate(_DRAWN):
        axis = axes[index // columns, index % columns]
        what = METRICS[name]
        for place, comparison in enumerate(comparisons):
            value = comparison.differences[name]
            if not np.isfinite(value.value):
                continue
            is_worse = (what.worse > 0 and value.low > 0) or (what.worse < 0 and value.high < 0)
            color = _BAD if is_worse else look(place + 1)[0]
            axis.plot([value.low, value.high], [place, place], color=color, linewidth=2.5)
            axis.plot(value.value, place, "o", color=color, markersize=7, markeredgecolor="white")
        axis.axvline(0.0, color="#666666", linewidth=1.0)
        if not any(any(_ends(one, name)) for one in comparisons):
            axis.set_xlim(-0.5, 0.5)
        axis.set_ylim(len(comparisons) - 0.4, -0.6)
        names = [comparison.variant for comparison in comparisons] if index % columns == 0 else []
        axis.set_yticks(range(len(names)), names, fontsize=9)
        axis.set_title(what.label, loc="left", fontsize=9)
        axis.tick_params(axis="x", labelsize=8)
        axis.locator_params(axis="x", nbins=4)
    for index in range(len(_DRAWN), rows * columns):
        axes[index // columns, index % columns].set_axis_off()
    reference, routes = comparisons[0].reference, comparisons[0].routes
    return save_figure(figure, path, f"Difference to {reference} per route (95 % interval, {routes} routes)")


def _ends(comparison: Comparison, name: str) -> tuple[float, float]:
    value = comparison.differences[name]
    return value.low, value.high


def _farthest_apart(driven: Mapping[str, Mapping[int, RouteResult]]) -> int:
    reference = next(iter(driven.values()))

    def apart(seed: int) -> float:
        errors = [r[seed].figures["lateral_rmse_m"] for r in driven.values() if seed in r]
        return max(errors) - min(errors)

    return max(reference, key=apart)


def _draw_route(axis: Any, result: RouteResult, name: str, color: str, line: str) -> None:
    axis.plot(result.offsets_m, color=color, linestyle=line, linewidth=1.6, label=name)
    for event in result.events:
        at = int(np.clip(event["s_m"], 0, len(result.offsets_m) - 1))
        axis.plot(
            event["s_m"], result.offsets_m[at], _MARKS.get(event["kind"], "d"), color=color, markersize=8
        )
        axis.annotate(
            event["kind"].replace("_", " "),
            (event["s_m"], result.offsets_m[at]),
            textcoords="offset points",
            xytext=(7, 4),
            fontsize=8,
            annotation_clip=True,
        )


def _draw_band(axis: Any, results: Sequence[RouteResult], name: str, color: str, line: str) -> None:
    length = max(len(result.offsets_m) for result in results)
    table = np.full((len(results), length), np.nan)
    for row, result in zip(table, results, strict=True):
        row[: len(result.offsets_m)] = result.offsets_m
    low, middle, high = np.nanpercentile(table, [5, 50, 95], axis=0)
    along = np.arange(length)
    axis.plot(along, middle, color=color, linestyle=line, linewidth=1.6, label=name)
    axis.fill_between(along, low, high, color=color, alpha=0.15, linewidth=0)
