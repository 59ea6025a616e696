# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is known of a candidate: how fast, how large, how far from the baseline, and what became of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ad_compressed_perception.compression.search.candidate import Candidate
from ad_compressed_perception.compression.search.pareto import Point

State = Literal["alive", "winner", "out", "failed", "not tried"]


@dataclass(frozen=True)
class Speed:
    """Times from frame to result (prepare, infer, decode), in turns with the baseline; milliseconds.

    Attributes:
        p50_ms: median.
        p99_ms: 99th percentile.
        infer_p50_ms: median of the inference alone.
        baseline_p50_ms: the baseline's median in the same turns.
        baseline_p99_ms: likewise.
        ratio: how many times faster than the baseline: the median of the turns' own ratios, since what else
            the computer does touches both times of a turn alike.
        pairs: turns.
    """

    p50_ms: float
    p99_ms: float
    infer_p50_ms: float
    baseline_p50_ms: float
    baseline_p99_ms: float
    ratio: float
    pairs: int

    @property
    def p99_share(self) -> float:
        """The 99th percentile as a share of the baseline's in the same turns."""
        return self.p99_ms / self.baseline_p99_ms

    def as_dict(self) -> dict[str, float]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Drop:
    """Loss of the measure on the first so many search frames.

    Attributes:
        measure: its name, in words.
        drop: the loss, 0..1; NaN where nothing could be compared.
        low: lower end of its 95 % interval.
        high: upper end.
        frames: frames compared.
        telling: those that could have shown a difference.
        failed: those without a result.
    """

    measure: str
    drop: float
    low: float
    high: float
    frames: int
    telling: int
    failed: int


@dataclass
class Trial:
    """One candidate's way through the search.

    Attributes:
        candidate: the recipe.
        key: hash of the recipe's text.
        state: whether it is still in the running.
        reason: what ended it, in words; "" while it is alive.
        size: variant/baseline ratio of stored bytes.
        bytes: of the file as stored.
        speed: latest measurement.
        drop: latest measurement, on the most frames.
        build_seconds: what making it took.
        least: whether a search frame gave no result, and other facts worth telling.
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
        return self.speed is not None and self.drop is not None and self.drop.drop == self.drop.drop

    def end(self, state: State, reason: str) -> None:
        """Take it out of the running."""
        self.state, self.reason = state, reason

    def point(self, *, tail: bool) -> Point:
        """Return its place among the others, times as shares of the baseline's.

        Args:
            tail: whether enough turns were timed for a 99th percentile; else the median stands for it.
        """
        assert self.speed is not None and self.drop is not None
        median = 1.0 / self.speed.ratio
        return Point(self.name, self.drop.drop, median, self.speed.p99_share if tail else median, self.size)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "name": self.name,
            "state": self.state,
            "reason": self.reason,
            "backend": self.candidate.backend,
            "options": dict(self.candidate.options),
            "passes": self.candidate.passes,
            "store": self.candidate.store,
            "size_ratio": self.size if self.bytes else None,
            "bytes": self.bytes or None,
            "speed": self.speed.as_dict() if self.speed else None,
            "drop": asdict(self.drop) if self.drop else None,
            "build_seconds": round(self.build_seconds, 2),
        }
