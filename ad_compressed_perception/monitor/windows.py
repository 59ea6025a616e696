# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of the last seconds. No clock is read: time is an argument, monotonic seconds that never decrease.

A window of W seconds at ``now_s`` holds what was added after ``now_s - W``: an entry that is exactly W old is
out. An empty window has no figure; what was true before it is not repeated.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import compress
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.timing import OUTCOMES, FrameTiming
from ad_compressed_perception.metrics.latency import percentiles
from ad_compressed_perception.report.kit.document import copied
from ad_compressed_perception.report.schemas.fields import Percentiles
from ad_compressed_perception.report.schemas.variant import VariantWindow

ItemT = TypeVar("ItemT")
CAPACITY = 8192
"""Entries that a window keeps at most: 60 s at 136 Hz. Beyond, it is shorter, and ``span_s`` says so."""

_DELETED_AT_ONCE = 1000
_PRIMARY = "primary"
_FALLBACKS = ("standby", "hold")

WINDOWS_S = (10.0, 60.0)


def window_name(window_s: float) -> str:
    """Return the key of a window in the report, such as "10s"."""
    return f"{window_s:g}s"


class RollingColumns:
    """The rows of the last ``horizon_s`` seconds, at most ``capacity`` of them, column by column."""

    def __init__(self, typecodes: str, horizon_s: float, capacity: int = CAPACITY) -> None:
        """Keep ``horizon_s`` seconds; a column has one of array's type codes, or O for any object."""
        self._horizon_s, self._capacity = horizon_s, capacity
        self._times_s = array("d")
        self._columns: list[Any] = [[] if code == "O" else array(code) for code in typecodes]
        # Rows before this one are gone; they are deleted a thousand at a time.
        self._head = 0
        self._displaced_s = -math.inf

    def add(self, now_s: float, *row: Any) -> None:
        """Add a row; the oldest one goes where there are too many."""
        self._head = bisect_right(self._times_s, now_s - self._horizon_s, self._head)
        if len(self._times_s) - self._head == self._capacity:
            self._displaced_s = self._times_s[self._head]
            self._head += 1
        self._times_s.append(now_s)
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)
        if self._head >= _DELETED_AT_ONCE:
            self._delete()

    def clear(self) -> None:
        """Drop everything."""
        self._head = len(self._times_s)
        self._delete()

    def _delete(self) -> None:
        for column in (self._times_s, *self._columns):
            del column[: self._head]
        self._head = 0

    def count(self, window_s: float, now_s: float) -> int:
        """Return the number of rows of the last ``window_s`` seconds."""
        return len(self._times_s) - self._first(window_s, now_s)

    def last(self, window_s: float, now_s: float) -> list[Any]:
        """Return the columns of the last ``window_s`` seconds, each oldest first."""
        first = self._first(window_s, now_s)
        return [column[first:] for column in self._columns]

    def span_s(self, window_s: float, now_s: float, start_s: float) -> float:
        """Return how much of a window was watched, by something that began at ``start_s``."""
        return max(0.0, min(window_s, now_s - max(start_s, self._displaced_s)))

    def _first(self, window_s: float, now_s: float) -> int:
        return bisect_right(self._times_s, now_s - window_s, self._head)


class RollingWindow(Generic[ItemT]):
    """``RollingColumns`` of one column of any kind."""

    def __init__(self, horizon_s: float, capacity: int = CAPACITY) -> None:
        """Keep ``horizon_s`` seconds."""
        self._rows = RollingColumns("O", horizon_s, capacity)
        self.clear, self.span_s = self._rows.clear, self._rows.span_s

    def add(self, item: ItemT, now_s: float) -> None:
        """Add an entry; the oldest one goes where there are too many."""
        self._rows.add(now_s, item)

    def last(self, window_s: float, now_s: float) -> list[ItemT]:
        """Return the entries of the last ``window_s`` seconds, oldest first."""
        found: list[ItemT] = self._rows.last(window_s, now_s)[0]
        return found


