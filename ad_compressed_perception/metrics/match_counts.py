# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Counts of what two sides have in common and what only one of them has; they add up over frames."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MatchCounts:
    """Objects that both sides found, or only one of them.

    Precision and recall with nothing to divide by are 1 where neither side found anything, else 0.

    Attributes:
        matched: found by both.
        missed: found by the baseline only.
        extra: found by the variant only.
    """

    matched: int = 0
    missed: int = 0
    extra: int = 0

    def __add__(self, other: MatchCounts) -> MatchCounts:
        """Pool two frames' counts."""
        return MatchCounts(self.matched + other.matched, self.missed + other.missed, self.extra + other.extra)

    @property
    def precision(self) -> float:
        """Share of the variant's objects that the baseline has too."""
        return self._share(self.matched, self.matched + self.extra)

    @property
    def recall(self) -> float:
        """Share of the baseline's objects that the variant has too."""
        return self._share(self.matched, self.matched + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 2 matched / (2 matched + missed + extra)."""
        return self._share(2 * self.matched, 2 * self.matched + self.missed + self.extra)

    def _share(self, part: int, whole: int) -> float:
        if whole:
            return part / whole
        return 1.0 if self.matched + self.missed + self.extra == 0 else 0.0
