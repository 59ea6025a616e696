# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A slot that holds the latest frame and nothing older; no ROS."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


class LatestFrameSlot(Generic[ItemT]):
    """Hands the newest item from one thread to another; an item not taken in time is replaced."""

    def __init__(self) -> None:
        """Open an empty slot."""
        self._condition = Condition()
        self._item: ItemT | None = None
        self._open = True

    def put(self, item: ItemT, prefers: Callable[[ItemT, ItemT], bool] | None = None) -> ItemT | None:
        """Store an item; return the one that is discarded (the older one; the new one when closed).

        Args:
            item: the new one.
            prefers: whether the stored item is to stay, and the new one to be discarded.
        """
        with self._condition:
            if not self._open:
                return item
            if prefers is not None and self._item is not None and prefers(self._item, item):
                return item
            displaced, self._item = self._item, item
            self._condition.notify()
            return displaced

    def take(self) -> ItemT | None:
        """Wait for an item and take it; return None once the slot is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._item is not None or not self._open)
            if not self._open:
                return None
            item, self._item = self._item, None
            return item

    @property
    def is_open(self) -> bool:
        """Whether it takes items."""
        return self._open

    def close(self) -> ItemT | None:
        """Close the slot and wake the waiting thread; return the item that was not taken."""
        with self._condition:
            self._open = False
            left, self._item = self._item, None
            self._condition.notify_all()
            return left
