# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which nodes send no messages, and since when. Time is an argument (monotonic seconds)."""

from __future__ import annotations


class Liveness:
    """Tracks the times of a node's last message and of its last result.

    A message about a dropped or failed frame shows that the node's process lives. Only a result shows that
    it works.
    """

    def __init__(self, node: str, stale_after_s: float, now_s: float) -> None:
        """Expect a message and a result of ``node`` at least every ``stale_after_s`` from now on."""
        self.node = node
        self.stale_after_s = stale_after_s
        self._since_s = self._result_s = now_s
        self.has_reported = False

    def seen(self, now_s: float, *, has_result: bool) -> None:
        """Record a message of the node, and whether it is about a result."""
        self._since_s = now_s
        self.has_reported = True
        if has_result:
            self._result_s = now_s

    def silent_s(self, now_s: float) -> float:
        """Seconds since the node's last message, or since monitoring started."""
        return now_s - self._since_s

    def fault(self, now_s: float) -> str:
        """What is missing, as a sentence; empty while the node gives results often enough."""
        silent_s = self.silent_s(now_s)
        if silent_s > self.stale_after_s:
            if self.has_reported:
                return f"{self.node} silent for {silent_s:.1f} s"
            return f"{self.node} has sent no message yet, for {silent_s:.1f} s"
        without_s = now_s - self._result_s
        if without_s > self.stale_after_s and self.has_reported:
            return f"{self.node} has given no result for {without_s:.1f} s, though frames arrive in it"
        return ""
