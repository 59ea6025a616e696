# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The newest frame of each of several cameras, taken in a fair order; no ROS.

Start-time fair queueing (P. Goyal, H. Vin, H. Cheng, IEEE/ACM Transactions on Networking 5, 1997) with frames
of one size: the frame that comes to an empty slot gets a start tag, the later one of the virtual time and the
camera's last finish tag; the smallest start tag is taken, of equal ones that of the camera whose turn is
longest ago; the finish tag follows by 1 / weight, and the virtual time is the start tag of what was taken.

With equal weights that is round robin over the cameras that have a frame. Camera j has at most
ceil(w_j / w_i) turns while a frame of camera i waits, whatever rates they have: that frame is begun after at
most so many frames of each other camera, and the one in work. A newer frame takes the place of the waiting
one, and its turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from threading import Lock
from typing import Generic, Protocol, TypeVar

MOST_WEIGHT = 16
_UNIT = lcm(*range(1, MOST_WEIGHT + 1))
"""Tags are whole numbers of so many a frame of weight 1: they add up without rounding for any time."""


class OfCamera(Protocol):
    """What belongs to a camera, such as a frame that arrived."""

    @property
    def camera(self) -> str:
        """Its name."""


ItemT = TypeVar("ItemT", bound=OfCamera)


@dataclass
class _Queue(Generic[ItemT]):
    """A camera's slot; ``turn``: number of its last turn."""

    step: int
    item: ItemT | None = None
    start: int = 0
    finish: int = 0
    turn: int = -1


class FairSlots(Generic[ItemT]):
    """Holds at most one item of each camera, and those that were promised to the next turns."""

    def __init__(self, cameras: Sequence[str], weights: Mapping[str, int] | None = None) -> None:
        """Open empty slots; see set_weights."""
        self._lock = Lock()
        self._queues: dict[str, _Queue[ItemT]] = {name: _Queue(_UNIT) for name in cameras}
        self._promised: deque[ItemT] = deque()
        self._virtual = self._turns = 0
        self._open = True
        self.set_weights(weights or {})

    def set_weights(self, weights: Mapping[str, int]) -> None:
        """Let cameras with a frame have turns in these proportions from now on.

        Args:
            weights: 1 to MOST_WEIGHT; 1 where a camera is not named.
        """
        with self._lock:
            for name, queue in self._queues.items():
                queue.step = _UNIT // weights.get(name, 1)

    def put(self, item: ItemT, prefers: Callable[[ItemT, ItemT], bool] | None = None) -> ItemT | None:
        """Store an item as its camera's; return the one that is discarded; see LatestFrameSlot.put."""
        with self._lock:
            if not self._open:
                return item
            queue = self._queues[item.camera]
            if queue.item is None:
                queue.start = max(self._virtual, queue.finish)
            elif prefers is not None and prefers(queue.item, item):
                return item
            displaced, queue.item = queue.item, item
            return displaced

    def take(self) -> ItemT | None:
        """Take the next item; return None where there is none, and once the slots are closed."""
        with self._lock:
            return self._first() if self._open else None

    def promise(self, count: int) -> list[ItemT]:
        """Return the items that the next turns take, at most so many: none of them is displaced any more."""
        with self._lock:
            while self._open and len(self._promised) < count and (item := self._next()) is not None:
                self._promised.append(item)
            return list(self._promised)

    def _first(self) -> ItemT | None:
        return self._promised.popleft() if self._promised else self._next()

    def _next(self) -> ItemT | None:
        waiting = [queue for queue in self._queues.values() if queue.item is not None]
        if not waiting:
            return None
        queue = min(waiting, key=lambda each: (each.start, each.turn))
        item, queue.item = queue.item, None
        self._virtual, queue.finish = queue.start, queue.start + queue.step
        queue.turn, self._turns = self._turns, self._turns + 1
        return item

    @property
    def is_open(self) -> bool:
        """Whether they take items."""
        return self._open

    def close(self) -> ItemT | None:
        """Close the slots; return an item that was not taken, with each call another one, then None."""
        with self._lock:
            self._open = False
            return self._first()
