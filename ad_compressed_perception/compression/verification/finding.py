# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Outcome of one term of acceptance, and how many frames would settle an open one."""

from __future__ import annotations

import math
from enum import Enum
from statistics import NormalDist
from typing import NamedTuple

# More frames are advised up to so many times the number used.
_MAX_FRAMES_FACTOR = 100
_FACTOR_STEPS = 200
# Largest probability that the verdict on the advised frames is inconclusive again. Below a tenth, since the
# interval that the advice is computed from is itself an estimate (docs/guides/verdict.md has the simulation).
_OPEN_AGAIN = 0.04
_Z95 = NormalDist().inv_cdf(0.975)


OPEN_ANYWAY = "a hundred times the frames may not settle it: too near the limit, or too uncertain"
"""What a reason says where ``frames_needed`` knows no number."""


class Finding(Enum):
    """Outcome of a term."""

    MET = "met"
    FAILED = "failed"
    OPEN = "open"


class Estimate(NamedTuple):
    """A loss with its 95 % interval, and the number of frames that it was computed from."""

    loss: float
    low: float
    high: float
    frames: int


def check_upper_limit(found: Estimate, limit: float, text: str, advice: str) -> tuple[Finding, str]:
    """Return the outcome of a term that allows a loss up to ``limit``, and why.

    Args:
        found: the loss; met or failed where its whole interval is on one side of the limit.
        limit: in the loss's unit.
        text: what lost how much; the reason begins with it.
        advice: ends the reason where the term is open; ``{more}`` becomes the number of frames.
    """
    if found.high <= limit:
        return Finding.MET, f"{text}, within the allowed {limit:g}"
    if found.low > limit:
        return Finding.FAILED, f"{text}, beyond the allowed {limit:g}"
    more = frames_needed(found.frames, found.loss, found.low, found.high, limit)
    remedy = OPEN_ANYWAY if more is None else advice.format(more=more)
    return Finding.OPEN, f"{text}, around the allowed {limit:g}: {remedy}"


def frames_needed(frames: int, drop: float, low: float, high: float, limit: float) -> int | None:
    """Return how many frames would decide with a probability of 90 %; None above a hundred times as many.

    With k times the frames the interval's half widths shrink with the root of k, and the new estimate lies
    around the present one with the variance s^2 (1 + 1/k): the present one is uncertain too. The probability
    that the new interval contains the limit is therefore the normal distribution's between limit - upper half
    width and limit + lower half width ("assurance": A. O'Hagan, J. Stevens and M. Campbell, Pharmaceutical
    Statistics 4(3), 2005).
    """
    # That of the side towards the limit: a small drop's interval is skewed.
    deviation = (high - drop if drop <= limit else drop - low) / _Z95
    if not deviation > 0.0:
        return None
    for step in range(1, _FACTOR_STEPS + 1):
        factor = _MAX_FRAMES_FACTOR ** (step / _FACTOR_STEPS)
        estimate = NormalDist(drop, deviation * math.sqrt(1.0 + 1.0 / factor))
        shrink = math.sqrt(factor)
        still_open = estimate.cdf(limit + (drop - low) / shrink) - estimate.cdf(
            limit - (high - drop) / shrink
        )
        if still_open <= _OPEN_AGAIN:
            return max(frames + 1, math.ceil(frames * factor))
    return None
