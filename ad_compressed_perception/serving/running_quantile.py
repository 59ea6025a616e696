# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A quantile of the last values of a figure, cheap enough for every frame."""

from __future__ import annotations

import numpy as np

_EVERY = 16


class RunningQuantile:
    """A quantile of the last ``window`` values; known from ``least`` values on."""

    def __init__(self, quantile: float, least: int = 100, window: int = 600) -> None:
        """Begin without values.

        Args:
            quantile: in 0..1.
            least: fewest values from which it is known.
            window: most values that are remembered.
        """
        self._quantile, self._least = quantile, least
        self._values = np.zeros(window)
        self._count = 0
        self._known: float | None = None

    def add(self, value: float) -> None:
        """Add a finite value; the quantile is computed anew at every 16th."""
        self._values[self._count % len(self._values)] = value
        self._count += 1
        if self._count >= self._least and (self._known is None or self._count % _EVERY == 0):
            known = self._values[: min(self._count, len(self._values))]
            self._known = float(np.quantile(known, self._quantile))

    @property
    def value(self) -> float | None:
        """The quantile; None where too few values came."""
        return self._known
