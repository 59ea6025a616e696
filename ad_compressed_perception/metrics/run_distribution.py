# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Percentiles of a whole run in bounded memory: the large values exactly, the others in bins."""

from __future__ import annotations

import math
from array import array
from collections import deque

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.metrics.latency import NAN, LatencyPercentiles, percentiles
from ad_compressed_perception.metrics.order_statistics import values_above_bound

EXACT_VALUES = 16_384
"""Values of a run up to which every percentile is exact."""
EXACT_LARGEST = EXACT_VALUES // 2
"""Largest values that stay exact in a longer run: p99 of 800,000 values, p99.9 of eight million."""
BIN_WIDTH = 0.01
"""Relative width of a bin: a percentile that falls into one is off by at most half of it."""

RECENT_VALUES = 256
"""Last values of which recent() is."""

_LEAST_MS = 1e-3
_STEP = math.log1p(BIN_WIDTH)
_BINS = 4096  # to 1e-3 * 1.01^4096, 5e14 ms, on either side of zero


class RunDistribution:
    """All values of a run: none is forgotten or left out.

    Up to ``EXACT_VALUES`` of them are kept. Beyond, the ``EXACT_LARGEST`` largest are kept, with those that
    came last, and the others are counted in bins of 1 % width: a percentile among the largest is
    exact for ever, a lower one is right to 0.5 %. Count, sum, least and largest value are always exact.
    """

    def __init__(self) -> None:
        """Begin without a value."""
        self._kept = array("d")
        self._recent: deque[float] = deque(maxlen=RECENT_VALUES)
        self._sorted: NDArray[np.float64] = np.empty(0)
        self._binned: NDArray[np.int64] | None = None
        self._max, self._min = -math.inf, math.inf
        self.count = 0
        self.sum = 0.0

    def add(self, value_ms: float) -> None:
        """Add a value; one that is not finite means "not measured" and is not counted."""
        if not math.isfinite(value_ms):
            return
        if len(self._kept) >= EXACT_VALUES:
            self._bin_small_ones()
        self._kept.append(value_ms)
        self._recent.append(value_ms)
        self.count += 1
        self.sum += value_ms
        self._max, self._min = max(self._max, value_ms), min(self._min, value_ms)

    @property
    def is_exact(self) -> bool:
        """Whether every value is kept."""
        return self._binned is None

    @property
    def max(self) -> float:
        """Largest value; NaN without one."""
        return self._max if self.count else NAN

    def recent(self) -> LatencyPercentiles:
        """Return the percentiles of the last values."""
        return percentiles(np.fromiter(self._recent, dtype=np.float64))

    def total(self) -> LatencyPercentiles:
        """Return the percentiles of the whole run."""
        if self._binned is None:
            return percentiles(self._ordered())
        ordered = self._ordered()
        p50, p95, p99 = (self._quantile(share, ordered) for share in (0.5, 0.95, 0.99))
        return LatencyPercentiles(p50, p95, p99, self._max, self.count)

    def quantile(self, share: float) -> float:
        """Return the quantile of ``share`` (0..1), interpolated between ranks; NaN without a value."""
        return self._quantile(share, self._ordered()) if self.count else NAN

    def upper_bound(self, share: float) -> float:
        """Return the 95 % upper bound of a quantile (``values_above_bound``); NaN with too few values."""
        above = values_above_bound(self.count, share)
        return NAN if above is None else self._value(self.count - 1 - above, self._ordered(), is_bound=True)

    def _ordered(self) -> NDArray[np.float64]:
        """Return what is kept, ascending: the last time's order and what came since, merged."""
        new = np.array(self._kept[len(self._sorted) :], dtype=np.float64)
        if new.size:
            # Two ascending parts: a stable sort merges them in one pass, a tenth of the time of sorting anew.
            self._sorted = np.sort(np.concatenate([self._sorted, np.sort(new)]), kind="stable")
        return self._sorted

    def _quantile(self, share: float, ordered: NDArray[np.float64]) -> float:
        place = (self.count - 1) * share
        below = math.floor(place)
        low, high = self._value(below, ordered), self._value(math.ceil(place), ordered)
        return low + (high - low) * (place - below)

    def _value(self, rank: int, ordered: NDArray[np.float64], *, is_bound: bool = False) -> float:
        """Return the value of a rank from 0; of a binned one the bin's middle or, for a bound, its end."""
        if self._binned is None:
            return float(ordered[rank])
        from_top = self.count - 1 - rank
        if from_top < EXACT_LARGEST:
            return float(ordered[len(ordered) - 1 - from_top])
        counts = self._binned + _counts(ordered[: len(ordered) - EXACT_LARGEST])
        place = int(np.searchsorted(np.cumsum(counts), rank, side="right")) - _BINS
        # No binned value lies above those that are kept.
        return float(min(_value_of(place, is_bound=is_bound), ordered[len(ordered) - EXACT_LARGEST]))

    def _bin_small_ones(self) -> None:
        ordered = self._ordered()
        if self._binned is None:
            self._binned = np.zeros(2 * _BINS + 1, np.int64)
        self._binned += _counts(ordered[: len(ordered) - EXACT_LARGEST])
        self._sorted = ordered[len(ordered) - EXACT_LARGEST :].copy()
        self._kept = array("d", self._sorted.tobytes())


def _counts(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many of the values lie in each bin, from the most negative one on."""
    sizes = np.log(np.maximum(np.abs(values), _LEAST_MS) / _LEAST_MS) / _STEP
    places = np.sign(values) * np.minimum(np.ceil(sizes), _BINS)
    return np.bincount(places.astype(np.int64) + _BINS, minlength=2 * _BINS + 1)


def _value_of(place: int, *, is_bound: bool) -> float:
    """Return the middle of a bin, or its upper end; bin n > 0 spans 1.01^(n-1) to 1.01^n, in microseconds."""
    size = abs(place)
    end = size - float(place < 0) if is_bound else size - 0.5
    return math.copysign(_LEAST_MS * math.exp(_STEP * end), place) if size else 0.0
