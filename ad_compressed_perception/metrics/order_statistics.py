# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Upper confidence bound of a quantile by order statistics: no distribution is assumed."""

from __future__ import annotations

import math

import numpy as np

CONFIDENCE = 0.95
"""Of the bounds that reports show, one-sided."""


def values_above_bound(count: int, share: float, confidence: float = CONFIDENCE) -> int | None:
    """Return how many of ``count`` values lie above the order statistic that bounds a quantile from above.

    Of n independent values the number K that exceed the quantile of ``share`` is Bin(n, 1 - share). The value
    with m others above it lies below the quantile only if K <= m, so it is an upper bound with a
    probability of at least 1 - P(K <= m). The largest m with P(K <= m) <= 1 - ``confidence`` gives the least
    such bound (H. A. David and H. N. Nagaraja, Order Statistics, 3rd edition, section 7.1; for values with
    ties it is conservative). Latencies of neighboring frames are not independent: a bound of correlated
    values is somewhat too low.

    Args:
        count: number of values, n.
        share: of the quantile, 0.999 for p99.9.
        confidence: one-sided, between 0 and 1.

    Returns:
        m, or None where even the largest value is no bound: ``count`` is below ``frames_needed``.
    """
    if count < frames_needed(share, confidence):
        return None
    tail = 1.0 - share
    mean = count * tail
    places = np.arange(min(count, math.ceil(mean + 1.0)))
    steps = np.log(count - places) - np.log(places + 1.0) + math.log(tail) - math.log1p(-tail)
    logarithms = count * math.log1p(-tail) + np.concatenate([[0.0], np.cumsum(steps)])
    below = np.cumsum(np.exp(logarithms))
    return int(np.searchsorted(below, 1.0 - confidence, side="right")) - 1


def frames_needed(share: float, confidence: float = CONFIDENCE) -> int:
    """Return the fewest values whose largest bounds a quantile: the least n with share^n <= 1 - confidence.

    2995 for p99.9 and 299 for p99 at 95 %.
    """
    return math.ceil(math.log(1.0 - confidence) / math.log(share))
