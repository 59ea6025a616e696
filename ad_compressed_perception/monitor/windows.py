# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of the last seconds. No clock is read: time is an argument, monotonic seconds that never decrease.

A window of W seconds at ``now_s`` holds what was added after ``now_s - W``: an entry that is exactly W old is
out. An empty window has no figure; what was true before it is not repeated.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from itertools import takewhile
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.timing import OUTCOMES, FrameTiming
from ad_compressed_perception.metrics.latency import LatencyPercentiles, percentiles
from ad_compressed_perception.report import schema

ItemT = TypeVar("ItemT")
CAPACITY = 8192
"""Entries that a window keeps at most: 60 s at 136 Hz. Beyond, it is shorter, and ``span_s`` says so."""

WINDOWS_S = (10.0, 60.0)


def window_name(window_s: float) -> str:
    """Return the key of a window in the report, such as "10s"."""
    return f"{window_s:g}s"


def to_schema(values: LatencyPercentiles) -> schema.Percentiles:
    """Return percentiles as they stand in the report."""
    return schema.Percentiles(**asdict(values))


class RollingWindow(Generic[ItemT]):
    """The entries of the last ``horizon_s`` seconds, at most ``capacity`` of them."""

    def __init__(self, horizon_s: float, capacity: int = CAPACITY) -> None:
        """Keep ``horizon_s`` seconds."""
        self._horizon_s = horizon_s
        self._entries: deque[tuple[float, ItemT]] = deque(maxlen=capacity)
        self._displaced_s = -math.inf

    def add(self, item: ItemT, now_s: float) -> None:
        """Add an entry; the oldest one goes where there are too many."""
        self.forget(now_s)
        if len(self._entries) == self._entries.maxlen:
            self._displaced_s = self._entries[0][0]
        self._entries.append((now_s, item))

    def forget(self, now_s: float) -> None:
        """Drop what is older than the horizon."""
        while self._entries and self._entries[0][0] <= now_s - self._horizon_s:
            self._entries.popleft()

    def clear(self) -> None:
        """Drop everything."""
        self._entries.clear()

    def last(self, window_s: float, now_s: float) -> list[ItemT]:
        """Return the entries of the last ``window_s`` seconds, oldest first."""
        start_s = now_s - window_s
        found = [item for _, item in takewhile(lambda entry: entry[0] > start_s, reversed(self._entries))]
        found.reverse()
        return found

    def span_s(self, window_s: float, now_s: float, start_s: float) -> float:
        """Return how much of a window was watched, by something that began at ``start_s``."""
        return max(0.0, min(window_s, now_s - max(start_s, self._displaced_s)))


class FrameWindow:
    """What became of a node's frames in the last seconds."""

    def __init__(self, deadline_ms: float | None, windows_s: Sequence[float] = WINDOWS_S) -> None:
        """Compare results with ``deadline_ms`` (None: with none); keep as long as the longest window."""
        self._deadline_ms = deadline_ms
        self._windows_s = tuple(windows_s)
        # Place of the outcome in OUTCOMES; end to end and inference, ms, NaN where unknown; stamp.
        self._frames: RollingWindow[tuple[int, float, float, int]] = RollingWindow(max(windows_s))

    def add(self, timing: FrameTiming, now_s: float) -> None:
        """Add a completed frame."""
        infer_ms = timing.stages_ms.get("infer", math.nan)
        outcome = OUTCOMES.index(timing.outcome)
        self._frames.add((outcome, timing.end_to_end_ms, infer_ms, timing.stamp_ns), now_s)

    def completed(self, window_s: float, now_s: float) -> int:
        """Return how many frames were completed, with any outcome."""
        return len(self._frames.last(window_s, now_s))

    def times_ms(self, window_s: float, now_s: float) -> dict[int, tuple[float, float]]:
        """Return stamp to end-to-end and inference time of the frames, NaN where unknown."""
        return {each[3]: (each[1], each[2]) for each in self._frames.last(window_s, now_s)}

    def slowest_stamp_ns(self, window_s: float, now_s: float, *, inference: bool = False) -> int | None:
        """Return the stamp of the result that took longest, end to end or in inference; None without one."""
        column = 2 if inference else 1
        known = [each for each in self._frames.last(window_s, now_s) if math.isfinite(each[column])]
        return max(known, key=lambda each: each[column])[3] if known else None

    def report(self, window_s: float, now_s: float, start_s: float) -> schema.VariantWindow:
        """Return the figures of the last ``window_s`` seconds, of a node watched since ``start_s``."""
        frames = self._frames.last(window_s, now_s)
        table: NDArray[np.float64] = np.array(frames, np.float64).reshape(-1, 4)
        counts = np.bincount(table[:, 0].astype(np.int64), minlength=len(OUTCOMES)).tolist()
        by_outcome = dict(zip(OUTCOMES, counts, strict=True))
        processed = table[table[:, 0] == OUTCOMES.index("processed")]
        end_to_end_ms, infer_ms = (each[np.isfinite(each)] for each in processed[:, 1:3].T)
        span_s = self._frames.span_s(window_s, now_s, start_s)
        misses = 0 if self._deadline_ms is None else int((end_to_end_ms > self._deadline_ms).sum())
        has_share = self._deadline_ms is not None and bool(end_to_end_ms.size)
        return schema.VariantWindow(
            window_s=window_s,
            span_s=span_s,
            **by_outcome,
            drop_share=1.0 - len(processed) / len(frames) if frames else None,
            rate_hz=len(processed) / span_s if span_s > 0.0 else None,
            deadline_misses=misses,
            deadline_miss_share=misses / end_to_end_ms.size if has_share else None,
            infer_ms=to_schema(percentiles(infer_ms)),
            end_to_end_ms=to_schema(percentiles(end_to_end_ms)),
        )

    def reports(self, now_s: float, start_s: float) -> dict[str, schema.VariantWindow]:
        """Return the figures of every window, by its name."""
        return {window_name(each): self.report(each, now_s, start_s) for each in self._windows_s}
