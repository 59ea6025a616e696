# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""When a recorded frame is due, at a rate of the recording's own time."""

from __future__ import annotations

from collections.abc import Callable


class Pacer:
    """Decides whether a frame is offered: every one, or those that come due while no variant runs."""

    def __init__(
        self,
        rate: float | None,
        clock: Callable[[], float],
        wait: Callable[[float], None],
    ) -> None:
        """Set the pace.

        Args:
            rate: bag seconds per second; None offers every frame as soon as the previous one is done.
            clock: monotonic seconds.
            wait: sleeps for a number of seconds.
        """
        self._rate = rate
        self._clock = clock
        self._wait = wait
        self._start: tuple[float, int] | None = None

    def is_due(self, bag_time_ns: int) -> bool:
        """Wait until a frame comes due; return False when it came due while variants were running."""
        if self._rate is None:
            return True
        if self._start is None:
            self._start = (self._clock(), bag_time_ns)
            return True
        started_s, first_ns = self._start
        ahead_s = started_s + (bag_time_ns - first_ns) / 1e9 / self._rate - self._clock()
        if ahead_s < 0:
            return False
        if ahead_s > 0:
            self._wait(ahead_s)
        return True
