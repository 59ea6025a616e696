# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Order of interleaved rounds, and the ratio of what was measured in them."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.metrics.bootstrap import paired_bootstrap
from ad_compressed_perception.metrics.interval import Interval

_RESAMPLES = 1000


def interleaved_order(count: int, number: int) -> list[int]:
    """Return the order of round ``number``: rotated every second round, reversed in between."""
    first = (number // 2) % count
    order = [*range(first, count), *range(first)]
    return order[::-1] if number % 2 else order


def paired_ratio(reference_ms: Sequence[float], other_ms: Sequence[float]) -> Interval:
    """Return reference / other over paired rounds, so above 1 means faster than the reference.

    Neighboring rounds run under the same load, so blocks of about sqrt(N) rounds are resampled.
    """
    ratios: NDArray[np.float64] = np.asarray(reference_ms, np.float64) / np.asarray(other_ms, np.float64)
    low, high = paired_bootstrap(
        ratios.size,
        lambda indices: float(np.median(ratios[indices])),
        resamples=_RESAMPLES,
        block_length=max(1, isqrt(ratios.size)),
    )
    return Interval(float(np.median(ratios)), low, high)
