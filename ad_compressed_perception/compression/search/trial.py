# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measurements of a candidate: speed, size, drop against the baseline, and its state in the search."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ad_compressed_perception.compression.search.candidate import Candidate
from ad_compressed_perception.compression.search.pareto import Point
from ad_compressed_perception.report.schemas.search import Drop, Speed

State = Literal["alive", "winner", "out", "failed", "not tried"]


@dataclass
class Trial:
    """State and measurements of one candidate.

    Attributes:
        candidate: the recipe.
        key: hash of the recipe's text.
        state: whether it is still compared.
        reason: why it ended, as text; "" while it is alive.
        size: variant/baseline ratio of stored bytes.
        bytes: of the file as stored.
        speed: latest measurement.
        drop: latest measurement, on the most frames.
        build_seconds: time to build it.
        notes: further facts for the report, such as comparisons that were not made.
    """

    candidate: Candidate
    key: str
    state: State = "alive"
    reason: str = ""
    size: float = 1.0
    bytes: int = 0
    speed: Speed | None = None
    drop: Drop | None = None
    build_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.candidate.name

    @property
    def is_measured(self) -> bool:
        """Whether speed, size and drop are known."""
        return self.speed is not None and self.drop is not None and self.drop.interval.is_known

    def end(self, state: State, reason: str) -> None:
        """End the trial in a state, with its reason."""
        self.state, self.reason = state, reason

    def point(self, *, tail: bool) -> Point:
        """Return its point for the Pareto front, times as shares of the baseline's.

        Args:
            tail: whether enough rounds were timed for a 99th percentile; else the median replaces it.
        """
        assert self.speed is not None and self.drop is not None
        median = 1.0 / self.speed.ratio
        return Point(self.name, self.drop.drop, median, self.speed.p99_share if tail else median, self.size)
