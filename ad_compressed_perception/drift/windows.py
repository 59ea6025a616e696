# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Means over the last seconds, from short bins. No clock is read: stamps are arguments, in seconds."""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

BIN_S: Final = 0.5
"""Length of a bin, and how often windows are looked at."""

MAX_GAP_S: Final = 2 * BIN_S
"""Between two frames of a window."""


LEARNED_STEP_S: Final = 0.1
"""From one frame that is measured to the next, where a camera is faster: neighbors say nearly the same."""

_TOO_NEAR: Final = 0.75
_MOST_LEFT_OUT: Final = 9


class Steps:
    """Chooses the frames of a stream that are measured: those about a step apart."""

    def __init__(self, step_s: float = LEARNED_STEP_S) -> None:
        """Leave out frames that are nearer than 0.75 of this to the last one that was measured."""
        self._near_s = _TOO_NEAR * step_s
        self._last_s: float | None = None
        self._left_out = 0

    def take(self, stamp_s: float) -> bool:
        """Return whether to measure a frame.

        One in ten is always: stamps that hardly move are noticed by what windows make of them.
        """
        is_near = self._last_s is not None and 0.0 < stamp_s - self._last_s < self._near_s
        self._left_out = self._left_out + 1 if is_near and self._left_out < _MOST_LEFT_OUT else 0
        if self._left_out:
            return False
        self._last_s = stamp_s
        return True


class Bins:
    """Sums of frame statistics in consecutive bins; a window is the mean of the last of them."""

    def __init__(self, keep: int | None) -> None:
        """Keep the last ``keep`` complete bins; None: all."""
        self._complete: deque[tuple[NDArray[np.float64], NDArray[np.float64]]] = deque(maxlen=keep)
        self._start_s: float | None = None
        self._last_s = 0.0
        self._sum: NDArray[np.float64] = np.zeros(0)
        self._count: NDArray[np.float64] = np.zeros(0)

    def __len__(self) -> int:
        """Return the number of complete bins."""
        return len(self._complete)

    def add(self, values: NDArray[np.float32], stamp_s: float) -> bool:
        """Add a frame's values; return whether a bin became complete before it.

        A stamp that runs backwards, or a gap longer than a bin, begins anew: a window never spans two drives.
        Frames whose stamp stands still are left out, since any number of one image would be the mean.
        """
        if self._start_s is not None and stamp_s == self._last_s and values.shape == self._sum.shape:
            return False
        broken = self._start_s is not None and not 0.0 <= stamp_s - self._last_s <= MAX_GAP_S
        if self._start_s is None or broken or values.shape != self._sum.shape:
            self.clear()
            self._begin(values.shape, stamp_s)
        self._last_s = stamp_s
        assert self._start_s is not None
        done = stamp_s - self._start_s >= BIN_S
        if done:
            self._complete.append((self._sum, self._count))
            self._begin(values.shape, self._start_s + BIN_S * int((stamp_s - self._start_s) / BIN_S))
        known = np.isfinite(values)
        self._sum += np.where(known, values, 0.0)
        self._count += known
        return done

    def clear(self) -> None:
        """Forget all bins."""
        self._complete.clear()
        self._start_s = None

    def mean(self, bins: int) -> NDArray[np.float64]:
        """Return the (N,) mean of the last ``bins`` bins; NaN where there are fewer, or no value."""
        if len(self._complete) < bins:
            return np.full(self._sum.shape, np.nan)
        last = [self._complete[-1 - index] for index in range(bins)]
        sums, counts = (np.sum([one[part] for one in last], axis=0) for part in (0, 1))
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    def all_means(self) -> NDArray[np.float64]:
        """Return the mean of every complete bin, (bins, N)."""
        means = [np.where(count > 0, total / np.maximum(count, 1), np.nan) for total, count in self._complete]
        return np.array(means, np.float64).reshape(len(means), len(self._sum))

    def _begin(self, shape: tuple[int, ...], start_s: float) -> None:
        self._start_s, self._sum, self._count = start_s, np.zeros(shape), np.zeros(shape)
