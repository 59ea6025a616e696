# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Closed-loop simulation: the ego vehicle in its world, driven by commands, with infraction events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.world.ego import MIDDLE_M, VEHICLE, DriveCommand, EgoState, advance
from ad_road_simulation.world.expert import ReferencePlan, reference_plan
from ad_road_simulation.world.layout import RUN_IN_M, RouteOptions
from ad_road_simulation.world.scene import Scene
from ad_road_simulation.world.world import World

STEP_S = 0.05
START_MPS = 8.0
_DEPARTURE_M = 0.3
_STOP_MPS, _STOP_REACH_M = 0.5, 8.0
_ROOM_BEHIND_M, _ROOM_AHEAD_M = 30.0, 35.0

EventKind = Literal["departure", "collision", "red_light", "stop_missed", "finished"]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Event:
    """An event of a drive: an infraction or the finish.

    Attributes:
        kind: "departure" (a corner of the body more than 0.3 m outside the lane; counted again only after
            a return into the lane), "collision" (with an actor, once per actor), "red_light" (the front
            bumper over a signal's stop line while it is red), "stop_missed" (over a stop sign's line
            without having slowed below 0.5 m/s within the 8 m before it), or "finished".
        time_s: time of the world.
        s_m: arc length of the ego.
        what: description.
    """

    kind: EventKind
    time_s: float
    s_m: float
    what: str


