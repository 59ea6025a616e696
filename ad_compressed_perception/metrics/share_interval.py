# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Confidence interval of a share (0..1) computed from the frames of a drive, which are correlated.

Each step after a published method:

* Jackknife: a frame's influence on the figure is what the figure changes without it, so that a pooled ratio
  (F1, mean IoU) is treated as the mean that it is to first order (B. Efron and R. Tibshirani, An
  Introduction to the Bootstrap, 1993, chapter 11).
* Variance of that mean for correlated frames: the equal-weighted cosine estimate, with Student's t of as many
  degrees of freedom as it has cosines (E. Lazarus, D. Lewis, J. Stock and M. Watson, HAR Inference:
  Recommendations for Practice, Journal of Business & Economic Statistics 36(4), 2018); unlike a block
  bootstrap it allows for not knowing the variance itself. The larger of it and the same after prewhitening
  (D. Andrews and J. Monahan, Econometrica 60(4), 1992).
* The exact binomial interval (Clopper and Pearson, Biometrika 26, 1934) of as many independent trials as
  have that variance (E. Korn and B. Graubard, Confidence Intervals for Proportions with Small Expected
  Number of Positive Counts Estimated From Survey Data, Survey Methodology 24(2), 1998). It is skewed as the
  sampling distribution of a small share is. The upper end is also at least that of the interval of the
  share's logarithm: where few difficult frames carry a loss, a sample without them has too small a variance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ad_compressed_perception.metrics.beta_quantile import beta_quantile, t_quantile
from ad_compressed_perception.metrics.interval import Ends

# Above, runs of neighboring frames are left out together: the cosines need memory.
_MOST_GROUPS = 1000
# A share closer to 0 or 1 is that: rounding of a ratio.
_ROUNDING = 1e-12
# Keeps the binomial interval's series short; the normal interval is the same there.
_MOST_TRIALS = 1e6


def share_intervals(
    parts: NDArray[Any],
    figures: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    level: float = 0.95,
    trials: ArrayLike | None = None,
) -> list[Ends]:
    """Return the intervals of shares that are computed from sums over frames.

    Args:
        parts: (N, ...) what each frame contributes to the sums, in the order of time.
        figures: maps (K, ...) sums to (K, F) shares in 0..1; NaN where undefined.
        level: of the interval; each end is wrong in half of the rest.
        trials: (F,) independent trials (frames, objects) that a share of exactly 0 or 1 is the result of, as
            frames that all agree have no variance (0 of n: at most 3.7 / n). None: no doubt then.

    Returns:
        F (low, high), each around the share of all frames; (nan, nan) where that is undefined, (0, 1) where
        one frame alone decides it.
    """
    total = parts.sum(axis=0, dtype=np.float64)[None]
    shares = figures(total)[0]
    influences = jackknife_influences(parts, total, figures)
    counted = [None] * len(shares) if trials is None else np.asarray(trials, np.float64).tolist()
    return [
        _interval(float(share), column, len(parts), level, count)
        for share, column, count in zip(shares, influences.T, counted, strict=True)
    ]


def _interval(
    share: float, influences: NDArray[np.float64], samples: int, level: float, trials: float | None
) -> Ends:
    if math.isnan(share):
        return (share, share)
    if np.isnan(influences).any():
        return (0.0, 1.0)
    if min(share, 1.0 - share) < _ROUNDING:
        return (share, share) if trials is None else clopper_pearson(round(share) * trials, trials, level)
    variance, degrees = correlated_variance(influences)
    student = _student(level, degrees)
    # Where every frame has the same share, each counts as one trial.
    effective = share * (1.0 - share) / variance if variance > _ROUNDING**2 else float(samples)
    effective = min(_MOST_TRIALS, effective * (NormalDist().inv_cdf(0.5 + level / 2.0) / student) ** 2)
    low, high = clopper_pearson(share * effective, effective, level)
    relative = student * math.sqrt(variance) / share
    # Continued by its tangent, as beyond a relative half width of 1 the exponential means nothing.
    of_logarithm = share * (math.exp(relative) if relative < 1.0 else math.e * relative)
    return (low, max(high, min(1.0, of_logarithm)))


_student = lru_cache(maxsize=256)(t_quantile)


