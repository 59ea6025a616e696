# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which nodes send no messages, and since when. Time is an argument (monotonic seconds)."""

from __future__ import annotations


class Liveness:
    """Tracks the time of a node's last message."""

    def __init__(self, node: str, stale_after_s: float, now_s: float) -> None:
        """Expect a message of ``node`` at least every ``stale_after_s`` from now on."""
        self.node = node
        self.stale_after_s = stale_after_s
        self._since_s = now_s
        self.has_reported = False

    def seen(self, now_s: float) -> None:
        """Record a message of the node."""
        self._since_s = now_s
        self.has_reported = True

    def silent_s(self, now_s: float) -> float:
        """Seconds since the node's last message, or since monitoring started."""
        return now_s - self._since_s

    def fault(self, now_s: float) -> str:
        """What is missing, as a sentence; empty while the node sends often enough."""
        silent_s = self.silent_s(now_s)
        if silent_s <= self.stale_after_s:
            return ""
        if self.has_reported:
            return f"{self.node} silent for {silent_s:.1f} s"
        return f"{self.node} has sent no message yet, for {silent_s:.1f} s"
