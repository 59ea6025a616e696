# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How often each id of an output of whole numbers occurs: a small class hardly shows in the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_IDS = 256
"""Ids are 0 to 255; an output with others holds indices or quantities, which are compared as a whole."""


class IdCounts:
    """Counts, frame by frame, the elements that hold each id.

    Attributes:
        counts: (3, MOST_IDS) of each frame: elements that both hold, that the baseline, that the variant.
        is_known: whether all numbers so far are ids.
    """

    def __init__(self) -> None:
        """Start without a frame."""
        self.counts: list[NDArray[np.float64]] = []
        self.is_known = True

    def add(self, baseline: NDArray[Any], variant: NDArray[Any] | None) -> None:
        """Add a frame.

        Args:
            baseline: whole numbers of any type.
            variant: numbers of the same shape; None where there is no result.
        """
        if not self.is_known:
            return
        if baseline.size and not (baseline.min() >= 0 and baseline.max() < MOST_IDS):
            self.is_known = False
            self.counts.clear()
            return
        ids = baseline.astype(np.uint8)
        if variant is None:
            both = found = np.zeros(MOST_IDS)
        else:
            is_id = (variant >= 0) & (variant < MOST_IDS) & (variant == np.rint(variant))
            both = _counts(ids[variant == baseline])
            found = _counts(variant[is_id].astype(np.uint8))
        self.counts.append(np.stack([both, _counts(ids), found]))

    def table(self) -> NDArray[np.float64]:
        """Return (N, 3, MOST_IDS) the counts; of no frame where the numbers are no ids."""
        return np.array(self.counts, np.float64).reshape(-1, 3, MOST_IDS)


def _counts(ids: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.bincount(ids.reshape(-1), minlength=MOST_IDS).astype(np.float64)