def jackknife_influences(
    parts: NDArray[Any],
    total: NDArray[np.float64],
    figures: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Return (G, F) influences of G runs of neighboring frames, G = min(N, 1000), in their order.

    The mean of as many independent values has the variance of the figure.
    """
    groups = min(len(parts), _MOST_GROUPS)
    if groups < 2:
        return np.full((1, figures(total).shape[1]), np.nan)
    starts = np.linspace(0, len(parts), groups, endpoint=False).round().astype(np.int64)
    without = figures(total - np.add.reduceat(parts.astype(np.float64), starts, axis=0))
    return (groups - 1) * (without.mean(axis=0) - without)


def correlated_variance(influences: NDArray[np.float64]) -> tuple[float, int]:
    """Return the variance of the mean of a correlated series, and the degrees of freedom of that estimate.

    Mean square of B cosine transforms of the lowest frequencies, where a correlated series has the variance
    of its mean. The article above has B = 0.4 n^(2/3) for correlations over two frames. Here B = n^(2/3) / 2
    where neighbors are not correlated beyond their noise, 1 / sqrt(n); else n^(2/3) / 4, for drives are
    correlated over longer times, and the simulation of docs/guides/verdict.md holds with that.
    """
    centered = influences - influences.mean()
    count = len(centered)
    rho = lag_correlation(centered)
    part = 0.25 if rho > 1.0 / math.sqrt(count) else 0.5
    degrees = max(1, min(count - 1, max(3, round(part * count ** (2.0 / 3.0)))))
    variance = _cosine_variance(centered, degrees)
    if rho > 0.0 and count > 3:
        # Kendall's correction of the bias; without a limit a trend would have an infinite variance.
        rho = min(rho + (1.0 + 3.0 * rho) / count, 0.9)
        whitened = centered[1:] - rho * centered[:-1]
        variance = max(variance, _cosine_variance(whitened, min(degrees, count - 2)) / (1.0 - rho) ** 2)
    return (variance / count, degrees)


def lag_correlation(series: NDArray[np.float64]) -> float:
    """Return the correlation of neighbors in a series; 0 for a constant one."""
    centered = series - series.mean()
    power = float(centered @ centered)
    return float(centered[1:] @ centered[:-1]) / power if power > 0.0 else 0.0


def widening(series: NDArray[np.float64], level: float = 0.95) -> float:
    """Return how much wider an interval must be than that of a bootstrap of single frames, at least 1.

    The root of the variance of the mean of a correlated series to that of independent values, times Student's
    t to the normal distribution's, both of the sign of the difference from the median, on which single large
    values have no influence.

    Args:
        series: (N,) the compared quantity of each frame, in the order of time.
        level: of the interval.
    """
    signs = np.sign(series - np.median(series))
    independent = float(signs.var()) / len(signs)
    if len(signs) < 4 or independent == 0.0:
        return 1.0
    variance, degrees = correlated_variance(signs)
    student = _student(level, degrees) / NormalDist().inv_cdf(0.5 + level / 2.0)
    return math.sqrt(max(1.0, variance / independent)) * student


def independent_frames(differences: NDArray[np.float64]) -> float:
    """Return as how many independent frames those count whose extremes come in clusters.

    The share n (1 - r) / (1 + r) of a first-order autoregressive series, r being the correlation of neighbors
    in belonging to the largest tenth of ``differences``; r within its noise, 1.5 / sqrt(n), counts as 0.
    """
    count = len(differences)
    finite = np.nan_to_num(differences, posinf=1e300)
    largest = (finite > np.quantile(finite, 0.9)).astype(np.float64)
    r = lag_correlation(largest)
    return count * (1.0 - r) / (1.0 + r) if r > 1.5 / math.sqrt(count) else float(count)


def _cosine_variance(series: NDArray[np.float64], cosines: int) -> float:
    count = len(series)
    angles = math.pi * np.outer(np.arange(1, cosines + 1), (np.arange(count) + 0.5) / count)
    return float(np.mean((math.sqrt(2.0 / count) * (np.cos(angles) @ series)) ** 2))


def clopper_pearson(hits: float, trials: float, level: float = 0.95) -> Ends:
    """Return the exact binomial interval of ``hits`` in ``trials``, which need not be whole numbers."""
    tail = (1.0 - level) / 2.0
    low = 0.0 if hits <= 0.0 else beta_quantile(tail, hits, trials - hits + 1.0)
    high = 1.0 if hits >= trials else beta_quantile(1.0 - tail, hits + 1.0, trials - hits)
    return (low, high)
