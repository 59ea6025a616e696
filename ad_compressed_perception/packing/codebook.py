# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Weighted one-dimensional k-means, with one sort of the values.

Lloyd's algorithm ("Least squares quantization in PCM", IEEE Trans. Inf. Theory 28(2), 1982): assign
every value to its nearest center, move every center to the mean of its values, repeat. Both steps
lower ``sum_i h_i (x_i - c(x_i))^2``. In one dimension the values of a center are contiguous, so with sorted
values and cumulative sums of ``h`` and ``h x`` an iteration costs k searches instead of n * k distances.

The result depends on the initialization. Several are tried and the best is kept: centers at the quantiles,
and k-means++ (Arthur and Vassilvitskii, 2007), which draws every next center with a probability
proportional to the squared distance from the present ones. The draws are seeded, so the same weights give
the same codebook.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Number of sorted values from which k-means++ draws; more do not change the result after Lloyd's iterations.
_MAX_CANDIDATES = 4096


@dataclass(frozen=True)
class Codebook:
    """Centers and their quantization error.

    Attributes:
        centers: (k,) float64, ascending.
        error: sum of h_i (x_i - nearest center)^2.
        rounds: iterations of Lloyd's algorithm of the best initialization.
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
    """Return the centers with the least squared error found.

    Args:
        values: any shape, finite.
        size: number of centers, at least 1; fewer where there are fewer distinct values, which are then
            the centers themselves.
        weights: positive weight of each value; None for equal weights.
        seed: random seed of the initializations.
        starts: number of random initializations besides the one at the quantiles.
        rounds: maximum number of iterations of Lloyd's algorithm per initialization.
        tolerance: convergence: an iteration lowers the error by less than this share.
    """
    x = np.asarray(values, np.float64).reshape(-1)
    h = np.ones_like(x) if weights is None else np.asarray(weights, np.float64).reshape(-1)
    order = np.argsort(x, kind="stable")
    x, h = x[order], h[order]
    distinct = np.unique(x)
    if len(distinct) <= size:
        return Codebook(distinct, 0.0, 0)
    sorted_values = _SortedValues(x, h)
    generator = np.random.default_rng(seed)
    best: Codebook | None = None
    for start in range(starts + 1):
        centers = sorted_values.quantiles(size) if start == 0 else _spread_start(x, h, size, generator)
        found = _lloyd(sorted_values, centers, rounds, tolerance)
        if best is None or found.error < best.error:
            best = found
    assert best is not None
    return best


class _SortedValues:
    """Sorted values with cumulative sums, which give the mean and error of any interval."""

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
        """Return the mean of the values nearest to each center, and the error about those means."""
        ends = np.searchsorted(self.x, (centers[1:] + centers[:-1]) / 2, side="right")
        ends = np.concatenate([[0], ends, [len(self.x)]])
        h, hx, hxx = (np.diff(sums[ends]) for sums in (self.h, self.hx, self.hxx))
        filled = h > 0.0
        means = np.where(filled, hx / np.where(filled, h, 1.0), centers)
        return means, max(0.0, float((hxx - hx * means)[filled].sum()))


def _spread_start(
    x: NDArray[np.float64], h: NDArray[np.float64], size: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return k-means++ centers, drawn from an evenly spaced subset of the sorted values."""
    step = max(1, len(x) // max(_MAX_CANDIDATES, 8 * size))
    candidates, mass = x[step // 2 :: step], h[step // 2 :: step]
    first = generator.choice(len(candidates), p=mass / mass.sum())
    centers = [candidates[first]]
    squared = (candidates - centers[0]) ** 2
    for _ in range(size - 1):
        probability = mass * squared
        total = float(probability.sum())
        if not total > 0.0:
            break
        drawn = int(np.searchsorted(np.cumsum(probability), generator.random() * total))
        centers.append(candidates[min(drawn, len(candidates) - 1)])
        squared = np.minimum(squared, (candidates - centers[-1]) ** 2)
    return np.unique(centers)


def _lloyd(
    sorted_values: _SortedValues, centers: NDArray[np.float64], rounds: int, tolerance: float
) -> Codebook:
    error, done = float("inf"), 0
    while done < rounds:
        done += 1
        centers, lower = sorted_values.means(centers)
        centers = np.sort(centers)
        converged = np.isfinite(error) and error - lower <= tolerance * error
        error = lower
        if converged:
            break
    return Codebook(centers, error, done)
