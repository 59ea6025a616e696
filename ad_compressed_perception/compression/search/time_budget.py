# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The time budget of a search: what is left, and what is reserved for the verdict."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from ad_compressed_perception.core.errors import AdcpError


class OutOfTimeError(AdcpError):
    """The time is over during a step; the search continues with the results it has."""


class TimeBudget:
    """Measures the time left of a search.

    Attributes:
        reserve_s: seconds reserved for the last steps: the winner is built again, verified and stored.
    """

    def __init__(self, minutes: float, now: Callable[[], float] = monotonic) -> None:
        """Start counting.

        Args:
            minutes: for everything.
            now: the monotonic clock, seconds.
        """
        self._now = now
        self._start = now()
        self.total_s = 60.0 * minutes
        self.reserve_s = 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._now() - self._start

    @property
    def left_s(self) -> float:
        """Seconds until only the reserve is left; negative after that."""
        return self.total_s - self.reserve_s - self.elapsed_s

    def is_past(self, share: float) -> bool:
        """Whether this share of the time, less the reserve, is over."""
        return self.elapsed_s >= share * max(0.0, self.total_s - self.reserve_s)

    def check(self, begun_s: float = 0.0, share: float = 1.0) -> None:
        """Raise OutOfTimeError where only the reserve is left, or one step takes more than its share.

        Args:
            begun_s: ``elapsed_s`` when that step began.
            share: of the whole time.
        """
        if self.left_s <= 0.0:
            raise OutOfTimeError("out of time: give more minutes; the same command resumes from here")
        if self.elapsed_s - begun_s > share * self.total_s:
            raise OutOfTimeError(f"making it took more than {share:.0%} of the time: give more minutes")
