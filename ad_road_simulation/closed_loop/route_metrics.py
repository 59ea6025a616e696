# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is counted and measured on one route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np

from ad_compressed_perception.core.errors import DataError

Ending = Literal["finished", "collision", "stuck", "off_road"]
STANDING_MPS = 0.3


@dataclass(frozen=True)
class Figure:
    """A figure of a route.

    Attributes:
        title: in tables.
        unit: "" where it counts something.
        worse: 1 where more of it is worse, -1 where less is, 0 where neither.
    """

    title: str
    unit: str
    worse: int


FIGURES = {
    "events": Figure("departures + collisions", "", 1),
    "departures": Figure("departures", "", 1),
    "collisions": Figure("collisions", "", 1),
    "red_lights": Figure("red lights run", "", 1),
    "stops_missed": Figure("stops missed", "", 1),
    "stuck": Figure("stuck", "", 1),
    "lateral_rmse_m": Figure("lateral RMSE", "m", 1),
    "lateral_max_m": Figure("largest offset", "m", 1),
    "jerk_rms_mps3": Figure("rms jerk", "m/s^3", 1),
    "least_gap_m": Figure("least gap ahead", "m", -1),
    "mean_speed_mps": Figure("mean speed", "m/s", 0),
    "duration_s": Figure("duration", "s", 0),
    "completion": Figure("share completed", "", -1),
}


@dataclass(frozen=True)
class RouteResult:
    """One route driven by one variant.

    Attributes:
        variant: its name.
        seed: of the route.
        ending: how it ended.
        figures: of FIGURES; None where undefined became NaN.
        offsets_m: offset to the lane's middle, left positive, at every whole meter from the beginning.
        events: what happened, each with time_s, s_m (from the beginning), kind and what.
        images: account of the camera's slot: taken, planned, dropped, failed.
        latency_ms: mean of the latencies drawn.
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
        """Return plain values for JSON: figures without a finite value are None."""
        plain = asdict(self)
        plain["figures"] = {
            name: value if np.isfinite(value) else None for name, value in self.figures.items()
        }
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> RouteResult:
        """Read what as_dict wrote; raise DataError where a part is missing."""
        try:
            values = {field.name: plain[field.name] for field in fields(cls)}
            values["figures"] = {
                name: float("nan") if plain["figures"][name] is None else float(plain["figures"][name])
                for name in FIGURES
            }
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"a route's record is not whole: {error}") from error
        return cls(**values)


class Recorder:
    """Takes a drive down, step by step, and measures it at the end.

    Lateral offsets count once a meter of road: a minute before a red light says nothing about the lane.
    """

    def __init__(self, start_s_m: float, finish_s_m: float) -> None:
        """Begin a route from start to finish, both along the road."""
        self._start_s_m, self._finish_s_m = start_s_m, finish_s_m
        self._rows: list[tuple[float, float, float, float, float]] = []
        self._least_gap_m = float("inf")
        self._events: list[dict[str, Any]] = []

    def step(self, time_s: float, s_m: float, offset_m: float, speed_mps: float, accel_mps2: float) -> None:
        """Take one instant down; s along the road, the offset to the lane's middle, left positive."""
        self._rows.append((time_s, s_m - self._start_s_m, offset_m, speed_mps, accel_mps2))

    def gap(self, distance_m: float) -> None:
        """Take down the true distance from the bumper to somebody in the way."""
        self._least_gap_m = min(self._least_gap_m, distance_m)

    def event(self, kind: str, time_s: float, s_m: float, what: str) -> None:
        """Take an event down."""
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
        """Return the measured route; at least one step was taken down.

        With a the acceleration at steps of dt, the jerk is (a[i+1] - a[i]) / dt.
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
            {name: round(figures[name], 6) for name in FIGURES},
            [round(float(value), 3) for value in offsets],
            self._events,
            images,
            round(latency_ms, 3),
        )
