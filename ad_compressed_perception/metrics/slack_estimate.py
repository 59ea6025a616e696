# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Agreement over all frames of a window, from the frames that a shadow had time for.

The shadow has time in frames that are processed fast, which are the easy ones: the plain agreement of the
compared frames is biased. Two corrections, each enough alone where its condition holds:

* Weights of the choice. ``serving.shadow_schedule`` draws the frames at random, whether there is time or not,
  and holds a drawn one until there is. What it cannot hold is merged with a neighbor: one of both stays,
  drawn in proportion to their weights, with the sum of them (E. Cohen, N. Duffield, H. Kaplan, C. Lund and M.
  Thorup, Efficient Stream Sampling for Variance-Optimal Estimation of Subset Sums, SIAM Journal on Computing
  40(5), 2011). The weighted sum over the compared frames has the expectation of the sum over all drawn ones
  (D. Horvitz and D. Thompson, A Generalization of Sampling Without Replacement From a Finite Universe, JASA
  47, 1952), whatever the frames depend on.
* Post-stratification by what is known of all frames, such as the primary's own latency (D. Holt and T. Smith,
  Post Stratification, JRSS A 142, 1979): the compared frames of a cell stand for all frames of it. A cell is
  divided where the share compared differs most, as long as it differs and both parts have ``_FEWEST_IN_CELL``
  compared ones (a tree of response rates, after G. Kass, An Exploratory Technique for Investigating Large
  Quantities of Categorical Data, Applied Statistics 29(2), 1980). It removes what the weights leave to
  chance, and what frames are lost for, such as a shadow that was stopped.

The interval is that of the finite window: which frames were drawn is all the chance there is, so that frames
drawn apart need no model of their serial correlation. It is simulated by the Bayesian bootstrap of a finite
population (A. Lo, A Bayesian Bootstrap for a Finite Population, Annals of Statistics 16(4), 1988), the frames
not compared being copies of compared ones of their cell. As the interval of M. Fay and E. Feuer (Confidence
Intervals for Directly Standardized Rates, Statistics in Medicine 16, 1997) it has one more observation, which
disagrees for the lower end and agrees for the upper one, in the cell where it weighs most: frames that all
agree have an interval, too. Where neighbors among the compared frames are correlated beyond their noise, each
cell counts as fewer frames (the factor of ``share_interval.correlated_variance``): draws may lie close
together in time when there was time for few.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.metrics.interval import Ends
from ad_compressed_perception.metrics.share_interval import correlated_variance

FEWEST = 4
"""Compared frames below which there is no interval."""
_FEWEST_IN_CELL = 12
# Of chi-square with one degree of freedom, as the best of several divisions.
_DIFFERENT = 7.0
_LIMITS = np.linspace(0.1, 0.9, 9)
_RESAMPLES = 400
# Least and largest excess of the variance; the least is what benchmark/slack_coverage.py needs of frames that
# are independent of each other.
_EXCESS = (1.5, 4.0)

Shares = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class SlackEstimate:
    """Agreement over all frames of a window, 0..1.

    Attributes:
        frames: of the window.
        compared: how many of them were compared; a frame on which the shadow failed is one of them.
        score: corrected for the choice; NaN without anything to compare.
        interval: of the score; NaN with fewer than ``FEWEST`` compared frames.
        uncorrected: agreement of the compared frames alone.
        cells: groups that were corrected by.
    """

    frames: int = 0
    compared: int = 0
    score: float = math.nan
    interval: Ends = (math.nan, math.nan)
    uncorrected: float = math.nan
    cells: int = 0


@dataclass(frozen=True)
class ComparedFrames:
    """The compared frames of a window, in the order of time.

    Attributes:
        places: (n,) int64, among all frames of the window.
        weights: (n,) drawn frames that each of them stands for, above 0.
        parts: (n, ...) what each contributes to the sums of which an agreement is made.
        failed: (n,) bool, frames on which the shadow gave no valid result: they agree in nothing.
    """

    places: NDArray[np.int64]
    weights: NDArray[np.float64]
    parts: NDArray[Any]
    failed: NDArray[np.bool_]


