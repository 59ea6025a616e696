# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measurements of a candidate: speed, size, drop against the baseline, and its state in the search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ad_compressed_perception.compression.search.candidate import Candidate
from ad_compressed_perception.compression.search.pareto import Point
from ad_compressed_perception.compression.verification.scores import LABEL_TEXT

State = Literal["alive", "winner", "out", "failed", "not tried"]


@dataclass(frozen=True)
class Speed:
    """Times from frame to result (prepare, infer, decode), interleaved with the baseline; milliseconds.

    Attributes:
        p50_ms: median.
        p99_ms: 99th percentile.
        infer_p50_ms: median of the inference alone.
        baseline_p50_ms: the baseline's median in the same rounds.
        baseline_p99_ms: likewise.
        ratio: how many times faster than the baseline: the median of the rounds' ratios, since other load
            on the computer affects both times of a round alike.
        pairs: rounds.
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
        """The 99th percentile as a share of the baseline's in the same rounds."""
        return self.p99_ms / self.baseline_p99_ms

    def as_dict(self) -> dict[str, float]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Drop:
    """Loss of the measure on some of the search frames.

    Attributes:
        measure: its name.
        drop: the loss, 0..1; NaN where nothing could be compared.
        low: lower end of its 95 % interval.
        high: upper end.
        frames: frames compared.
        informative: those on which the baseline is informative.
        failed: those without a result.
        worst_label: segmentation: the informative label whose IoU drops most surely; "" without any.
        worst_label_low: lower end of that drop's 95 % interval.
        label_text: what drops there, with a place for the label's name.
    """

    measure: str
    drop: float
    low: float
    high: float
    frames: int
    informative: int
    failed: int
    worst_label: str = ""
    worst_label_low: float = 0.0
    label_text: str = LABEL_TEXT

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Drop:
        """Read what ``as_dict`` gave."""
        return cls(**values)


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
        return self.speed is not None and self.drop is not None and self.drop.drop == self.drop.drop

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
            "drop": self.drop.as_dict() if self.drop else None,
            "build_seconds": round(self.build_seconds, 2),
        }