class Simulation:
    """A seed's world, starting with the ego at the beginning of its route, in the lane center at 8 m/s.

    Attributes:
        world: the road and its traffic.
        ego: state of the ego vehicle.
    """

    def __init__(self, seed: int, options: RouteOptions | None = None) -> None:
        """Build the world.

        Args:
            seed: not negative; the world depends only on it, the options and the commands.
            options: of the route.
        """
        self.world = World(seed, options)
        self.world.clear_ego_lane(RUN_IN_M - _ROOM_BEHIND_M, RUN_IN_M + _ROOM_AHEAD_M)
        self.ego: EgoState = self.world.ego_at(RUN_IN_M, self.world.layout.ego_lane_m, 0.0, START_MPS)
        self._is_out = False
        self._hit: set[int] = set()
        self._slowest: dict[int, float] = {}
        self._is_finished = False

    @property
    def time_s(self) -> float:
        """Return the time of the world."""
        return self.world.time_s

    @property
    def is_finished(self) -> bool:
        """Return whether the ego has reached the end of the route."""
        return self._is_finished

    def scene(self) -> Scene:
        """Return the current scene near the ego, for the camera."""
        return self.world.scene(self.ego)

    def reference(self, obeyed_sign: int | None = None) -> ReferencePlan:
        """Return the current reference plan; see expert.reference_plan."""
        return reference_plan(self.world, self.ego, obeyed_sign)

    def step(self, command: DriveCommand, dt_s: float = STEP_S) -> list[Event]:
        """Advance by one step and return its events.

        Args:
            command: held over the step.
            dt_s: of the step; it is the time resolution of the events.
        """
        before = self.ego
        self.ego = self.world.located(advance(before, command, dt_s))
        self.world.step(dt_s, self.ego)
        events = [*self._departure(), *self._collisions(), *self._lines(before)]
        if not self._is_finished and self.ego.s_m >= self.world.layout.finish_s_m:
            self._is_finished = True
            events.append(self._event("finished", "end of the route"))
        return events

    def _event(self, kind: EventKind, what: str) -> Event:
        return Event(kind, self.time_s, self.ego.s_m, what)

    def _departure(self) -> list[Event]:
        """Return a departure event when the body leaves the lane."""
        road, ego = self.world.layout.road, self.ego
        theta = ego.heading_rad - float(road.heading(ego.s_m))
        bend = float(road.curvature(ego.s_m))
        along = np.array([VEHICLE.front_m, VEHICLE.front_m, -VEHICLE.rear_m, -VEHICLE.rear_m])
        side = 0.5 * VEHICLE.width_m * np.array([1.0, -1.0, 1.0, -1.0])
        # In the frame of the road's tangent at base_link; the road deviates from it by k x^2 / 2.
        x = along * math.cos(theta) - side * math.sin(theta)
        y = along * math.sin(theta) + side * math.cos(theta)
        offset = ego.d_m + y - 0.5 * bend / (1.0 - bend * ego.d_m) * x * x
        out_m = np.abs(offset - self.world.layout.ego_lane_m) - 0.5 * road.cross_section.lane_width_m
        worst = float(out_m.max())
        was_out, self._is_out = self._is_out, worst > (0.0 if self._is_out else _DEPARTURE_M)
        if not self._is_out or was_out:
            return []
        to_left = offset[int(np.argmax(out_m))] > self.world.layout.ego_lane_m
        return [self._event("departure", f"{worst:.2f} m over the {'left' if to_left else 'right'} border")]

    def _collisions(self) -> list[Event]:
        """Return an event for each actor that the ego's body touches for the first time."""
        ego, events = self.ego, []
        obstacles = self.world.obstacles()
        middle = np.array([ego.x_m, ego.y_m]) + MIDDLE_M * np.array(
            [math.cos(ego.heading_rad), math.sin(ego.heading_rad)]
        )
        half = (0.5 * VEHICLE.length_m, 0.5 * VEHICLE.width_m)
        reach = half[0] + MIDDLE_M + obstacles.half_s_m + 1.0
        close = (np.abs(obstacles.s_m - ego.s_m) < reach) & (
            np.abs(obstacles.d_m - ego.d_m) < half[0] + obstacles.half_d_m
        )
        for i in np.flatnonzero(close):
            ident = int(obstacles.idents[i])
            s, d = obstacles.s_m[i], obstacles.d_m[i]
            other = self.world.layout.road.points(s, d)
            heading = float(self.world.layout.road.heading(s))
            size = (float(obstacles.half_s_m[i]), float(obstacles.half_d_m[i]))
            if ident not in self._hit and _overlap(middle, ego.heading_rad, half, other, heading, size):
                self._hit.add(ident)
                events.append(
                    self._event(
                        "collision", f"{self.world.actor_kind(ident)} {ident} at {ego.speed_mps:.1f} m/s"
                    )
                )
        return events

    def _lines(self, before: EgoState) -> list[Event]:
        """Return events of stop lines that the front bumper passes without permission."""
        control = self.world.layout.traffic_control
        was, now = before.s_m + VEHICLE.front_m, self.ego.s_m + VEHICLE.front_m
        events = []
        for signal in control.signals:
            if was <= signal.stop_s_m < now and signal.state(self.time_s) == "red":
                events.append(self._event("red_light", f"signal {signal.ident}"))
        for stop in control.stops:
            if stop.stop_s_m - _STOP_REACH_M <= now <= stop.stop_s_m:
                slowest = min(self._slowest.get(stop.ident, math.inf), self.ego.speed_mps)
                self._slowest[stop.ident] = slowest
            elif was <= stop.stop_s_m < now and self._slowest.get(stop.ident, math.inf) >= _STOP_MPS:
                events.append(self._event("stop_missed", f"stop sign {stop.ident}"))
        return events


def _overlap(
    a: Array,
    a_heading: float,
    a_half: Sequence[float],
    b: Array,
    b_heading: float,
    b_half: Sequence[float],
) -> bool:
    """Return whether two rectangles overlap, by the separating axis theorem."""
    cos, sin = abs(math.cos(a_heading - b_heading)), abs(math.sin(a_heading - b_heading))
    apart = b - a
    for heading, own, other in ((a_heading, a_half, b_half), (b_heading, b_half, a_half)):
        along = apart[0] * math.cos(heading) + apart[1] * math.sin(heading)
        across = apart[1] * math.cos(heading) - apart[0] * math.sin(heading)
        if abs(along) > own[0] + other[0] * cos + other[1] * sin:
            return False
        if abs(across) > own[1] + other[0] * sin + other[1] * cos:
            return False
    return True
