# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A slot for the newest frame: a newer one displaces the waiting one, never the one in work; no ROS."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Lock
from typing import Generic, Protocol, TypeVar

ItemT = TypeVar("ItemT")


class LatestFrameSlot(Generic[ItemT]):
    """Holds at most one item."""

    def __init__(self) -> None:
        """Open an empty slot."""
        self._lock = Lock()
        self._item: ItemT | None = None
        self._open = True

    def put(self, item: ItemT, prefers: Callable[[ItemT, ItemT], bool] | None = None) -> ItemT | None:
        """Store an item; return the one that is discarded (the older one; the new one when closed).

        Args:
            item: the new one.
            prefers: whether the stored item is to stay, and the new one to be discarded.
        """
        with self._lock:
            if not self._open:
                return item
            if prefers is not None and self._item is not None and prefers(self._item, item):
                return item
            displaced, self._item = self._item, item
            return displaced

    def take(self) -> ItemT | None:
        """Take the item; return None where there is none, and once the slot is closed."""
        with self._lock:
            item, self._item = self._item, None
            return item

    @property
    def is_open(self) -> bool:
        """Whether it takes items."""
        return self._open

    def close(self) -> ItemT | None:
        """Close the slot; return the item that was not taken."""
        with self._lock:
            self._open = False
            left, self._item = self._item, None
            return left


class FrameSlot(Protocol[ItemT]):
    """Where frames wait for a worker."""

    def put(self, item: ItemT, prefers: Callable[[ItemT, ItemT], bool] | None = None) -> ItemT | None:
        """Store an item; return the one that is discarded; see LatestFrameSlot.put."""

    def take(self) -> ItemT | None:
        """Take the next item; return None where there is none, and once the slot is closed."""

    @property
    def is_open(self) -> bool:
        """Whether it takes items."""

    def close(self) -> ItemT | None:
        """Close the slot; return an item that was not taken, with each call another one, then None."""


class FrameSource(Protocol):
    """Where a worker's frames come from."""

    def receive(self) -> None:
        """Offer the worker what has come."""

    def wait(self) -> None:
        """Wait until something has come or until wake(), also an earlier one."""

    def wake(self) -> None:
        """Let the present or the next wait() end."""


class OfferedFrames:
    """A source of frames that other threads offer to the worker themselves."""

    def __init__(self) -> None:
        """Prepare."""
        self._woken = Event()

    def receive(self) -> None:
        """Do nothing: they are offered already."""

    def wait(self) -> None:
        """Wait until wake() was called."""
        self._woken.wait()
        self._woken.clear()

    def wake(self) -> None:
        """Let the present or the next wait() end."""
        self._woken.set()
