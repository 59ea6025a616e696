# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Confidence intervals by resampling (bootstrap).

Percentile method of B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), chapter
13; circular blocks for time series after D. Politis and J. Romano, A Circular Block-Resampling Procedure
for Stationary Data (1992): a block that reaches the end goes on at the beginning, so that every sample is
drawn equally often. Blocks that end at the last sample draw the first and the last ones too rarely.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ad_compressed_perception.metrics.interval import Ends

# Indices drawn at once; bounds the memory to some tens of megabytes whatever the sample's size.
_CHUNK_INDICES = 2_000_000


def resample_indices(
    samples: int, resamples: int, seed: int, block_length: int = 1
) -> Iterator[NDArray[np.int64]]:
    """Draw sample indices with replacement, in chunks.

    Args:
        samples: size of the sample, at least 1.
        resamples: how many resamples to draw.
        seed: of the generator; the same seed draws the same indices.
        block_length: length of the runs of neighboring indices drawn together; 1 draws single
            indices (independent samples). Limited to ``samples``.

    Yields:
        (K, samples) int64 arrays whose K sum up to ``resamples``.
    """
    rng = np.random.default_rng(seed)
    block = max(1, min(block_length, samples))
    blocks = -(-samples // block)
    offsets = np.arange(block, dtype=np.int64)
    rows = max(1, _CHUNK_INDICES // samples)
    for first in range(0, resamples, rows):
        count = min(rows, resamples - first)
        starts = rng.integers(0, samples, size=(count, blocks), dtype=np.int64)
        runs = (starts[:, :, None] + offsets) % samples
        yield runs.reshape(count, blocks * block)[:, :samples]


def percentile_interval(statistics: ArrayLike, level: float = 0.95) -> Ends:
    """Return the central ``level`` share of resampled statistics, NaN (undefined ones) left out."""
    values = np.asarray(statistics, dtype=np.float64)
    values = values[~np.isnan(values)]
    if values.size == 0:
        return (float("nan"), float("nan"))
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return (float(low), float(high))


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[..., Any] = np.mean,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Ends:
    """Return the percentile interval of a statistic of independent values.

    Args:
        values: (N,) numbers, one a sample.
        statistic: maps values to a number; a function with an ``axis`` argument (np.mean,
            np.median) is called once for many resamples, any other once for each.
        resamples: how many resamples to draw.
        seed: of the generator, so that a report can be reproduced.
        level: share of the resampled statistics inside the interval, 0..1.

    Returns:
        (low, high); (nan, nan) of fewer than two values: all resamples of one are alike.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    if sample.size < 2:
        return (float("nan"), float("nan"))
    vectorized = _takes_axis(statistic)
    statistics: list[float] = []
    for indices in resample_indices(sample.size, resamples, seed):
        drawn = sample[indices]
        if vectorized:
            statistics.extend(np.asarray(statistic(drawn, axis=1), dtype=np.float64))
        else:
            statistics.extend(float(statistic(row)) for row in drawn)
    return percentile_interval(statistics, level)


def paired_bootstrap(
    samples: int,
    statistic: Callable[[NDArray[np.int64]], float],
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    block_length: int = 1,
) -> Ends:
    """Return the percentile interval of a statistic of sample indices.

    A statistic that looks up two variants' results under the same indices (their difference, their
    ratio) is paired: the difficulty of a frame, common to both, cancels out.

    Args:
        samples: how many samples (frames, images) there are.
        statistic: maps (samples,) int64 indices, with repetitions, to a number; NaN where
            undefined.
        resamples: how many resamples to draw.
        seed: of the generator.
        level: share of the resampled statistics inside the interval, 0..1.
        block_length: see resample_indices; above 1 for neighboring frames of a drive, which are
            alike.

    Returns:
        (low, high); (nan, nan) of fewer than two samples.
    """
    if samples < 2:
        return (float("nan"), float("nan"))

    def as_row(indices: NDArray[np.int64]) -> list[float]:
        return [float(statistic(indices))]

    return vector_bootstrap(samples, as_row, resamples, seed, level, block_length)[0]


def vector_bootstrap(
    samples: int,
    statistics: Callable[[NDArray[np.int64]], ArrayLike],
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    block_length: int = 1,
) -> list[Ends]:
    """Return the intervals of several statistics computed together from the same resamples.

    Args:
        samples: how many samples there are, at least 1.
        statistics: maps (samples,) int64 indices to (F,) numbers, NaN where undefined.
        resamples: as in paired_bootstrap, and so are the others.
        seed: of the generator.
        level: share of the resampled statistics inside the interval.
        block_length: length of the runs of neighboring samples.

    Returns:
        F intervals; (nan, nan) of one sample, whose resamples are all alike.
    """
    if samples < 2:
        return [(float("nan"), float("nan"))] * np.size(statistics(np.zeros(1, np.int64)))
    table = np.array(
        [
            statistics(row)
            for indices in resample_indices(samples, resamples, seed, block_length)
            for row in indices
        ],
        dtype=np.float64,
    )
    return [percentile_interval(column, level) for column in table.T]


def correlation_block_length(series: ArrayLike) -> int:
    """Return a block length that covers the autocorrelation of a series.

    Twice the first lag at which the autocorrelation falls below the noise threshold
    ``2 sqrt(log10(n) / n)`` of D. Politis and H. White, Automatic Block-Length Selection
    for the Dependent Bootstrap, Econometric Reviews 23(1), 2004; at least n^(1/3), at most n / 4.

    Args:
        series: (N,) numbers in the order of time.
    """
    values = np.asarray(series, dtype=np.float64).ravel()
    count = values.size
    if count < 8:
        return 1
    centered = values - values.mean()
    power = float(centered @ centered)
    threshold = 2.0 * np.sqrt(np.log10(count) / count)
    longest = count // 4
    lag = 1
    # A constant series has no power and nothing to correlate.
    while power > 0.0 and 2 * lag < longest:
        if float(centered[:-lag] @ centered[lag:]) / power < threshold:
            break
        lag += 1
    return int(min(max(2 * lag, np.ceil(count ** (1.0 / 3.0))), longest))


def _takes_axis(statistic: Callable[..., Any]) -> bool:
    try:
        return "axis" in inspect.signature(statistic).parameters
    except (TypeError, ValueError):
        return False
