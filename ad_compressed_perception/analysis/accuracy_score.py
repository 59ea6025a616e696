# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What every measure of accuracy has: frames are added one by one, figures are of any choice of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class AccuracyScore(ABC):
    """Collects results frame by frame; computes figures after ``finish``.

    Attributes:
        names: the figures' names, in the order of ``figures``.
        lower_is_better: the names of those that are errors.
        resamples: number of bootstrap resamples, limited by their cost.
        samples: frames collected.
    """

    names: tuple[str, ...]
    lower_is_better: ClassVar[frozenset[str]] = frozenset()
    resamples: int = 1000

    def __init__(self) -> None:
        self.samples = 0

    def add(self, result: Any, ground_truth: Any) -> None:
        """Take one frame's result and ground truth; raise DataError where they cannot be compared."""
        self._add(result, ground_truth)
        self.samples += 1

    @abstractmethod
    def _add(self, result: Any, ground_truth: Any) -> None:
        """Take one frame's result and ground truth."""

    @abstractmethod
    def finish(self) -> None:
        """Prepare the figures; no frame may be added afterwards."""

    @abstractmethod
    def figures(self, indices: Indices | None = None) -> tuple[float, ...]:
        """Return the figures of all frames, or of ``indices``, which may repeat; NaN where undefined."""

    def of_nothing(self) -> dict[str, float]:
        """Return figures that a result which ignores the image reaches; 0 for those that are not named."""
        return {}

    def per_class(self) -> dict[str, dict[str, float]]:
        """Return further figures of each class; empty where there are none."""
        return {}

    def confusion(self) -> dict[str, dict[str, int]]:
        """Return each class's frames by the class that was found; empty where there is no such table."""
        return {}

    def block_length(self) -> int:
        """Return the number of neighboring frames to resample together; 1 for independent frames."""
        return 1

    def notes(self) -> list[str]:
        """Return notes for the reader of the figures, in sentences."""
        return []