def slack_estimate(
    covariates: NDArray[np.float64],
    compared: ComparedFrames,
    shares: Shares,
    level: float = 0.95,
    seed: int = 0,
) -> SlackEstimate:
    """Return the agreement over all frames.

    Args:
        covariates: (N, C) what is known of every frame, in the order of time; NaN counts as the largest.
        compared: those that were compared.
        shares: maps (K, ...) sums to (K, 1) agreements in 0..1, NaN where undefined.
        level: of the interval.
        seed: of the resampling.
    """
    frames, count = len(covariates), len(compared.places)
    if not count:
        return SlackEstimate(frames)
    weights, parts, lost = compared.weights, compared.parts, compared.failed
    table = np.where(lost.reshape(-1, *(1,) * (parts.ndim - 1)), 0, parts).astype(np.float64)
    cells = _cells(np.nan_to_num(covariates, nan=math.inf, posinf=math.inf), compared.places)
    sizes = np.bincount(cells, minlength=int(cells.max()) + 1).astype(np.float64)
    mine = cells[compared.places]

    def pooled(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (K,) agreements by (K, n) weights; frames that failed take their part of it."""
        total = rows.sum(axis=1)
        part = np.divide(rows @ lost, total, out=np.zeros(len(rows)), where=total > 0.0)
        sums = np.tensordot(rows, table, axes=(1, 0))
        found = shares(sums)[:, 0]
        return np.asarray(np.where(part >= 1.0, 0.0, found * (1.0 - part)))

    weighted = weights * (sizes / np.bincount(mine, weights, len(sizes)))[mine]
    score = float(pooled(weighted[None])[0])
    uncorrected = float(pooled(np.ones((1, count)))[0])
    interval: Ends = (math.nan, math.nan)
    if count >= FEWEST and not math.isnan(score):
        excess = _correlation_factor(table, lost, weighted, score, shares)
        ends = _resample(pooled, weights, mine, sizes, excess, np.random.default_rng(seed))
        tail = (1.0 - level) / 2.0
        low, high = (float(np.quantile(end, each)) for end, each in zip(ends, (tail, 1 - tail), strict=True))
        interval = (min(low, score), max(high, score))
    return SlackEstimate(frames, count, score, interval, uncorrected, len(sizes))


def _cells(covariates: NDArray[np.float64], compared: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the (N,) cell of each frame, from 0 on; each has compared frames."""
    is_compared = np.zeros(len(covariates), np.bool_)
    is_compared[compared] = True
    cells = np.zeros(len(covariates), np.int64)
    waiting, last = [0], 0
    while waiting:
        cell = waiting.pop()
        inside = np.flatnonzero(cells == cell)
        upper = _upper_half(covariates[inside], is_compared[inside])
        if upper is not None:
            last += 1
            cells[inside[upper]] = last
            waiting += [cell, last]
    return cells


def _upper_half(covariates: NDArray[np.float64], is_compared: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Return the division of a cell whose halves differ most in the share compared; None where by chance."""
    count, chosen = len(covariates), float(is_compared.sum())
    spread = chosen / count * (1.0 - chosen / count)
    best, found = _DIFFERENT * spread, None
    for column in covariates.T:
        for limit in np.unique(np.quantile(column, _LIMITS, method="lower")):
            upper = column > limit
            frames, mine = float(upper.sum()), float(is_compared[upper].sum())
            if min(mine, chosen - mine) < _FEWEST_IN_CELL:
                continue
            difference = mine / frames - (chosen - mine) / (count - frames)
            gain = frames * (count - frames) / count * difference**2
            if gain > best:
                best, found = gain, upper
    return found


def _correlation_factor(
    table: NDArray[np.float64],
    lost: NDArray[np.bool_],
    weights: NDArray[np.float64],
    score: float,
    shares: Shares,
) -> float:
    """Return how many times larger the variance of the mean is than that of independent frames."""
    weighted = table * weights.reshape(-1, *(1,) * (table.ndim - 1))
    without = shares(weighted.sum(axis=0)[None] - weighted)[:, 0]
    influences = np.where(lost, -score, np.nan_to_num(score - without, nan=0.0))
    spread = float(influences.var())
    if len(influences) < 2 * FEWEST or spread <= 0.0:
        return _EXCESS[0]
    excess = correlated_variance(influences)[0] * len(influences) / spread
    return min(max(_EXCESS[0], excess), _EXCESS[1])


def _resample(
    pooled: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    weights: NDArray[np.float64],
    mine: NDArray[np.int64],
    sizes: NDArray[np.float64],
    excess: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return simulated agreements with one more frame that disagrees, and with one that agrees."""
    # A frame of large weight stands for many that nobody saw: so does the one more.
    heaviest = np.zeros(len(sizes))
    np.maximum.at(heaviest, mine, weights)
    totals = np.bincount(mine, weights, len(sizes))
    # Frames of unequal weights are worth fewer (L. Kish, Survey Sampling, 1965).
    worth = totals**2 / np.bincount(mine, weights**2, len(sizes))
    unseen = sizes - worth
    more = int(np.argmax(unseen * heaviest / (totals + heaviest)))
    shape = 1.0 / excess
    drawn = rng.standard_gamma(shape, (_RESAMPLES, len(mine))) * weights
    extra = rng.standard_gamma(1.0, _RESAMPLES) * heaviest[more] * shape
    per_cell = np.stack([drawn[:, mine == cell].sum(axis=1) for cell in range(len(sizes))], axis=1)
    per_cell[:, more] += extra
    rows = weights * (worth / totals)[mine] + drawn * (unseen / np.maximum(per_cell, 1e-300))[:, mine]
    share = unseen[more] * extra / np.maximum(per_cell[:, more], 1e-300) / sizes.sum()
    agreed = pooled(rows)
    agreed, share = agreed[~np.isnan(agreed)], share[~np.isnan(agreed)]
    low = agreed * (1.0 - share)
    return low, low + share
