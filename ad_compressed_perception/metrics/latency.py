# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Latency statistics of a stream: percentiles, rate, deadline misses.

Time is an argument; no clock is read.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NAN = float("nan")


@dataclass(frozen=True)
class LatencyPercentiles:
    """Percentiles of a series, in the unit of its values (milliseconds here); NaN where it is empty."""

    p50: float = NAN
    p95: float = NAN
    p99: float = NAN
    max: float = NAN
    count: int = 0


def percentiles(values: Sequence[float] | NDArray[np.float64]) -> LatencyPercentiles:
    """Return the percentiles of a series, linearly interpolated between ranks (numpy's default)."""
    data = np.sort(np.asarray(values, dtype=np.float64))
    if data.size == 0 or math.isnan(data[-1]):
        return LatencyPercentiles(count=int(data.size))
    p50, p95, p99 = (_between_ranks(data, share) for share in (0.5, 0.95, 0.99))
    return LatencyPercentiles(p50, p95, p99, float(data[-1]), int(data.size))


def _between_ranks(ordered: NDArray[np.float64], share: float) -> float:
    """Return np.percentile(ordered, 100 * share) at a fraction of its cost."""
    place = (ordered.size - 1) * share
    below = math.floor(place)
    low, high, part = float(ordered[below]), float(ordered[math.ceil(place)]), place - below
    if low == high:
        return low
    return high - (high - low) * (1.0 - part) if part >= 0.5 else low + (high - low) * part


class LatencyWindow:
    """A series of durations with exact percentiles of the recent ones and of the whole run.

    The whole run is exact up to ``capacity`` values. Beyond that every second value is discarded and
    from then on only every second, fourth, ... is kept, so that a long drive needs no more memory;
    its percentiles then come from that evenly spaced sample, while ``count``, ``min``, ``max`` and
    ``mean`` stay exact.
    """

    def __init__(self, recent: int = 512, capacity: int = 200_000) -> None:
        """Keep the last ``recent`` values and up to ``capacity`` values of the whole run."""
        if recent < 1 or capacity < 2:
            raise ValueError("recent must be at least 1 and capacity at least 2")
        self._recent: deque[float] = deque(maxlen=recent)
        self._kept = array("d")
        self._capacity = capacity
        self._stride = 1
        self._max = -math.inf
        self._min = math.inf
        self.count = 0
        self.sum = 0.0

    def add(self, value_ms: float) -> None:
        """Add a value; one that is not finite means "not measured" and is not counted."""
        if not math.isfinite(value_ms):
            return
        self._recent.append(value_ms)
        if self.count % self._stride == 0:
            if len(self._kept) >= self._capacity:
                self._kept = self._kept[::2]
                self._stride *= 2
            if self.count % self._stride == 0:
                self._kept.append(value_ms)
        self.count += 1
        self.sum += value_ms
        self._max = max(self._max, value_ms)
        self._min = min(self._min, value_ms)

    @property
    def exact(self) -> bool:
        """Whether the whole-run percentiles come from every value."""
        return self._stride == 1

    @property
    def mean(self) -> float:
        """Mean of the whole run; NaN without a value."""
        return self.sum / self.count if self.count else NAN

    @property
    def min(self) -> float:
        """Smallest value of the whole run; NaN without a value."""
        return self._min if self.count else NAN

    def recent(self) -> LatencyPercentiles:
        """Percentiles of the recent values."""
        return percentiles(np.fromiter(self._recent, dtype=np.float64))

    def values(self) -> NDArray[np.float64]:
        """Copy of the whole run's kept values, oldest first."""
        return np.array(self._kept, dtype=np.float64)

    def total(self) -> LatencyPercentiles:
        """Percentiles of the whole run."""
        if self.count == 0:
            return LatencyPercentiles()
        kept = percentiles(self.values())
        return LatencyPercentiles(kept.p50, kept.p95, kept.p99, self._max, self.count)


class RateTracker:
    """Events per second, over the whole run and over the last seconds."""

    def __init__(self, window_s: float = 5.0) -> None:
        """Look back ``window_s`` seconds for the recent rate."""
        if not window_s > 0.0:
            raise ValueError("window_s must be positive")
        self._window_s = window_s
        self._recent: deque[float] = deque()
        self._first_s = NAN
        self._last_s = NAN
        self.count = 0

    def add(self, now_s: float) -> None:
        """Count an event at a monotonic time in seconds."""
        if self.count == 0:
            self._first_s = now_s
        self._last_s = now_s
        self.count += 1
        self._recent.append(now_s)
        self._forget(now_s)

    def recent_hz(self, now_s: float) -> float:
        """Events per second of the last ``window_s``: NaN before two events, 0 once they stop."""
        self._forget(now_s)
        elapsed_s = min(self._window_s, now_s - self._first_s) if self.count else 0.0
        return len(self._recent) / elapsed_s if self.count >= 2 and elapsed_s > 0.0 else NAN

    @property
    def total_hz(self) -> float:
        """(count - 1) / (last - first) over the whole run; NaN before two events."""
        span_s = self._last_s - self._first_s
        return (self.count - 1) / span_s if self.count >= 2 and span_s > 0.0 else NAN

    def _forget(self, now_s: float) -> None:
        while self._recent and self._recent[0] <= now_s - self._window_s:
            self._recent.popleft()


class DeadlineTracker:
    """Counts results that came later than a deadline.

    Only frames with a result are checked. Frames that the latest-frame slot drops when the camera is
    faster than the model, and failed ones, are in the node's frame counters instead.
    """

    def __init__(self, deadline_ms: float | None) -> None:
        """Check against ``deadline_ms``; None checks nothing."""
        if deadline_ms is not None and not deadline_ms > 0.0:
            raise ValueError("deadline_ms must be positive, or None for no deadline")
        self.deadline_ms = deadline_ms
        self.checked = 0
        self.misses = 0
        self.longest_run = 0
        self.run = 0

    def add(self, end_to_end_ms: float) -> bool:
        """Check one result and return whether it missed; an age below 0 or not finite is not checked."""
        if self.deadline_ms is None or not 0.0 <= end_to_end_ms < math.inf:
            return False
        missed = end_to_end_ms > self.deadline_ms
        self.note(missed)
        return missed

    def note(self, missed: bool) -> None:
        """Count a result of which is known whether it missed; without a deadline none is counted."""
        if self.deadline_ms is None:
            return
        self.checked += 1
        self.misses += missed
        self.run = self.run + 1 if missed else 0
        self.longest_run = max(self.longest_run, self.run)

    @property
    def miss_rate(self) -> float:
        """Misses per checked result; NaN where none was checked."""
        return self.misses / self.checked if self.checked else NAN
