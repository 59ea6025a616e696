# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Paired differences of two variants on the same routes, with intervals and a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ad_compressed_perception.metrics.bootstrap import bootstrap_interval
from ad_compressed_perception.metrics.interval import Interval
from ad_compressed_perception.report.kit.figures import significant
from ad_road_simulation.closed_loop.drive_schema import Comparison
from ad_road_simulation.closed_loop.route_metrics import METRICS, RouteResult

_RESAMPLES = 2000


def summarize(results: Sequence[RouteResult]) -> dict[str, Interval]:
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
    return Comparison(
        variant=variant,
        reference=reference,
        routes=len(seeds),
        differences=differences,
        verdict=verdict,
        reasons=[reason, *others],
    )


def describe(difference: Interval, unit: str) -> str:
    """Return a difference with its interval and unit as text."""
    return f"{significant(difference, sign='+')} {unit}".rstrip()


def _verdict(events: Interval, routes: int) -> tuple[Any, str]:
    if routes == 0 or not np.isfinite(events.value):
        return "undecided", "no route was driven by both"
    reason = f"departures and collisions {describe(events, 'a route')} over {routes} routes"
    if routes < 2:
        return "undecided", f"{reason}: one route has no interval, drive more routes"
    if events.low > 0.0:
        return "worse", reason
    if events.high <= 0.0:
        return "not worse", reason
    return "undecided", f"{reason}: the interval contains a loss, drive more routes"


def _is_worse(name: str, interval: Interval) -> bool:
    worse = METRICS[name].worse
    return (worse > 0 and interval.low > 0.0) or (worse < 0 and interval.high < 0.0)


def _interval(values: Sequence[float]) -> Interval:
    finite = np.asarray([value for value in values if np.isfinite(value)], np.float64)
    if finite.size == 0:
        return Interval()
    low, high = bootstrap_interval(finite, np.mean, resamples=_RESAMPLES)
    return Interval(float(finite.mean()), low, high)
