# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a result follows from the one before: its changes against those of normal frames of this run."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from types import MappingProxyType

from ad_compressed_perception.core.results import Classification, Result
from ad_compressed_perception.serving.result_changes import FLOORS, Summary, changes, summarize
from ad_compressed_perception.serving.running_quantile import RunningQuantile

QUANTILE, FACTOR = 0.99, 4.0
"""A difference beyond this factor of this quantile of normal changes is a contradiction."""
DOUBT_FACTOR, DOUBT_FLOOR = 1.5, 0.25
"""A change beyond this factor, and this part of the least limit, is doubtful: the standby is asked."""
DOUBTS = 5
"""Doubtful frames in a row on which the standby differs by as much: then that is a contradiction, too."""
FACTOR_UNKNOWN = 2.0
"""Of the least limit, as long as too few normal changes are known."""
_LONGEST_GAP_S = 1.0
_FLIPS_IN = 20
_MOST_FLIPS = 8


class Plausibility:
    """Learns from published results, of whichever model; checks the next one.

    There is no limit after a gap of more than 1 s, or where stamps go back. Before 100 changes it is that of
    the changes that are expected, else twice the least one: faults of the first frames would otherwise be
    learned as normal. A frame lost between two
    results doubles the limit, and so on.
    """

    def __init__(self, expected: Mapping[str, float] = MappingProxyType({})) -> None:
        """Begin without results; ``expected``: quantiles of normal changes by name, where they are known."""
        self._expected = expected
        self._limits: dict[str, RunningQuantile] = defaultdict(lambda: RunningQuantile(QUANTILE))
        self._last: Summary | None = None
        self._stamp_ns = 0
        self._source: object = None
        self._period_ns = 0.0
        self._flips: deque[bool] = deque(maxlen=_FLIPS_IN)
        self._doubts = 0

    def judge(self, result: Result, stamp_ns: int, *, whole: bool = False) -> str:
        """Return what is doubtful of a result after the last published one; empty: nothing.

        ``whole``: only a change beyond the limit of a contradiction, where no other result can be asked for.
        """
        after, gap_ns = summarize(result), stamp_ns - self._stamp_ns
        if after is None or self._last is None or not self._follows(gap_ns):
            return ""
        if after.kind is Classification and self._is_flip(after):
            flips = sum(self._flips) + 1
            if len(self._flips) == _FLIPS_IN and flips > _MOST_FLIPS:
                return f"the label changed {flips} times in {_FLIPS_IN} frames"
        frames = max(gap_ns / self._period_ns, 1.0) if self._period_ns else 1.0
        limit_of = self.limit if whole else self.doubt
        return self._exceeding(changes(self._last, after), limit_of, frames)

    def compare(self, one: Result, other: Result) -> str:
        """Return how two results of a frame differ by more than those of neighbors; empty: they do not."""
        return self._compare(one, other, self.limit)

    def contradicts(self, primary: Result, standby: Result) -> str:
        """Return how the standby contradicts a doubtful result; empty: it does not, or not yet."""
        if found := self.compare(primary, standby):
            return found
        found = self.differs(primary, standby)
        self._doubts = self._doubts + 1 if found else 0
        return f"{found}, {self._doubts} times" if self._doubts >= DOUBTS else ""

    def differs(self, one: Result, other: Result) -> str:
        """Return how two results of a frame differ by more than a doubtful change; empty: they do not."""
        return self._compare(one, other, self.doubt)

    def _compare(self, one: Result, other: Result, limit: Callable[[str], float]) -> str:
        first, second = summarize(one), summarize(other)
        return "" if first is None or second is None else self._exceeding(changes(first, second), limit, 1.0)

    def limit(self, name: str) -> float:
        """Return the difference that is a contradiction."""
        normal = self._normal(name)
        return FACTOR_UNKNOWN * FLOORS[name] if normal is None else max(FLOORS[name], FACTOR * normal)

    def doubt(self, name: str) -> float:
        """Return the change between neighboring frames that is doubtful."""
        normal = self._normal(name)
        if normal is None:
            return FACTOR_UNKNOWN * FLOORS[name]
        return max(DOUBT_FLOOR * FLOORS[name], DOUBT_FACTOR * normal)

    def _normal(self, name: str) -> float | None:
        learned = self._limits[name].value if name in self._limits else None
        return self._expected.get(name) if learned is None else learned

    def _exceeding(self, found: dict[str, float], limit_of: Callable[[str], float], frames: float) -> str:
        for name, value in found.items():
            limit = limit_of(name)
            if value > limit * frames:
                return f"{name} changed by {value:.3g}, limit {limit * frames:.3g}"
        return ""

    def accept(self, result: Result, stamp_ns: int, source: object) -> None:
        """Learn from a published result; a change from one source (a model) to another is not normal."""
        after, gap_ns = summarize(result), stamp_ns - self._stamp_ns
        before, self._last, self._stamp_ns = self._last, after, stamp_ns
        is_same, self._source = source == self._source, source
        if after is None or before is None or not self._follows(gap_ns):
            self._flips.clear()
            return
        if not self._period_ns or gap_ns < 1.5 * self._period_ns:
            self._period_ns += (gap_ns - self._period_ns) * (0.05 if self._period_ns else 1.0)
            if is_same:
                for name, value in changes(before, after).items():
                    self._limits[name].add(value)
        if after.kind is Classification:
            self._flips.append(self._is_flip(after, before))

    def _follows(self, gap_ns: int) -> bool:
        return 0 < gap_ns < _LONGEST_GAP_S * 1e9

    def _is_flip(self, after: Summary, before: Summary | None = None) -> bool:
        earlier = before or self._last
        return earlier is not None and int(earlier.values.argmax()) != int(after.values.argmax())
