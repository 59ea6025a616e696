# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Outcome of one term of acceptance, and how many frames would settle an open one."""

from __future__ import annotations

import math
from enum import Enum

# More frames are advised up to so many times the number used.
_MAX_FRAMES_FACTOR = 100


class Finding(Enum):
    """Outcome of a term."""

    MET = "met"
    FAILED = "failed"
    OPEN = "open"


def frames_needed(frames: int, drop: float, low: float, high: float, limit: float) -> int | None:
    """Return roughly how many frames would bring the interval to one side of the limit.

    The half width of an interval shrinks with the root of the number of frames. None where that would
    take more than a hundred times the frames there were.
    """
    half = high - drop if drop <= limit else drop - low
    margin = abs(limit - drop)
    if margin * math.sqrt(_MAX_FRAMES_FACTOR) < half or margin == 0.0:
        return None
    return max(frames + 1, math.ceil(frames * (half / margin) ** 2))
