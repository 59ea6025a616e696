# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Share of the primary's last frames that missed their deadline, with a bound for how few they are."""

from __future__ import annotations

import math
from collections import deque

FRAMES = 100
_Z = 1.645
"""One-sided 95 percent of the normal distribution."""


class MissRate:
    """The last 100 frames of one model.

    The estimate is the lower end of Wilson's score interval (E. Wilson, Journal of the American Statistical
    Association 22, 1927) of the share of misses, one-sided 95 percent, as if frames were independent: two
    misses in the first two frames are no rate of 100 percent, but one of at least 43.
    """

    def __init__(self) -> None:
        """Begin without frames."""
        self._misses: deque[bool] = deque(maxlen=FRAMES)

    def add(self, *, missed: bool) -> None:
        """Add a frame."""
        self._misses.append(missed)

    def clear(self) -> None:
        """Forget all frames, as those of another model."""
        self._misses.clear()

    @property
    def share(self) -> float:
        """Misses / frames; 0 where there are none."""
        return sum(self._misses) / len(self._misses) if self._misses else 0.0

    @property
    def at_least(self) -> float:
        """The lower bound of the share, 0 to 1."""
        frames = len(self._misses)
        if not frames:
            return 0.0
        share, z2 = self.share, _Z * _Z
        spread = _Z * math.sqrt(share * (1.0 - share) / frames + z2 / (4.0 * frames * frames))
        return max(0.0, (share + z2 / (2.0 * frames) - spread) / (1.0 + z2 / frames))
