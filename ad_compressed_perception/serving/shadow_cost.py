# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a shadow costs the primary: blocks of frames with and without it, in turn."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.metrics.bootstrap import percentile_interval
from ad_compressed_perception.metrics.interval import Interval

_MOST_FRAMES = 8000
_RESAMPLES = 200
FEWEST_ROUNDS = 4
"""Pairs of blocks below which there is no interval."""


@dataclass(frozen=True)
class ShadowCost:
    """Latency of the primary with the shadow, relative to that without.

    Attributes:
        p50: ratio of the medians.
        p99: ratio of the 99th percentiles.
        rounds: complete pairs of blocks.
        frames: of them, with the shadow and without.
    """

    p50: Interval = Interval()
    p99: Interval = Interval()
    rounds: int = 0
    frames: int = 0


class CostBlocks:
    """Says frame by frame whether the shadow may run, and compares the primary's times.

    A pair of blocks begins with the shadow in every other one, so that a slow change of the load favors
    neither. The first frame of a block is left out: a run of the block before may reach into it.

    Attributes:
        size: frames of a block.
    """

    def __init__(self, frames: int) -> None:
        """Use blocks of so many frames, at least 2."""
        self.size = max(2, frames)
        self._place = 0
        rounds = max(FEWEST_ROUNDS, _MOST_FRAMES // (2 * self.size))
        self._rounds: deque[tuple[list[float], list[float]]] = deque(maxlen=rounds)
        self._present: tuple[list[float], list[float]] = ([], [])

    @property
    def has_shadow(self) -> bool:
        """Whether the shadow may run on the present frame."""
        block, turn = divmod(self._place // self.size, 2)[::-1]
        return block == turn % 2

    def add(self, latency_ms: float) -> None:
        """Add the primary's time of the present frame and go on to the next."""
        if self._place % self.size:
            self._present[not self.has_shadow].append(latency_ms)
        self._place += 1
        if self._place % (2 * self.size) == 0:
            self._rounds.append(self._present)
            self._present = ([], [])

    def cost(self) -> ShadowCost:
        """Return the cost over the last rounds; intervals by resampling whole rounds."""
        rounds = list(self._rounds)
        if not rounds:
            return ShadowCost()
        with_ms, without_ms = (np.array([each[side] for each in rounds]) for side in (0, 1))
        rng = np.random.default_rng(0)
        drawn = rng.integers(0, len(rounds), (_RESAMPLES, len(rounds)))

        def ratio(share: float) -> Interval:
            found = _ratio(with_ms, without_ms, share)
            if len(rounds) < FEWEST_ROUNDS:
                return Interval(found)
            resampled = [_ratio(with_ms[rows], without_ms[rows], share) for rows in drawn]
            return Interval(found, *percentile_interval(resampled))

        return ShadowCost(ratio(0.5), ratio(0.99), len(rounds), int(with_ms.size + without_ms.size))


def _ratio(with_ms: NDArray[np.float64], without_ms: NDArray[np.float64], share: float) -> float:
    return float(np.quantile(with_ms, share) / np.quantile(without_ms, share))
