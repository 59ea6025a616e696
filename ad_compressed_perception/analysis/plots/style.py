# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Style of all plots: a color-blind safe palette, figures without a display, distributions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Okabe and Ito's palette: distinguishable with all common kinds of color vision.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES = ("-", "--", "-.", ":")
_DPI = 110
_STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def new_figure(rows: int, columns: int, *, width: float, row_height: float) -> tuple[Any, Any]:
    """Return a figure and its (rows, columns) axes; sizes in inches."""
    # Without pyplot: no global state and no display; saving as PNG renders with Agg.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width, rows * row_height + 0.5), layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False)


def save_figure(figure: Any, path: Path, title: str) -> Path:
    """Write a figure as PNG under a title and return its path."""
    figure.suptitle(title, fontsize=12)
    figure.savefig(path, dpi=_DPI)
    return path


def look(index: int) -> tuple[str, str]:
    """Return color and line style of the curve of this number."""
    return COLORS[index % len(COLORS)], LINE_STYLES[index % len(LINE_STYLES)]


def draw_distribution(axis: Any, values: Mapping[str, NDArray[np.float64]]) -> None:
    """Draw cumulative distributions of sorted milliseconds; a circle marks p50, a diamond p99.

    The axis ends a little beyond the highest p99; the legend names the maximum, which may lie outside.
    """
    right = 0.0
    for index, (name, sorted_ms) in enumerate(values.items()):
        color, line = look(index)
        p50, p99 = (float(np.percentile(sorted_ms, q)) for q in (50, 99))
        share = np.arange(1, sorted_ms.size + 1) / sorted_ms.size
        axis.step(
            np.concatenate([sorted_ms[:1], sorted_ms]),
            np.concatenate([[0.0], share]),
            where="post",
            color=color,
            linestyle=line,
            linewidth=1.8,
            label=f"{name}: p50 {_ms(p50)}, p99 {_ms(p99)}, max {_ms(float(sorted_ms[-1]))} ms",
        )
        axis.plot(p50, 0.5, "o", color=color, markersize=7, markeredgecolor="white")
        axis.plot(p99, 0.99, "D", color=color, markersize=7, markeredgecolor="white")
        right = max(right, p99)
    if not values:
        return
    left = min(float(sorted_ms[0]) for sorted_ms in values.values())
    margin = max((right - left) * 0.12, 1e-3)
    axis.set_xlim(left - margin / 2, right + margin)
    axis.set_ylim(0.0, 1.03)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value * 100:.0f} %")
    axis.legend(loc="lower right", frameon=True, framealpha=0.85, fontsize=9)


def _ms(value: float) -> str:
    return f"{value:.1f}" if value >= 10.0 else f"{value:.2f}"
