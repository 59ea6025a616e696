# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The world of one seed over time: layout, signals, traffic and people, and its scene near the ego."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.world.actor_dimensions import ActorDimensions, random_dimensions
from ad_road_simulation.world.ego import VEHICLE, EgoState
from ad_road_simulation.world.layout import RUN_IN_M, Layout, RouteOptions, make_layout
from ad_road_simulation.world.pedestrians import People
from ad_road_simulation.world.scene import Actor, Scene
from ad_road_simulation.world.traffic import Traffic
from ad_road_simulation.world.traffic_control import signal_heads, stop_sign_at

BEHIND_M, AHEAD_M = 30.0, 180.0
"""Range of the road in a scene, relative to the ego."""
_WARM_UP_S, _WARM_UP_STEP_S = 10.0, 0.25
_PARKED_IDENT = 10_000_000

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Obstacles:
    """Upright boxes of all actors in road coordinates, (N,) each; half extents along and across the road."""

    s_m: Array
    d_m: Array
    half_s_m: Array
    half_d_m: Array
    height_m: Array
    speed_mps: Array
    idents: NDArray[np.int64]


class World:
    """A seed's road with its traffic; deterministic in seed, options and the steps taken.

    Attributes:
        layout: static parts.
        traffic: vehicles.
        people: pedestrians and cyclists.
        time_s: since the start of the world.
    """

    def __init__(self, seed: int, options: RouteOptions | None = None, time_s: float = 0.0) -> None:
        """Build the world and simulate its traffic for a warm-up time.

        Args:
            seed: not negative.
            options: of the route.
            time_s: initial time, which determines the signal phases.
        """
        self.layout: Layout = make_layout(seed, options or RouteOptions())
        rngs = [np.random.default_rng([seed, 10 + part]) for part in range(3)]
        self.traffic = Traffic(self.layout, rngs[0])
        self.people = People(self.layout, rngs[1])
        self._park(rngs[2])
        self._signs = tuple(
            stop_sign_at(stop, self.layout.road) for stop in self.layout.traffic_control.stops
        )
        self.time_s = time_s - _WARM_UP_S
        while self.time_s < time_s - 1e-9:
            self.step(_WARM_UP_STEP_S, None)
        self.time_s = time_s

    def step(self, dt_s: float, ego: EgoState | None) -> None:
        """Advance the world by one step; traffic and people react to the ego, None where there is none."""
        self.time_s += dt_s
        signals = self.layout.traffic_control.signals
        states = [signal.state(self.time_s) for signal in signals]
        red_left = np.array([signal.red_left_s(self.time_s) for signal in signals], np.float64)
        self.people.step(dt_s, red_left, self.traffic, ego)
        red = np.array([state == "red" for state in states], bool)
        yellow = np.array([state == "yellow" for state in states], bool)
        self.traffic.step(dt_s, red, yellow, self.people.occupied, ego)

    def clear_ego_lane(self, s_from_m: float, s_to_m: float) -> NDArray[np.int64]:
        """Remove the vehicles of the ego's lane from a road segment; return their indices in traffic."""
        traffic = self.traffic
        lane = self.layout.road.cross_section.lanes_ahead - 1
        half = 0.5 * traffic.length_m
        inside = (traffic.s_m + half > s_from_m) & (traffic.s_m - half < s_to_m)
        removed = np.flatnonzero(traffic.active & (traffic.lane == lane) & inside)
        traffic.active[removed] = False
        return removed

    def obstacles(self) -> Obstacles:
        """Return the boxes of all actors."""
        traffic, people = self.traffic, self.people
        on = traffic.active
        half_s, half_d = people.half_sizes_m()
        parked = self._parked
        return Obstacles(
            np.concatenate((traffic.s_m[on], people.s_m, parked.s_m)),
            np.concatenate((traffic.d_m[on], people.d_m, parked.d_m)),
            np.concatenate((0.5 * traffic.length_m[on], half_s, parked.half_s_m)),
            np.concatenate((0.5 * traffic.width_m[on], half_d, parked.half_d_m)),
            np.concatenate((traffic.height_m[on], people.height_m, parked.height_m)),
            np.concatenate((traffic.speed_mps[on], np.abs(people.along_mps), parked.speed_mps)),
            np.concatenate((traffic.idents[on], np.arange(len(people.s_m)), parked.idents)),
        )

    def actors(self, s_from_m: float, s_to_m: float) -> tuple[Actor, ...]:
        """Return all actors on a road segment."""
        traffic, people, parked = self.traffic, self.people, self._parked

        def near(s: Array) -> NDArray[np.bool_]:
            return (s > s_from_m) & (s < s_to_m)

        moving = np.flatnonzero(traffic.active & near(traffic.s_m))
        walking = np.flatnonzero(near(people.s_m))
        standing = np.flatnonzero(near(parked.s_m))
        s = np.concatenate((traffic.s_m[moving], people.s_m[walking], parked.s_m[standing]))
        d = np.concatenate((traffic.d_m[moving], people.d_m[walking], parked.d_m[standing]))
        turned = np.concatenate(
            (
                np.where(traffic.direction[moving] > 0.0, 0.0, np.pi),
                people.facing_rad[walking],
                self._parked_facing[standing],
            )
        )
        speed = np.concatenate(
            (
                traffic.speed_mps[moving],
                np.hypot(people.along_mps[walking], people.across_mps[walking]),
                np.zeros(len(standing)),
            )
        )
        phase = np.concatenate((traffic.phase_m[moving], people.phase_m[walking], np.zeros(len(standing))))
        brakes = traffic.is_braking[moving]
        dimensions = [traffic.dimensions[i] for i in moving] + [people.dimensions[i] for i in walking]
        dimensions += [self._parked_dimensions[i] for i in standing]
        idents = np.concatenate((traffic.idents[moving], walking, parked.idents[standing]))
        places = self.layout.road.points(s, d).tolist()
        headings = (self.layout.road.heading(s) + turned).tolist()
        return tuple(
            Actor(
                ident=ident,
                kind=actor.kind,
                x_m=x,
                y_m=y,
                heading_rad=heading,
                length_m=actor.length_m,
                width_m=actor.width_m,
                height_m=actor.height_m,
                color_bgr=actor.color_bgr,
                speed_mps=v,
                is_braking=index < len(moving) and bool(brakes[index]),
                seed=actor.seed,
                phase_m=traveled,
            )
            for index, (ident, actor, (x, y), heading, v, traveled) in enumerate(
                zip(
                    idents.tolist(), dimensions, places, headings, speed.tolist(), phase.tolist(), strict=True
                )
            )
        )

    def actor_kind(self, ident: int) -> str:
        """Return the kind of the actor with an ident."""
        if ident >= _PARKED_IDENT:
            return "parked car"
        if ident < len(self.people.dimensions):
            return self.people.dimensions[ident].kind
        return self.traffic.dimensions[int(np.flatnonzero(self.traffic.idents == ident)[0])].kind

    def scene(self, ego: EgoState) -> Scene:
        """Return the current scene near the ego."""
        layout = self.layout
        low, high = ego.s_m - BEHIND_M, ego.s_m + AHEAD_M
        lights = [
            head
            for signal in layout.traffic_control.signals
            if low < signal.stop_s_m < high
            for head in signal_heads(signal, layout.road, self.time_s)
        ]
        stops = layout.traffic_control.stops
        return Scene(
            time_s=self.time_s,
            road=layout.road,
            ego_x_m=ego.x_m,
            ego_y_m=ego.y_m,
            ego_heading_rad=ego.heading_rad,
            ego_s_m=ego.s_m,
            ego_speed_mps=ego.speed_mps,
            ego_yaw_rate_radps=ego.yaw_rate_radps,
            actors=self.actors(low, high),
            lights=tuple(lights),
            signs=tuple(s for stop, s in zip(stops, self._signs, strict=True) if low < stop.stop_s_m < high),
            roadside_objects=layout.roadside_objects.between(low, high),
            markings=tuple(m for m in layout.markings if m.s_to_m > low and m.s_from_m < high),
            weather=layout.weather,
            seed=layout.seed,
        )

    def ego_at(self, s_m: float, d_m: float, heading_error_rad: float, speed_mps: float) -> EgoState:
        """Return an ego state at road coordinates, its steering set to the road's curvature there."""
        road = self.layout.road
        x, y = road.points(s_m, d_m)
        bend = float(road.curvature(s_m))
        steering = float(np.arctan(VEHICLE.wheelbase_m * bend / (1.0 - bend * d_m)))
        heading = float(road.heading(s_m)) + heading_error_rad
        return EgoState(float(x), float(y), heading, speed_mps, steering, 0.0, s_m, d_m)

    def located(self, ego: EgoState) -> EgoState:
        """Return the ego with its road coordinates computed from its position."""
        s, d = self.layout.road.locate(ego.x_m, ego.y_m, ego.s_m, 8.0)
        return replace(ego, s_m=s, d_m=d)

    def _park(self, rng: np.random.Generator) -> None:
        """Park cars in rows of bays at one curb, away from signals, crossings and stop signs."""
        layout = self.layout
        section, control = layout.road.cross_section, layout.traffic_control
        keep = [signal.stop_s_m + 4.0 for signal in control.signals]
        keep += [crossing.middle_m for crossing in control.crossings]
        keep += [stop.stop_s_m for stop in control.stops]
        side = -1.0 if layout.bays_on_right else 1.0
        edge = (section.left_m if side > 0.0 else -section.right_m) + section.curb_width_m
        dimensions: list[ActorDimensions] = []
        rows: list[tuple[float, float, float]] = []
        at = RUN_IN_M * rng.uniform()
        while layout.options.traffic > 0.0 and at < layout.road.length_m - 20.0:
            for _ in range(int(rng.integers(2, 9))):
                at += 6.2
                if rng.uniform() < 0.7 and min((abs(at - s) for s in keep), default=99.0) > 22.0:
                    actor = random_dimensions(rng, "car")
                    d = side * (edge + 0.2 + 0.5 * actor.width_m + rng.uniform(0.0, 0.1))
                    dimensions.append(actor)
                    rows.append((at + rng.uniform(-0.3, 0.3), d, np.pi if rng.uniform() < 0.1 else 0.0))
            at += rng.uniform(30.0, 140.0)
        table = np.array(rows, np.float64).reshape(-1, 3)
        half = 0.5 * np.array([(actor.length_m, actor.width_m) for actor in dimensions]).reshape(-1, 2)
        self._parked_dimensions = dimensions
        self._parked_facing = table[:, 2] + (np.pi if side > 0.0 else 0.0)
        self._parked = Obstacles(
            table[:, 0],
            table[:, 1],
            half[:, 0],
            half[:, 1],
            np.array([actor.height_m for actor in dimensions], np.float64),
            np.zeros(len(rows)),
            _PARKED_IDENT + np.arange(len(rows)),
        )
