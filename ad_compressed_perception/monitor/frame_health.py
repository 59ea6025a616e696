# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Assesses what became of a node's frames in the last seconds. Time is an argument (monotonic seconds)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from enum import IntEnum
from statistics import median

from pydantic import Field, field_validator

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.core.timing import STAGES, FrameTiming, Outcome

WINDOW_S = 5.0
"""How far back a status looks."""
_SPAN_S = 2.0
"""Shortest time from which a rate is computed."""
_FRAMES = 3
"""Fewest frames from which a share is computed."""
IMPOSSIBLE_AGE_MS = 3.6e6
_WORDS: dict[Outcome, str] = {
    "failed": "failed",
    "dropped_stale": "too old",
    "dropped_busy": "displaced by newer ones",
}


class Level(IntEnum):
    """Severity, numbered as in diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


Problems = list[tuple[Level, str]]


def parse_budgets(entries: Iterable[str]) -> dict[str, float]:
    """Return stage to budget in ms of entries such as "infer=20".

    Raises:
        ValueError: an entry is not of that form, names no stage, or has no positive number.
    """
    found = {}
    for entry in entries:
        stage, _, text = entry.partition("=")
        try:
            budget_ms = float(text)
        except ValueError:
            budget_ms = math.nan
        if stage not in STAGES or not 0.0 < budget_ms < math.inf:
            raise ValueError(f"{entry!r}: expected STAGE=MILLISECONDS, with one of {', '.join(STAGES)}")
        found[stage] = budget_ms
    return found


class HealthLimits(StrictModel):
    """What a healthy node keeps: parameters of the nodes and, for each task, of the monitor."""

    min_rate_hz: float = Field(
        0.0, ge=0.0, le=1e4, description="required results a second; WARN below, ERROR below half; 0: none"
    )
    max_dropped_share: float = Field(
        0.5, ge=0.0, le=1.0, description="largest share of frames dropped as stale or busy; WARN above"
    )
    max_age_warn_ms: float = Field(
        1000.0, ge=0.0, le=1e9, description="largest median age of results; WARN above; 0: none"
    )
    stage_budgets_ms: list[str] = Field(
        default_factory=list,
        description='what stages may take, as "infer=20", ms; others have a share of deadline_ms',
    )

    @field_validator("stage_budgets_ms")
    @classmethod
    def _check_budgets(cls, value: list[str]) -> list[str]:
        parse_budgets(value)
        return value


class FrameHealth:
    """Rate, share of drops and ages over the last ``WINDOW_S`` seconds; counters come from the node."""

    def __init__(self) -> None:
        """Begin without a frame."""
        self._counts: deque[tuple[float, dict[Outcome, int]]] = deque()
        self._ages_ms: deque[tuple[float, float]] = deque(maxlen=1024)

    def add_frame(self, timing: FrameTiming, now_s: float) -> None:
        """Add the age of a completed frame: of its result, or where it has none, at its arrival."""
        age_ms = timing.end_to_end_ms
        if not math.isfinite(age_ms):
            age_ms = timing.stages_ms.get("transport_age", math.nan)
        if math.isfinite(age_ms):
            self._ages_ms.append((now_s, age_ms))

    def update(self, counts: dict[Outcome, int], now_s: float) -> None:
        """Add the node's present counts of frames by outcome."""
        if self._counts and sum(counts.values()) < sum(self._counts[-1][1].values()):
            self._counts.clear()  # it was restarted
        self._counts.append((now_s, dict(counts)))
        while len(self._counts) > 1 and self._counts[1][0] <= now_s - WINDOW_S:
            self._counts.popleft()
        while self._ages_ms and self._ages_ms[0][0] < now_s - WINDOW_S:
            self._ages_ms.popleft()

    @property
    def recent(self) -> dict[Outcome, int]:
        """Frames completed in the last seconds, by outcome."""
        if not self._counts:
            return {}
        first, last = self._counts[0][1], self._counts[-1][1]
        return {outcome: count - first.get(outcome, 0) for outcome, count in last.items()}

    @property
    def dropped_share(self) -> float:
        """Frames dropped as stale or busy / completed frames; NaN where too few were completed."""
        recent = self.recent
        completed = sum(recent.values())
        dropped = recent.get("dropped_stale", 0) + recent.get("dropped_busy", 0)
        return dropped / completed if completed >= _FRAMES else math.nan

    @property
    def rate_hz(self) -> float:
        """Processed frames a second; NaN in the first two seconds."""
        span_s = self._counts[-1][0] - self._counts[0][0] if self._counts else 0.0
        return self.recent["processed"] / span_s if span_s >= _SPAN_S else math.nan

    @property
    def _fed_s(self) -> float:
        """Seconds since frames of the window began to come: the first one needs longer than others."""
        first = sum(self._counts[0][1].values()) if self._counts else 0
        before_s = max((at_s for at_s, counts in self._counts if sum(counts.values()) == first), default=0.0)
        return self._counts[-1][0] - before_s if self._counts else 0.0

    @property
    def age_ms(self) -> float:
        """Median age; NaN where none is known."""
        return median(age_ms for _, age_ms in self._ages_ms) if self._ages_ms else math.nan

    def problems(self, limits: HealthLimits) -> Problems:
        """Return what exceeds the limits."""
        found: Problems = []
        recent, dropped, rate_hz, age_ms = self.recent, self.dropped_share, self.rate_hz, self.age_ms
        completed = sum(recent.values())
        if completed >= _FRAMES and not recent["processed"] and self._fed_s >= _SPAN_S:
            why = ", ".join(f"{recent[key]} {word}" for key, word in _WORDS.items() if recent[key])
            found.append((Level.ERROR, f"none of the last {completed} frames gave a result: {why}"))
        elif dropped > limits.max_dropped_share:
            found.append(
                (
                    Level.WARN,
                    f"{dropped:.0%} of the frames dropped (max_dropped_share {limits.max_dropped_share:g})",
                )
            )
        if rate_hz < limits.min_rate_hz:
            level = Level.ERROR if rate_hz < limits.min_rate_hz / 2 else Level.WARN
            found.append((level, f"{rate_hz:.1f} results a second (min_rate_hz {limits.min_rate_hz:g})"))
        if abs(age_ms) > IMPOSSIBLE_AGE_MS and limits.max_age_warn_ms:
            hours = age_ms / IMPOSSIBLE_AGE_MS
            found.append((Level.WARN, f"ages of {hours:.3g} hours: the clock or the stamps are wrong"))
        elif 0.0 < limits.max_age_warn_ms < age_ms:
            found.append(
                (Level.WARN, f"ages of {age_ms:.0f} ms (max_age_warn_ms {limits.max_age_warn_ms:g})")
            )
        return found
