# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Two variants on the same routes: differences with intervals, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ad_compressed_perception.metrics.bootstrap import bootstrap_interval
from ad_road_simulation.closed_loop.route_metrics import FIGURES, RouteResult

_RESAMPLES = 2000

VerdictWord = Literal["not worse", "worse", "undecided"]


@dataclass(frozen=True)
class Interval:
    """A mean over routes with its 95 % interval; NaN where no route has the figure."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """One variant against the first, on the routes that both drove.

    Attributes:
        variant, reference: their names.
        routes: how many both drove.
        differences: figure to variant - reference.
        verdict: of departures and collisions.
        reasons: what the verdict rests on, and which other figures are worse.
    """

    variant: str
    reference: str
    routes: int
    differences: dict[str, Interval]
    verdict: VerdictWord
    reasons: tuple[str, ...]

    @property
    def line(self) -> str:
        """One line for people."""
        return f"{self.variant} against {self.reference}: {self.verdict}: {'; '.join(self.reasons)}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def summarize(results: Sequence[RouteResult]) -> dict[str, Interval]:
    """Return every figure's mean over routes, the routes drawn again for the interval."""
    return {name: _interval([result.figures[name] for result in results]) for name in FIGURES}


def compare(
    variant: str,
    reference: str,
    results: Mapping[int, RouteResult],
    reference_results: Mapping[int, RouteResult],
) -> Comparison:
    """Compare two variants on the routes that both drove.

    A route that is hard for both does not widen the interval: differences are taken route by route, and
    routes are drawn again (metrics/bootstrap.py).

    Args:
        variant: judged.
        reference: against this one.
        results: by the route's seed.
        reference_results: likewise.
    """
    seeds = sorted(set(results) & set(reference_results))
    differences = {
        name: _interval(
            [results[seed].figures[name] - reference_results[seed].figures[name] for seed in seeds]
        )
        for name in FIGURES
    }
    verdict, reason = _judge(differences["events"], len(seeds))
    others = [
        f"{FIGURES[name].title} worse by {describe(interval, FIGURES[name].unit)}"
        for name, interval in differences.items()
        if name not in ("events", "departures", "collisions") and _is_worse(name, interval)
    ]
    return Comparison(variant, reference, len(seeds), differences, verdict, (reason, *others))


def describe(interval: Interval, unit: str) -> str:
    """Return a difference with its interval and unit, in words."""
    text = f"{interval.mean:+.3g} ({interval.low:+.3g} to {interval.high:+.3g})"
    return f"{text} {unit}".rstrip()


def _judge(events: Interval, routes: int) -> tuple[VerdictWord, str]:
    if routes == 0 or not np.isfinite(events.mean):
        return "undecided", "no route was driven by both"
    said = f"departures and collisions {describe(events, 'a route')} over {routes} routes"
    if events.low > 0.0:
        return "worse", said
    if events.high <= 0.0:
        return "not worse", said
    return "undecided", f"{said}: the interval contains a loss, drive more routes"


def _is_worse(name: str, interval: Interval) -> bool:
    worse = FIGURES[name].worse
    return (worse > 0 and interval.low > 0.0) or (worse < 0 and interval.high < 0.0)


def _interval(values: Sequence[float]) -> Interval:
    finite = np.asarray([value for value in values if np.isfinite(value)], np.float64)
    if finite.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    low, high = bootstrap_interval(finite, np.mean, resamples=_RESAMPLES)
    return Interval(float(finite.mean()), low, high)
