# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics of one route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.json_values import plain
from ad_compressed_perception.core.renamed import replace_old_keys

Ending = Literal["finished", "collision", "stuck", "off_road"]
STANDING_MPS = 0.3


# Old keys of journals, accepted for one version.
_RENAMED = {"pictures": "images"}


@dataclass(frozen=True)
class Metric:
    """A metric of a route.

    Attributes:
        title: in tables.
        unit: "" for counts and shares.
        worse: 1 where a higher value is worse, -1 where a lower one is, 0 where neither.
    """

    title: str
    unit: str
    worse: int

    @property
    def label(self) -> str:
        """The title with the unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


METRICS = {
    "events": Metric("departures + collisions", "", 1),
    "departures": Metric("departures", "", 1),
    "collisions": Metric("collisions", "", 1),
    "red_lights": Metric("red lights run", "", 1),
    "stops_missed": Metric("stops missed", "", 1),
    "stuck": Metric("stuck", "", 1),
    "lateral_rmse_m": Metric("lateral RMSE", "m", 1),
    "lateral_max_m": Metric("largest offset", "m", 1),
    "jerk_rms_mps3": Metric("rms jerk", "m/s^3", 1),
    "least_gap_m": Metric("least gap ahead", "m", -1),
    "mean_speed_mps": Metric("mean speed", "m/s", 0),
    "duration_s": Metric("duration", "s", 0),
    "completion": Metric("share completed", "", -1),
}


@dataclass(frozen=True)
class RouteResult:
    """One route driven by one variant.

    Attributes:
        variant: its name.
        seed: of the route.
        ending: how it ended.
        figures: metric to value; NaN where undefined (None in JSON).
        offsets_m: offset from the lane center, left positive, at every whole meter from the start.
        events: each with time_s, s_m (from the start), kind and what.
        images: counters of the planner queue: taken, planned, dropped, failed; with faults also those of the
            planner: faults, standby, hold.
        latency_ms: mean of the drawn latencies.
    """

    variant: str
    seed: int
    ending: Ending
    figures: dict[str, float]
    offsets_m: list[float]
    events: list[dict[str, Any]]
    images: dict[str, int]
    latency_ms: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: metrics without a finite value are None."""
        return dict(plain(asdict(self)))

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> RouteResult:
        """Read the output of as_dict; raise DataError where a part is missing."""
        try:
            plain = replace_old_keys(plain, _RENAMED)
            values = {field.name: plain[field.name] for field in fields(cls)}
            values["figures"] = {
                name: float("nan") if plain["figures"][name] is None else float(plain["figures"][name])
                for name in METRICS
            }
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"a route's record is incomplete: {error}") from error
        return cls(**values)


class Recorder:
    """Records a drive step by step and computes its metrics at the end.

    Lateral offsets are sampled once per meter of road, so that waiting at a red light has no weight.
    """

    def __init__(self, start_s_m: float, finish_s_m: float) -> None:
        """Start a route from start to finish, both in meters along the road."""
        self._start_s_m, self._finish_s_m = start_s_m, finish_s_m
        self._rows: list[tuple[float, float, float, float, float]] = []
        self._least_gap_m = float("inf")
        self._events: list[dict[str, Any]] = []

    def step(self, time_s: float, s_m: float, offset_m: float, speed_mps: float, accel_mps2: float) -> None:
        """Record one time step; s along the road, offset from the lane center, left positive."""
        self._rows.append((time_s, s_m - self._start_s_m, offset_m, speed_mps, accel_mps2))

    def gap(self, distance_m: float) -> None:
        """Record the true distance from the bumper to a road user ahead."""
        self._least_gap_m = min(self._least_gap_m, distance_m)

    def event(self, kind: str, time_s: float, s_m: float, what: str) -> None:
        """Record an event."""
        entry = {
            "kind": kind,
            "time_s": round(time_s, 2),
            "s_m": round(s_m - self._start_s_m, 1),
            "what": what,
        }
        self._events.append(entry)

    def result(
        self, variant: str, seed: int, ending: Ending, images: dict[str, int], latency_ms: float
    ) -> RouteResult:
        """Return the metrics of the route; at least one step must be recorded.

        With the acceleration a sampled at steps of dt, the jerk is (a[i+1] - a[i]) / dt.
        """
        time, along, offset, speed, accel = np.asarray(self._rows, np.float64).T
        way = np.maximum.accumulate(along)
        meters = np.arange(0.0, np.floor(way[-1]) + 1.0)
        offsets = np.interp(meters, way, offset)
        duration = float(time[-1] - time[0])
        jerk = np.diff(accel) / np.diff(time)
        counts = {
            name: float(sum(event["kind"] == kind for event in self._events))
            for name, kind in (
                ("departures", "departure"),
                ("collisions", "collision"),
                ("red_lights", "red_light"),
                ("stops_missed", "stop_missed"),
            )
        }
        route_m = self._finish_s_m - self._start_s_m
        figures = {
            "events": counts["departures"] + counts["collisions"],
            **counts,
            "stuck": float(ending == "stuck"),
            "lateral_rmse_m": float(np.sqrt(np.mean(offsets**2))),
            "lateral_max_m": float(np.max(np.abs(offset))),
            "jerk_rms_mps3": float(np.sqrt(np.mean(jerk**2))) if jerk.size else float("nan"),
            "least_gap_m": self._least_gap_m,
            "mean_speed_mps": float(np.mean(speed)) if duration > 0 else float("nan"),
            "duration_s": duration,
            "completion": float(np.clip(way[-1] / route_m, 0.0, 1.0)),
        }
        return RouteResult(
            variant,
            seed,
            ending,
            {name: round(figures[name], 6) for name in METRICS},
            [round(float(value), 3) for value in offsets],
            self._events,
            images,
            round(latency_ms, 3),
        )
