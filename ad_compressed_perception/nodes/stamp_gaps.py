# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Estimates from gaps of the source stamps how many frames got lost before the node; no ROS."""

from __future__ import annotations

from collections import deque

import numpy as np

_WINDOW = 64
_ENOUGH = 20
_PAUSE_NS = 10_000_000_000
_PERIOD_PERCENTILE = 20.0
_REFRESHED_EVERY = 8


class StampGaps:
    """Counts the stamps that are missing between those that arrive.

    The camera's period is the median of the shortest differences of the last 64: those of up to 1.5 times
    their 20th percentile, so that it is found while up to two thirds of the frames are lost. A difference of
    at least 1.75 periods has frames missing. Equal stamps (duplicates), earlier ones (a recording in a loop)
    and pauses of more than 10 s are not gaps. A loss of every second frame looks like half the rate: it is
    not seen.

    Attributes:
        missing: stamps missing so far.
    """

    def __init__(self) -> None:
        """Expect the first stamp."""
        self.missing = 0
        self._last_ns = 0
        self._period_ns = 0.0
        self._differences_ns: deque[int] = deque(maxlen=_WINDOW)
        self._missing: deque[int] = deque(maxlen=_WINDOW)
        self._since_refresh = 0

    def add(self, stamp_ns: int) -> None:
        """Add the stamp of an arrived frame; 0 is a stamp that was never set."""
        difference_ns, self._last_ns = stamp_ns - self._last_ns, stamp_ns
        if difference_ns <= 0 or difference_ns > _PAUSE_NS or stamp_ns == 0:
            return
        self._differences_ns.append(difference_ns)
        self._since_refresh += 1
        if len(self._differences_ns) < _ENOUGH:
            return
        if self._since_refresh >= _REFRESHED_EVERY:
            self._since_refresh = 0
            self._refresh()
        missing = int(difference_ns / self._period_ns + 0.25) - 1 if self._period_ns else 0
        self._missing.append(max(missing, 0))
        self.missing += self._missing[-1]

    @property
    def share(self) -> float:
        """Missing stamps / all stamps, of the last ones; 0 before enough arrived."""
        missing = sum(self._missing)
        return missing / (missing + len(self._missing)) if len(self._missing) >= _ENOUGH else 0.0

    def _refresh(self) -> None:
        differences_ns = np.array(self._differences_ns, dtype=np.float64)
        shortest = float(np.percentile(differences_ns, _PERIOD_PERCENTILE))
        self._period_ns = float(np.median(differences_ns[differences_ns <= 1.5 * shortest]))
