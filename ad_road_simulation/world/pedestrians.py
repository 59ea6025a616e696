# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pedestrians and cyclists: they move along the sidewalks and cross at crossings when it is safe."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.world.actor_dimensions import ActorDimensions, random_dimensions
from ad_road_simulation.world.ego import MIDDLE_M, VEHICLE, EgoState
from ad_road_simulation.world.layout import Layout
from ad_road_simulation.world.traffic import Traffic
from ad_road_simulation.world.traffic_control import BEFORE_CROSSING_M

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_ALONG, _AWAY, _BACK, _TO_CURB, _CROSSING = range(5)
"""States: moves along the road without crossing, walks away from a crossing, returns to it, walks to the curb
(and waits there), crosses."""
_FASTEST_MPS = 2.2
_TIME_GAP_S = 4.0
_COMFORT_MPS2 = 2.0
_RED_BRAKE_MPS2 = 3.5
_CYCLIST_M = 0.9
_CURB_M = 0.3
_STROLL_M = 2.4
"""Distance beyond the curb, clear of cyclists and parked cars, at which a crossing is completed."""


class People:
    """All pedestrians and cyclists of a world, as arrays.

    Attributes:
        s_m, d_m: (N,) road coordinates.
        along_mps, across_mps: (N,) speed in the direction of increasing s and d.
        facing_rad: (N,) heading relative to the road's.
        phase_m: (N,) distance traveled.
        height_m: (N,) of each.
        dimensions: (N) kind, size and color of each.
        on_crossing: (N,) index of the crossing each is on, or steps from the curb onto; -1: none.
        occupied: (crossings,) bool: at least one person is on it.
    """

    def __init__(self, layout: Layout, rng: np.random.Generator) -> None:
        """Distribute people over the sidewalks, and one to four at each crossing who cross it repeatedly.

        Args:
            layout: of the world.
            rng: source of this and all later randomness.
        """
        self._layout, self._rng = layout, rng
        self._section = layout.road.cross_section
        length, factor = layout.road.length_m, layout.options.traffic
        self.dimensions: list[ActorDimensions] = []
        rows: list[tuple[float, float, float, int, int, float]] = []
        walkers, cyclists = (int(length / every * factor) for every in (55.0, 200.0))
        for _ in range(walkers):
            side = 1.0 if rng.uniform() < 0.5 else -1.0
            speed = rng.uniform(0.9, 1.7) * (1.0 if rng.uniform() < 0.5 else -1.0)
            self.dimensions.append(random_dimensions(rng, "person"))
            rows.append((rng.uniform(2.0, length - 2.0), self._stroll_d(side), speed, _ALONG, -1, 0.0))
        side = 1.0 if layout.bays_on_right else -1.0
        for _ in range(cyclists):
            self.dimensions.append(random_dimensions(rng, "bicycle"))
            d = side * (self._curb_d(side) + _CYCLIST_M + rng.uniform(-0.1, 0.1))
            rows.append((rng.uniform(0.0, length), d, -side * rng.uniform(2.5, 5.5), _ALONG, -1, 0.0))
        for crossing in layout.traffic_control.crossings:
            for _ in range(int(rng.integers(1, 5) * min(factor, 1.0) + 0.5)):
                side = 1.0 if rng.uniform() < 0.5 else -1.0
                self.dimensions.append(random_dimensions(rng, "person"))
                away, reach = (1.0 if rng.uniform() < 0.5 else -1.0), rng.uniform(0.0, 25.0)
                speed, s = -away * rng.uniform(1.1, 1.7), crossing.middle_m + away * reach
                rows.append((s, self._stroll_d(side), speed, _BACK, crossing.ident, 0.0))
        table = np.array(rows, np.float64).reshape(-1, 6)
        self.s_m, self.d_m, self.along_mps = table[:, 0].copy(), table[:, 1].copy(), table[:, 2].copy()
        self.across_mps = np.zeros(len(table))
        self._pace = np.abs(self.along_mps)
        self._state, self._assigned_crossing = table[:, 3].astype(np.int64), table[:, 4].astype(np.int64)
        self._timer_s = table[:, 5].copy()
        self.facing_rad = np.where(self.along_mps >= 0.0, 0.0, np.pi)
        self.phase_m = np.zeros(len(table))
        self.height_m = np.array([actor.height_m for actor in self.dimensions], np.float64)
        self._is_rider = np.array([actor.kind == "bicycle" for actor in self.dimensions], bool)
        control = layout.traffic_control
        self._from = np.array([c.s_from_m for c in control.crossings], np.float64)
        self._to = np.array([c.s_to_m for c in control.crossings], np.float64)
        self._signal = [c.signal for c in control.crossings]
        self.on_crossing = np.full(len(table), -1)
        self.occupied = np.zeros(len(self._from), bool)

    def step(self, dt_s: float, red_left_s: Array, traffic: Traffic, ego: EgoState | None) -> None:
        """Advance all pedestrians and cyclists by one step.

        Args:
            dt_s: of the step.
            red_left_s: (signals,) remaining red time of the vehicles, 0 where it is not red.
            traffic: the vehicles that crossing people wait for.
            ego: treated as another vehicle; None where there is none.
        """
        if not len(self.s_m):
            return
        self.s_m = self.s_m + self.along_mps * dt_s
        moved = self.d_m + self.across_mps * dt_s
        if ego is not None:
            self._stop_beside_ego(ego, moved)
        self.d_m = moved
        self.phase_m = self.phase_m + np.hypot(self.along_mps, self.across_mps) * dt_s
        self._timer_s -= dt_s
        self._turn_at_ends()
        waiting = self._is_waiting()
        if waiting.any():
            self._start_crossing(np.flatnonzero(waiting), red_left_s, traffic, ego)
        for index in np.flatnonzero(self._is_state_over()):
            self._next_state(int(index))
        self._update_occupancy()

    def half_sizes_m(self) -> tuple[Array, Array]:
        """Return (N,) half extents along and across the road."""
        half = 0.5 * np.array([(actor.length_m, actor.width_m) for actor in self.dimensions]).reshape(-1, 2)
        turned = np.abs(np.sin(self.facing_rad)) > 0.5
        return np.where(turned, half[:, 1], half[:, 0]), np.where(turned, half[:, 0], half[:, 1])

    def _curb_d(self, side: float) -> float:
        """Return the distance of the curb's outer edge from the centerline on one side."""
        edge = self._section.left_m if side > 0.0 else -self._section.right_m
        return edge + self._section.curb_width_m

    def _stroll_d(self, side: float) -> float:
        """Return a random offset on the sidewalk, clear of parked cars and cyclists."""
        has_bays = self._layout.bays_on_right == (side < 0.0)
        beyond = self._rng.uniform(2.35 if has_bays else 1.6, self._section.sidewalk_width_m - 0.35)
        return side * (self._curb_d(side) + beyond)

    def _turn_at_ends(self) -> None:
        """Turn pedestrians around at the ends of the road; cyclists re-enter at the other end."""
        length = self._layout.road.length_m
        low, high = self.s_m < 1.0, self.s_m > length - 1.0
        if not (low.any() or high.any()):
            return
        back = ~self._is_rider & ((low & (self.along_mps < 0.0)) | (high & (self.along_mps > 0.0)))
        self.along_mps = np.where(back, -self.along_mps, self.along_mps)
        self.facing_rad = np.where(back, np.where(self.along_mps >= 0.0, 0.0, np.pi), self.facing_rad)
        self.s_m = np.where(self._is_rider & low & (self.along_mps < 0.0), length - 1.0, self.s_m)
        self.s_m = np.where(self._is_rider & high & (self.along_mps > 0.0), 1.0, self.s_m)

    def _is_state_over(self) -> Mask:
        """Return (N,) bool: the current state is completed."""
        middle = 0.5 * (self._from + self._to)
        if not len(middle):
            return np.zeros(len(self.s_m), bool)
        beyond = np.where(self.along_mps > 0.0, 1.0, -1.0) * (self.s_m - middle[self._assigned_crossing])
        turn = (self._state == _AWAY) & (self._timer_s < 0.0)
        arrived = (self._state == _BACK) & (beyond >= 0.0)
        at_curb = (self._state == _TO_CURB) & (self.across_mps != 0.0) & self._within(_CURB_M)
        over = (self._state == _CROSSING) & ~self._within(_STROLL_M) & (self.d_m * self.across_mps > 0.0)
        return turn | arrived | at_curb | over

    def _within(self, beyond_m: float) -> Mask:
        """Return (N,) bool: nearer to the road than beyond_m from the curb."""
        left, right = self._curb_d(1.0) + beyond_m, self._curb_d(-1.0) + beyond_m
        return (self.d_m < left) & (self.d_m > -right)

    def _is_waiting(self) -> Mask:
        """Return (N,) bool: waits at the curb to cross."""
        return (self._state == _TO_CURB) & (self.across_mps == 0.0) & (self._timer_s < 0.0)

    def _next_state(self, index: int) -> None:
        """Switch a person to the next state."""
        pace, state = self._pace[index], self._state[index]
        side = 1.0 if self.d_m[index] > 0.0 else -1.0
        if state == _AWAY:
            self.along_mps[index] = -self.along_mps[index]
            self._state[index] = _BACK
            self.facing_rad[index] = 0.0 if self.along_mps[index] > 0.0 else np.pi
        elif state == _BACK:
            self.along_mps[index], self.across_mps[index] = 0.0, -side * pace
            self.s_m[index] += self._rng.uniform(-0.8, 0.8)
            self._state[index] = _TO_CURB
            self.facing_rad[index] = -side * 0.5 * np.pi
        elif state == _TO_CURB:
            self.across_mps[index] = 0.0
            self._timer_s[index] = self._rng.uniform(0.3, 2.0)
        else:
            # Crossing completed: walk along the sidewalk.
            away = 1.0 if self._rng.uniform() < 0.5 else -1.0
            self.along_mps[index], self.across_mps[index] = away * pace, 0.0
            self._timer_s[index] = self._rng.uniform(4.0, 22.0)
            self._state[index] = _AWAY
            self.facing_rad[index] = 0.0 if away > 0.0 else np.pi

    def _start_crossing(
        self, waiting: NDArray[np.int64], red_left_s: Array, traffic: Traffic, ego: EgoState | None
    ) -> None:
        """Let waiting people start to cross where it is safe."""
        can_stop, time_gap = self._stoppable(traffic, ego)
        width = self._curb_d(1.0) + self._curb_d(-1.0) + 2.0 * _CURB_M
        for index in waiting:
            crossing, pace = int(self._assigned_crossing[index]), self._pace[index]
            signal = self._signal[crossing]
            if not can_stop[crossing]:
                continue
            if signal is None:
                if not time_gap[crossing]:
                    continue
            else:
                left = red_left_s[signal] - 0.7
                if left <= 0.0 or width / left > _FASTEST_MPS:
                    continue
                pace = max(pace, width / left)
            self._state[index] = _CROSSING
            self.across_mps[index] = pace if self.d_m[index] < 0.0 else -pace

    def _stoppable(self, traffic: Traffic, ego: EgoState | None) -> tuple[Mask, Mask]:
        """Return (crossings,) bool twice: no vehicle is on it and all can stop; all are 4 s away or stand."""
        on = traffic.active
        direction, speed, length = traffic.direction[on], traffic.speed_mps[on], traffic.length_m[on]
        s = traffic.s_m[on]
        if ego is not None:
            direction, speed = np.append(direction, 1.0), np.append(speed, ego.speed_mps)
            length, s = np.append(length, VEHICLE.length_m), np.append(s, ego.s_m + MIDDLE_M)
        front = (direction * s + 0.5 * length)[:, None]
        edge = np.where(direction[:, None] > 0.0, self._from, -self._to) - BEFORE_CROSSING_M
        ahead = edge - front
        inside = (ahead < 0.0) & (ahead > -(length[:, None] + (self._to - self._from) + 2.0))
        has_signal = np.array([signal is not None for signal in self._signal])
        brake = np.where(has_signal, _RED_BRAKE_MPS2, _COMFORT_MPS2)
        moving = speed[:, None]
        needed = moving**2 / (2.0 * brake) + 0.5 * moving + np.where(has_signal, 0.0, 2.0)
        coming = (ahead >= 0.0) & (moving > 0.5)
        can_stop = np.logical_not(np.any(inside | (coming & (ahead < needed)), axis=0))
        time_gap = np.logical_not(np.any(coming & (ahead < _TIME_GAP_S * moving), axis=0))
        return np.asarray(can_stop), np.asarray(time_gap)

    def _stop_beside_ego(self, ego: EgoState, moved: Array) -> None:
        """Stop crossing people before they walk into the ego's side; changes moved, the new offsets."""
        beside = np.abs(self.s_m - ego.s_m - MIDDLE_M) < 0.5 * VEHICLE.length_m + 0.4
        reach = 0.5 * VEHICLE.width_m + 0.6
        into = (np.abs(moved - ego.d_m) < reach) & (np.abs(self.d_m - ego.d_m) >= reach)
        halted = (self._state == _CROSSING) & beside & into
        moved[halted] = self.d_m[halted]

    def _update_occupancy(self) -> None:
        """Update which crossings are occupied; vehicles have to yield there."""
        section = self._section
        ahead = self.across_mps > 0.0
        low = section.right_m - np.where(ahead, section.curb_width_m, 0.0)
        high = section.left_m + np.where(ahead, 0.0, section.curb_width_m)
        on = (self._state == _CROSSING) & (self.d_m > low) & (self.d_m < high)
        self.on_crossing = np.where(on, self._assigned_crossing, -1)
        self.occupied = np.zeros(len(self._from), bool)
        self.occupied[self._assigned_crossing[on]] = True
