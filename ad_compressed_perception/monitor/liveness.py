# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which nodes are silent, and since when. Time is an argument (monotonic seconds)."""

from __future__ import annotations


class Liveness:
    """Remembers when a node was last heard."""

    def __init__(self, node: str, stale_after_s: float, now_s: float) -> None:
        """Expect ``node`` to speak at least every ``stale_after_s`` from now on."""
        self.node = node
        self.stale_after_s = stale_after_s
        self._since_s = now_s
        self.heard = False

    def seen(self, now_s: float) -> None:
        """Note that the node was heard."""
        self._since_s = now_s
        self.heard = True

    def silent_s(self, now_s: float) -> float:
        """Seconds since the node was last heard, or since the watch began."""
        return now_s - self._since_s

    def fault(self, now_s: float) -> str:
        """What is missing, in words; empty while the node speaks often enough."""
        silent_s = self.silent_s(now_s)
        if silent_s <= self.stale_after_s:
            return ""
        if self.heard:
            return f"{self.node} silent for {silent_s:.1f} s"
        return f"{self.node} never heard, for {silent_s:.1f} s"
