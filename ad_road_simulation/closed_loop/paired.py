# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Paired differences of two variants on the same routes, with intervals and a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ad_compressed_perception.metrics.bootstrap import bootstrap_interval
from ad_road_simulation.closed_loop.route_metrics import METRICS, RouteResult

_RESAMPLES = 2000

VerdictWord = Literal["not worse", "worse", "undecided"]


@dataclass(frozen=True)
class MeanInterval:
    """A mean over routes with its 95 % confidence interval; NaN where no route has the metric."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """One variant against the first, on the routes that both drove.

    Attributes:
        variant, reference: their names.
        routes: number of routes that both drove.
        differences: metric to variant - reference.
        verdict: on departures and collisions.
        reasons: the basis of the verdict, and other metrics that are worse.
    """

    variant: str
    reference: str
    routes: int
    differences: dict[str, MeanInterval]
    verdict: VerdictWord
    reasons: tuple[str, ...]

    @property
    def line(self) -> str:
        """The comparison in one line."""
        return f"{self.variant} against {self.reference}: {self.verdict}: {'; '.join(self.reasons)}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def summarize(results: Sequence[RouteResult]) -> dict[str, MeanInterval]:
    """Return the mean of every metric over routes; intervals from a bootstrap over routes."""
    return {name: _interval([result.figures[name] for result in results]) for name in METRICS}


def compare(
    variant: str,
    reference: str,
    results: Mapping[int, RouteResult],
    reference_results: Mapping[int, RouteResult],
) -> Comparison:
    """Compare two variants on the routes that both drove.

    Differences are paired by route, so that a route that is hard for both does not widen the interval;
    routes are resampled (metrics/bootstrap.py).

    Args:
        variant: name of the variant.
        reference: name of the variant it is compared with.
        results: by the route's seed.
        reference_results: likewise.
    """
    seeds = sorted(set(results) & set(reference_results))
    differences = {
        name: _interval(
            [results[seed].figures[name] - reference_results[seed].figures[name] for seed in seeds]
        )
        for name in METRICS
    }
    verdict, reason = _verdict(differences["events"], len(seeds))
    others = [
        f"{METRICS[name].title} worse by {describe(interval, METRICS[name].unit)}"
        for name, interval in differences.items()
        if name not in ("events", "departures", "collisions") and _is_worse(name, interval)
    ]
    return Comparison(variant, reference, len(seeds), differences, verdict, (reason, *others))


def describe(interval: MeanInterval, unit: str) -> str:
    """Return a difference with its interval and unit as text."""
    text = f"{interval.mean:+.3g} ({interval.low:+.3g} to {interval.high:+.3g})"
    return f"{text} {unit}".rstrip()


def _verdict(events: MeanInterval, routes: int) -> tuple[VerdictWord, str]:
    if routes == 0 or not np.isfinite(events.mean):
        return "undecided", "no route was driven by both"
    reason = f"departures and collisions {describe(events, 'a route')} over {routes} routes"
    if events.low > 0.0:
        return "worse", reason
    if events.high <= 0.0:
        return "not worse", reason
    return "undecided", f"{reason}: the interval contains a loss, drive more routes"


def _is_worse(name: str, interval: MeanInterval) -> bool:
    worse = METRICS[name].worse
    return (worse > 0 and interval.low > 0.0) or (worse < 0 and interval.high < 0.0)


def _interval(values: Sequence[float]) -> MeanInterval:
    finite = np.asarray([value for value in values if np.isfinite(value)], np.float64)
    if finite.size == 0:
        return MeanInterval(float("nan"), float("nan"), float("nan"))
    low, high = bootstrap_interval(finite, np.mean, resamples=_RESAMPLES)
    return MeanInterval(float(finite.mean()), low, high)
