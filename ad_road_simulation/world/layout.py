# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Static layout of a world: road, traffic control, markings and roadside objects of a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import AdcpError
from ad_road_simulation.world.markings import road_markings
from ad_road_simulation.world.road import STEP_M, CrossSection, Road
from ad_road_simulation.world.roadside_objects import RoadsideObjects, random_roadside_objects
from ad_road_simulation.world.scene import Marking, Weather
from ad_road_simulation.world.traffic_control import TrafficControl, random_traffic_control
from ad_road_simulation.world.weather import NAMES, random_weather

RUN_IN_M = 50.0
"""Length of road behind the ego's start."""
RUN_OUT_M = 150.0
"""Length of road beyond the finish, so that the last image shows a road."""
_HEADING_LIMIT_RAD = 1.9
_FIRST_STOP_M = 105.0
"""No stop is nearer to the start of the road, as the ego starts with its speed."""

Array = NDArray[np.float64]


class RouteError(AdcpError):
    """An invalid option of the road simulation."""


@dataclass(frozen=True)
class RouteOptions:
    """Options of a route; everything else follows from its seed.

    Attributes:
        length_m: from the ego's start to the finish, 200 or more.
        traffic: factor on the number of vehicles and pedestrians, 0 for an empty road.
        weather: "day", "dusk", "rain" or "glare"; None draws one.
        lanes: (ahead, oncoming), each 1 or 2; None draws them.

    Raises:
        RouteError: a value is out of range.
    """

    length_m: float = 1000.0
    traffic: float = 1.0
    weather: str | None = None
    lanes: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not 200.0 <= self.length_m <= 20000.0:
            raise RouteError(f"length_m is {self.length_m:g}: use 200 to 20000")
        if not 0.0 <= self.traffic <= 2.0:
            raise RouteError(f"traffic is {self.traffic:g}: use 0 (empty) to 2 (dense)")
        if self.weather is not None and self.weather not in NAMES:
            raise RouteError(f"weather {self.weather!r} is not known: use one of {', '.join(NAMES)}")
        if self.lanes is not None and not all(lane in (1, 2) for lane in self.lanes):
            raise RouteError(f"lanes are {self.lanes}: use 1 or 2 ahead and 1 or 2 oncoming")


@dataclass(frozen=True)
class Layout:
    """All static parts of a world.

    Attributes:
        seed: of the world.
        options: as requested.
        road: run-in, route and run-out.
        traffic_control: signals, stop signs and crossings.
        markings: road paint.
        roadside_objects: by ascending s.
        bays_on_right: parked cars are at the right curb, cyclists on the other side.
        weather: light and visibility.
    """

    seed: int
    options: RouteOptions
    road: Road
    traffic_control: TrafficControl
    markings: tuple[Marking, ...]
    roadside_objects: RoadsideObjects
    bays_on_right: bool
    weather: Weather

    @property
    def finish_s_m(self) -> float:
        """Arc length of the route's end."""
        return RUN_IN_M + self.options.length_m

    @property
    def ego_lane_m(self) -> float:
        """Offset of the center of the rightmost lane, in which the ego drives."""
        section = self.road.cross_section
        return section.lane_center_m(section.lanes_ahead - 1)


def make_layout(seed: int, options: RouteOptions) -> Layout:
    """Return the layout of a seed: equal seeds and options give equal layouts."""
    shape_rng, control_rng, roadside_rng, weather_rng = (
        np.random.default_rng([seed, part]) for part in range(4)
    )
    section = _random_cross_section(shape_rng, options.lanes)
    road = Road(_random_curvature(shape_rng, RUN_IN_M + options.length_m + RUN_OUT_M), section)
    traffic_control = random_traffic_control(control_rng, road, _FIRST_STOP_M, road.length_m - 40.0)
    return Layout(
        seed=seed,
        options=options,
        road=road,
        traffic_control=traffic_control,
        markings=road_markings(control_rng, road, traffic_control),
        roadside_objects=random_roadside_objects(roadside_rng, road),
        bays_on_right=bool(roadside_rng.uniform() < 0.5),
        weather=random_weather(
            weather_rng, options.weather, float(np.median(road.heading(np.arange(0.0, road.length_m, 10.0))))
        ),
    )


def _random_cross_section(rng: np.random.Generator, lanes: tuple[int, int] | None) -> CrossSection:
    """Return one lane each way (half of all), two each way, or two and one oncoming, at random."""
    drawn = ((1, 1), (2, 2), (2, 1))[int(rng.choice(3, p=(0.5, 0.3, 0.2)))]
    ahead, oncoming = lanes or drawn
    return CrossSection(
        lanes_ahead=ahead,
        lanes_oncoming=oncoming,
        lane_width_m=float(rng.uniform(3.3, 3.75)),
        sidewalk_width_m=float(rng.uniform(2.8, 3.6)),
        line_width_m=float(rng.uniform(0.12, 0.2)),
    )


def _random_curvature(rng: np.random.Generator, length_m: float) -> Array:
    """Return (N,) curvature at steps of STEP_M: straights and bends with linear curvature ramps.

    Linear in arc length is a clothoid, the transition curve of road building. Radii are log-uniform in
    60-400 m, one bend in twelve is of 40-60 m. A bend that would exceed the heading limit turns to the
    other side.
    """
    count = int(round(length_m / STEP_M)) + 1
    pieces = [np.zeros(int(rng.uniform(60.0, 110.0) / STEP_M))]
    total, heading = len(pieces[0]), 0.0
    while total < count:
        tight = rng.uniform() < 1.0 / 12.0
        radius = rng.uniform(40.0, 60.0) if tight else np.exp(rng.uniform(np.log(60.0), np.log(400.0)))
        angle = min(rng.uniform(0.2, 1.3), 140.0 / radius)
        sign = 1.0 if rng.uniform() < 0.5 else -1.0
        if abs(heading + sign * angle) > _HEADING_LIMIT_RAD:
            sign = -sign
        heading += sign * angle
        # The two ramps together turn as much as one ramp's length at full curvature.
        ramp_m = min(rng.uniform(15.0, 35.0), angle * radius)
        ramp = np.linspace(0.0, 1.0, int(ramp_m / STEP_M) + 2)[1:-1]
        full = np.ones(int((angle * radius - ramp_m) / STEP_M) + 1)
        straight = np.zeros(int(rng.uniform(10.0, 130.0) / STEP_M))
        pieces.append(np.concatenate((ramp, full, ramp[::-1])) * (sign / radius))
        pieces.append(straight)
        total += len(pieces[-2]) + len(straight)
    return np.concatenate(pieces)[:count]
