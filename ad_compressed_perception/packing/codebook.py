# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Weighted k-means of numbers, made fast by sorting them once.

Lloyd's algorithm ("Least squares quantization in PCM", IEEE Trans. Inf. Theory 28(2), 1982): give
every number to its nearest center, move every center to the mean of its numbers, repeat. Both steps
lower ``sum_i h_i (x_i - c(x_i))^2``. On a line the numbers of a center are neighbors, so with sorted
numbers and running sums of ``h`` and ``h x`` a round costs k searches instead of n * k distances.

The result depends on the start. Several are tried and the best is kept: centers at the quantiles, and
k-means++ (Arthur and Vassilvitskii, 2007), which draws every next center with a probability
proportional to the squared distance from those there are. The draws are those of a seed, so the same
weights give the same codebook.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Starts are drawn from so many of the sorted numbers; more change nothing that Lloyd would not.
_DRAWN_FROM = 4096


@dataclass(frozen=True)
class Codebook:
    """Centers and what they cost.

    Attributes:
        centers: (k,) float64, ascending.
        error: sum of h_i (x_i - nearest center)^2.
        rounds: rounds of Lloyd's algorithm the best start took.
    """

    centers: NDArray[np.float64]
    error: float
    rounds: int


def nearest(values: NDArray[np.floating], centers: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the index of each value's nearest center; between two equally near, the lower one."""
    return np.searchsorted((centers[1:] + centers[:-1]) / 2, values)


def fit_codebook(
    values: NDArray[np.floating],
    size: int,
    *,
    weights: NDArray[np.floating] | None = None,
    seed: int = 0,
    starts: int = 4,
    rounds: int = 300,
    tolerance: float = 1e-6,
) -> Codebook:
    """Return the centers of least squared distance that were found.

    Args:
        values: any shape, finite.
        size: centers wanted, at least 1; fewer where there are fewer distinct values, which are then
            the centers themselves.
        weights: how much each value counts, positive; None for equally.
        seed: of the random starts.
        starts: how many random starts besides the one at the quantiles.
        rounds: most rounds of Lloyd's algorithm a start.
        tolerance: a start ends when a round lowers the error by less than this share.
    """
    x = np.asarray(values, np.float64).reshape(-1)
    h = np.ones_like(x) if weights is None else np.asarray(weights, np.float64).reshape(-1)
    order = np.argsort(x, kind="stable")
    x, h = x[order], h[order]
    distinct = np.unique(x)
    if len(distinct) <= size:
        return Codebook(distinct, 0.0, 0)
    line = _Line(x, h)
    generator = np.random.default_rng(seed)
    best: Codebook | None = None
    for start in range(starts + 1):
        centers = line.quantiles(size) if start == 0 else _spread_start(x, h, size, generator)
        found = _lloyd(line, centers, rounds, tolerance)
        if best is None or found.error < best.error:
            best = found
    assert best is not None
    return best


class _Line:
    """Sorted numbers with running sums, so that any run of them has its mean and error at once."""

    def __init__(self, x: NDArray[np.float64], h: NDArray[np.float64]) -> None:
        self.x = x
        zero = np.zeros(1)
        self.h = np.concatenate([zero, np.cumsum(h)])
        self.hx = np.concatenate([zero, np.cumsum(h * x)])
        self.hxx = np.concatenate([zero, np.cumsum(h * x * x)])

    def quantiles(self, size: int) -> NDArray[np.float64]:
        """Return the values below which (i + 1/2) / size of the weight lies."""
        places = np.searchsorted(self.h, self.h[-1] * (np.arange(size) + 0.5) / size)
        return np.unique(self.x[np.clip(places - 1, 0, len(self.x) - 1)])

    def means(self, centers: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """Return the mean of the numbers nearest to each center, and the error about those means."""
        ends = np.searchsorted(self.x, (centers[1:] + centers[:-1]) / 2, side="right")
        ends = np.concatenate([[0], ends, [len(self.x)]])
        h, hx, hxx = (np.diff(sums[ends]) for sums in (self.h, self.hx, self.hxx))
        filled = h > 0.0
        means = np.where(filled, hx / np.where(filled, h, 1.0), centers)
        return means, max(0.0, float((hxx - hx * means)[filled].sum()))


def _spread_start(
    x: NDArray[np.float64], h: NDArray[np.float64], size: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return k-means++ centers, drawn from evenly spaced ones of the sorted numbers."""
    step = max(1, len(x) // max(_DRAWN_FROM, 8 * size))
    candidates, chance = x[step // 2 :: step], h[step // 2 :: step]
    first = generator.choice(len(candidates), p=chance / chance.sum())
    centers = [candidates[first]]
    squared = (candidates - centers[0]) ** 2
    for _ in range(size - 1):
        pull = chance * squared
        total = float(pull.sum())
        if not total > 0.0:
            break
        drawn = int(np.searchsorted(np.cumsum(pull), generator.random() * total))
        centers.append(candidates[min(drawn, len(candidates) - 1)])
        squared = np.minimum(squared, (candidates - centers[-1]) ** 2)
    return np.unique(centers)


def _lloyd(line: _Line, centers: NDArray[np.float64], rounds: int, tolerance: float) -> Codebook:
    error, done = float("inf"), 0
    while done < rounds:
        done += 1
        centers, lower = line.means(centers)
        centers = np.sort(centers)
        settled = np.isfinite(error) and error - lower <= tolerance * error
        error = lower
        if settled:
            break
    return Codebook(centers, error, done)
