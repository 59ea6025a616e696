# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Finds out who made a result: results and timings of a node come on two topics, in any order."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from ad_compressed_perception.core.results import Result
from ad_compressed_perception.monitor.accounts import AnsweredBy

_MOST_RESULTS = 64
_MOST_TIMINGS = 1024


@dataclass(frozen=True)
class AttributedResult:
    """A result, who made it, and when it came (monotonic seconds)."""

    stamp_ns: int
    result: Result
    by: AnsweredBy
    came_s: float


class Attribution:
    """Holds a node's results until their timings have come, and the other way round.

    A result waits for ``timeout_s`` and is given up then, since a fallback may have made it. Only where none
    of the node's timings has ever come, expire() passes it on as of unknown origin. Results and timings of a
    stamp are joined in order of arrival, so that a recording may start again.

    Attributes:
        given_up: results of which nobody knows who made them.
        has_timings: whether the node has sent one.
    """

    def __init__(self, timeout_s: float) -> None:
        """Begin without a result."""
        self._timeout_s = timeout_s
        self._results: deque[tuple[int, Result, float]] = deque()
        self._timings: OrderedDict[tuple[int, int], tuple[AnsweredBy, float]] = OrderedDict()
        self._number = 0
        self.given_up = 0
        self.has_timings = False

    def add_result(self, stamp_ns: int, result: Result, now_s: float) -> list[AttributedResult]:
        """Add a result; return it, where its timing has come, or another that can wait no longer."""
        key = next((key for key in self._timings if key[0] == stamp_ns), None)
        if key is not None:
            by, _ = self._timings.pop(key)
            return [AttributedResult(stamp_ns, result, by, now_s)]
        self._results.append((stamp_ns, result, now_s))
        return self._passed_on() if len(self._results) > _MOST_RESULTS else []

    def add_timing(self, stamp_ns: int, by: AnsweredBy, now_s: float) -> list[AttributedResult]:
        """Add who answered a processed frame; return its result, where that has come."""
        self.has_timings = True
        for place, (stamp, result, came_s) in enumerate(self._results):
            if stamp == stamp_ns:
                del self._results[place]
                return [AttributedResult(stamp_ns, result, by, came_s)]
        self._number += 1
        self._timings[stamp_ns, self._number] = (by, now_s)
        if len(self._timings) > _MOST_TIMINGS:
            self._timings.popitem(last=False)
        return []

    def expire(self, now_s: float) -> list[AttributedResult]:
        """Return what has waited in vain and may be passed on; without any timing yet nothing need wait."""
        while self._timings and now_s - next(iter(self._timings.values()))[1] > self._timeout_s:
            self._timings.popitem(last=False)
        found = []
        while self._results and (not self.has_timings or now_s - self._results[0][2] > self._timeout_s):
            found += self._passed_on()
        return found

    def _passed_on(self) -> list[AttributedResult]:
        stamp_ns, result, came_s = self._results.popleft()
        if self.has_timings:
            self.given_up += 1
            return []
        return [AttributedResult(stamp_ns, result, AnsweredBy(), came_s)]