def _of_primary(levels: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([level not in _FALLBACKS for level in levels], bool)


class FrameWindow:
    """What became of a node's frames in the last seconds."""

    def __init__(self, deadline_ms: float | None, windows_s: Sequence[float] = WINDOWS_S) -> None:
        """Compare results with ``deadline_ms`` (None: with none); keep as long as the longest window."""
        self._deadline_ms = deadline_ms
        self._windows_s = tuple(windows_s)
        # Place of the outcome in OUTCOMES; end to end and inference, ms, NaN where unknown; stamp, ns; level.
        self._frames = RollingColumns("bddqO", max(windows_s))
        self.clear = self._frames.clear

    def add(self, timing: FrameTiming, now_s: float, level: str = _PRIMARY) -> None:
        """Add a completed frame, and who answered it."""
        infer_ms = timing.stages_ms.get("infer", math.nan)
        outcome = OUTCOMES.index(timing.outcome)
        self._frames.add(now_s, outcome, timing.end_to_end_ms, infer_ms, timing.stamp_ns, level)

    def completed(self, window_s: float, now_s: float) -> int:
        """Return how many frames were completed, with any outcome."""
        return self._frames.count(window_s, now_s)

    def times_ms(self, window_s: float, now_s: float) -> dict[int, tuple[float, float]]:
        """Return stamp to end-to-end and inference time of the frames, NaN where unknown."""
        _, end_to_end_ms, infer_ms, stamps_ns, _ = self._frames.last(window_s, now_s)
        return dict(zip(stamps_ns, zip(end_to_end_ms, infer_ms, strict=True), strict=True))

    def slowest_stamp_ns(self, window_s: float, now_s: float, *, inference: bool = False) -> int | None:
        """Return the stamp of the result that took longest, end to end or in inference; None without one."""
        outcomes, end_to_end_ms, infer_ms, stamps_ns, levels = self._frames.last(window_s, now_s)
        times_ms = np.nan_to_num(np.asarray(infer_ms if inference else end_to_end_ms), nan=-1.0)
        # A failed frame may have got to inference, but no percentile counts it, nor one of a fallback.
        times_ms[np.asarray(outcomes) != OUTCOMES.index("processed")] = -1.0
        times_ms[~_of_primary(levels)] = -1.0
        place = int(times_ms.argmax()) if times_ms.size else 0
        return int(stamps_ns[place]) if times_ms.size and times_ms[place] >= 0.0 else None

    def report(self, window_s: float, now_s: float, start_s: float) -> VariantWindow:
        """Return the figures of the last ``window_s`` seconds, of a node watched since ``start_s``."""
        *columns, levels = self._frames.last(window_s, now_s)
        outcomes, *times_ms, _ = (np.asarray(column) for column in columns)
        counts = np.bincount(outcomes, minlength=len(OUTCOMES)).tolist()
        by_outcome = dict(zip(OUTCOMES, counts, strict=True))
        processed = by_outcome["processed"]
        # Frames without a result have no end-to-end time, but a failed one may have got to inference.
        is_result = outcomes == OUTCOMES.index("processed")
        is_primary = is_result & _of_primary(levels)
        end_to_end_ms, infer_ms = (each[is_primary & np.isfinite(each)] for each in times_ms)
        by_level = Counter(compress(levels, is_result))
        span_s = self._frames.span_s(window_s, now_s, start_s)
        # An age below 0 is that of a clock or a stamp: whether the result was late is unknown.
        known_ms = end_to_end_ms[end_to_end_ms >= 0.0]
        misses = 0 if self._deadline_ms is None else int((known_ms > self._deadline_ms).sum())
        has_share = self._deadline_ms is not None and bool(known_ms.size)
        return VariantWindow(
            window_s=window_s,
            span_s=span_s,
            **by_outcome,
            drop_share=1.0 - processed / len(outcomes) if len(outcomes) else None,
            rate_hz=processed / span_s if span_s > 0.0 else None,
            deadline_misses=misses,
            deadline_miss_share=misses / known_ms.size if has_share else None,
            infer_ms=copied(Percentiles, percentiles(infer_ms)),
            end_to_end_ms=copied(Percentiles, percentiles(end_to_end_ms)),
            by_level=dict(by_level),
            fallback_share=1.0 - int(is_primary.sum()) / processed if processed else None,
        )

    def reports(self, now_s: float, start_s: float) -> dict[str, VariantWindow]:
        """Return the figures of every window, by its name."""
        return {window_name(each): self.report(each, now_s, start_s) for each in self._windows_s}
