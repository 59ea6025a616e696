# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pairs the results of two nodes for the same frame, by its source stamp, and counts them.

Every arrival is counted in exactly one counter of its side, so that at any moment

    arrived = pairs + unpaired + late + unstamped + pending

holds for the baseline and for the variant. Time is an argument: monotonic seconds that never
decrease.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

ValueT = TypeVar("ValueT")
Side = Literal["baseline", "variant"]
_OTHER: dict[Side, Side] = {"baseline": "variant", "variant": "baseline"}


@dataclass
class PairCounters:
    """Counters of one side's arrivals.

    Attributes:
        arrived: all of them.
        unpaired: the other side gave no result in time.
        late: came after the other side's result had expired.
        unstamped: source stamp of zero or less, which identifies no frame.
        pending: still waiting.
        repeated: arrivals of a stamp that was already waiting on the same side; also in another
            counter, and a sign of a looping bag or a camera that repeats its stamps.
    """

    arrived: int = 0
    unpaired: int = 0
    late: int = 0
    unstamped: int = 0
    pending: int = 0
    repeated: int = 0


@dataclass(frozen=True)
class _Waiting(Generic[ValueT]):
    stamp_ns: int
    side: Side
    since_s: float
    value: ValueT


class StampPairer(Generic[ValueT]):
    """Pairs two streams whose results may come in any order, late, twice or never.

    Results of one stamp are paired in order of arrival, so a repeated stamp (a bag that loops) is
    paired again. A result that waited longer than ``timeout_s`` expires as
    unpaired; its partner, if it still comes within ``late_memory_s``, is late and pairs with
    nothing.
    """

    def __init__(self, timeout_s: float, *, capacity: int = 64, late_memory_s: float | None = None) -> None:
        """Build an empty pairer.

        Args:
            timeout_s: how long a result waits for its partner.
            capacity: results that may wait at once; the oldest expires when one more comes.
            late_memory_s: how long an expired stamp is remembered; five timeouts by default. A
                stamp that arrives again after that is treated as new, as when a bag loops.
        """
        if not timeout_s > 0.0 or capacity < 1:
            raise ValueError("timeout_s must be positive and capacity at least 1")
        self.timeout_s = timeout_s
        self.pairs = 0
        self.counters: dict[Side, PairCounters] = {"baseline": PairCounters(), "variant": PairCounters()}
        self._capacity = capacity
        self._memory_s = 5.0 * timeout_s if late_memory_s is None else late_memory_s
        self._next = 0
        self._waiting: OrderedDict[int, _Waiting[ValueT]] = OrderedDict()
        self._by_stamp: dict[int, deque[int]] = {}
        self._awaited: OrderedDict[tuple[int, Side], list[float]] = OrderedDict()

    def add(self, side: Side, stamp_ns: int, value: ValueT, now_s: float) -> tuple[ValueT, ValueT] | None:
        """Add an arrival; return (baseline's, variant's) value where it completes a pair."""
        self.expire(now_s)
        counters = self.counters[side]
        counters.arrived += 1
        if stamp_ns <= 0:
            counters.unstamped += 1
            return None
        queue = self._by_stamp.get(stamp_ns)
        if queue and self._waiting[queue[0]].side != side:
            partner = self._take(queue[0])
            self.pairs += 1
            if side == "baseline":
                return value, partner.value
            return partner.value, value
        if self._has_expired(stamp_ns, side):
            counters.late += 1
            return None
        # An expired stamp arrives again on the same side: a new pass of the bag, whose partner is not late.
        self._awaited.pop((stamp_ns, _OTHER[side]), None)
        counters.repeated += bool(queue)
        self._wait(_Waiting(stamp_ns, side, now_s, value))
        if len(self._waiting) > self._capacity:
            self._expire(now_s)
        return None

    def expire(self, now_s: float) -> None:
        """Drop what has waited longer than the timeout."""
        while self._waiting:
            oldest = next(iter(self._waiting.values()))
            if now_s - oldest.since_s <= self.timeout_s:
                break
            self._expire(now_s)
        while self._awaited:
            expired_s = next(iter(self._awaited.values()))
            if len(self._awaited) <= 8 * self._capacity and now_s - expired_s[-1] <= self._memory_s:
                break
            self._awaited.popitem(last=False)

    def close(self, now_s: float) -> None:
        """Drop everything that waits: no more results will come."""
        while self._waiting:
            self._expire(now_s)

    @property
    def unpaired(self) -> int:
        """Results of either side whose partner did not come in time."""
        return self.counters["baseline"].unpaired + self.counters["variant"].unpaired

    @property
    def late(self) -> int:
        """Results of either side that came after their partner expired."""
        return self.counters["baseline"].late + self.counters["variant"].late

    @property
    def pending(self) -> int:
        """Results of either side that still wait."""
        return len(self._waiting)

    def _wait(self, item: _Waiting[ValueT]) -> None:
        self._waiting[self._next] = item
        self._by_stamp.setdefault(item.stamp_ns, deque()).append(self._next)
        self._next += 1
        self.counters[item.side].pending += 1

    def _take(self, key: int) -> _Waiting[ValueT]:
        """Remove a waiting result; it is always the oldest of its stamp."""
        item = self._waiting.pop(key)
        queue = self._by_stamp[item.stamp_ns]
        queue.popleft()
        if not queue:
            del self._by_stamp[item.stamp_ns]
        self.counters[item.side].pending -= 1
        return item

    def _expire(self, now_s: float) -> None:
        item = self._take(next(iter(self._waiting)))
        self.counters[item.side].unpaired += 1
        key = (item.stamp_ns, _OTHER[item.side])
        self._awaited.setdefault(key, []).append(now_s)
        self._awaited.move_to_end(key)

    def _has_expired(self, stamp_ns: int, side: Side) -> bool:
        """Whether a partner of this arrival has expired; forgets one such partner."""
        expired_s = self._awaited.get((stamp_ns, side))
        if expired_s is None:
            return False
        expired_s.pop()
        if not expired_s:
            del self._awaited[(stamp_ns, side)]
        return True
