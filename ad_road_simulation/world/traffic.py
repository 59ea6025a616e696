# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Vehicle traffic: car following, stops at signals, signs and crossings, and reaction to the ego."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ad_road_simulation.world.actor_dimensions import ActorDimensions, random_dimensions
from ad_road_simulation.world.ego import MIDDLE_M, VEHICLE, EgoState
from ad_road_simulation.world.layout import Layout
from ad_road_simulation.world.road import STEP_M
from ad_road_simulation.world.traffic_control import BEFORE_CROSSING_M

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Intelligent driver model (Treiber, Hennecke, Helbing: Congested traffic states in empirical observations
# and microscopic simulations, Phys. Rev. E 62, 2000): a [1 - (v/v0)^4 - (s*/s)^2].
_ACCEL_MPS2, _BRAKE_MPS2, _HEADWAY_S, _JAM_GAP_M = 1.4, 2.0, 1.3, 2.2
_LINE_GAP_M = 1.0
_HARDEST_MPS2 = 8.0
_OVER_SPEED_MPS2 = 2.5
_LATERAL_MPS2 = 2.0
_SPACING_M = 95.0
_SIGN_STAND_S = 1.5
_FROM_EGO_BEHIND_M, _FROM_EGO_AHEAD_M = 42.0, 120.0


def follow(speed: Array, desired_mps: Array, gap: Array, leader_speed: Array, jam_gap_m: float) -> Array:
    """Return the acceleration of the intelligent driver model, at least -8 m/s2.

    Args:
        speed: (N,) m/s.
        desired_mps: (N,) desired speeds, m/s.
        gap: (N,) bumper to bumper, m; inf without a leader.
        leader_speed: (N,) m/s, negative for an oncoming leader.
        jam_gap_m: gap left at a standstill.
    """
    dynamic = speed * _HEADWAY_S + speed * (speed - leader_speed) / (2.0 * np.sqrt(_ACCEL_MPS2 * _BRAKE_MPS2))
    desired_gap = jam_gap_m + np.maximum(0.0, dynamic)
    free = 1.0 - (speed / np.maximum(desired_mps, 0.1)) ** 4
    accel = _ACCEL_MPS2 * (
        np.maximum(free, -_OVER_SPEED_MPS2 / _ACCEL_MPS2) - (desired_gap / np.maximum(gap, 0.05)) ** 2
    )
    return np.maximum(accel, -_HARDEST_MPS2)


class Traffic:
    """All moving vehicles of a world, as arrays; inactive ones have left the road and wait to respawn.

    Attributes:
        active: (N,) bool, on the road.
        direction: (N,) 1 with the ego, -1 oncoming.
        lane: (N,) int, 0.. ahead, 10.. oncoming.
        s_m, d_m, speed_mps, accel_mps2, phase_m: (N,) of each.
        length_m, width_m, height_m: (N,) of each.
        idents: (N,) new at every spawn.
        dimensions: (N) kind, size and color of each.
    """

    def __init__(self, layout: Layout, rng: np.random.Generator) -> None:
        """Distribute vehicles over the whole road.

        Args:
            layout: of the world.
            rng: source of this and all later randomness.
        """
        self._layout, self._rng = layout, rng
        road, section = layout.road, layout.road.cross_section
        self._lane_d = {lane: section.lane_center_m(lane) for lane in range(section.lanes_ahead)}
        self._lane_d |= {
            10 + lane: section.lane_center_m(lane, oncoming=True) for lane in range(section.lanes_oncoming)
        }
        places: list[tuple[int, float]] = []
        if layout.options.traffic > 0.0:
            spacing = _SPACING_M / layout.options.traffic
            for lane in self._lane_d:
                at = rng.uniform(0.0, spacing)
                while at < road.length_m - 15.0:
                    places.append((lane, at))
                    at += 16.0 + rng.exponential(max(spacing - 16.0, 1.0))
        count = len(places)
        self.lane = np.array([lane for lane, _ in places], np.int64)
        self.direction = np.where(self.lane < 10, 1.0, -1.0)
        self.s_m = np.array([s for _, s in places], np.float64)
        self.active = np.ones(count, bool)
        self.d_m, self.length_m = np.zeros(count), np.zeros(count)
        self.width_m, self.height_m = np.zeros(count), np.zeros(count)
        self.speed_mps, self.accel_mps2, self.phase_m = np.zeros(count), np.zeros(count), np.zeros(count)
        self.idents = np.zeros(count, np.int64)
        self.dimensions: list[ActorDimensions] = [random_dimensions(rng, "car")] * count
        self._desired_mps = np.zeros(count)
        self._stood_s = np.zeros(count)
        self._released = np.full(count, -1, np.int64)
        self._next_ident = 1000
        for index in range(count):
            self._sample_vehicle(index)
        self.speed_mps = 0.8 * self._desired_mps
        # Desired speed every STEP_M: comfortable in the sharpest bend within 20 m.
        arc = np.arange(0.0, road.length_m + STEP_M, STEP_M)
        sharpest = np.abs(road.curvature(arc[:, None] + np.arange(-20.0, 21.0, 5.0))).max(axis=1)
        self._bend_mps = np.sqrt(_LATERAL_MPS2 / np.maximum(sharpest, 1e-4))
        self._curvature = road.curvature(arc)
        self._place_stops()

    def step(self, dt_s: float, red: Mask, yellow: Mask, occupied: Mask, ego: EgoState | None) -> None:
        """Advance all vehicles by one step.

        Args:
            dt_s: of the step.
            red: (signals,) whether each is red.
            yellow: (signals,) likewise.
            occupied: (crossings,) a person is on it or steps onto it.
            ego: treated like any other vehicle; None where there is none.
        """
        if not len(self.s_m):
            return
        place = np.clip(self.s_m / STEP_M, 0, len(self._bend_mps) - 1).astype(np.int64)
        desired_mps = np.minimum(self._desired_mps, self._bend_mps[place])
        gap, leader_speed = self._leaders(ego)
        line = self._lines(dt_s, red, yellow, occupied)
        accel = np.minimum(
            follow(self.speed_mps, desired_mps, gap, leader_speed, _JAM_GAP_M),
            follow(self.speed_mps, desired_mps, line, np.zeros_like(line), _LINE_GAP_M),
        )
        after = np.maximum(0.0, self.speed_mps + accel * dt_s)
        driven = np.where(self.active, 0.5 * (self.speed_mps + after) * dt_s, 0.0)
        # From arc length of the lane to arc length of the centerline.
        self.s_m = self.s_m + self.direction * driven / (1.0 - self._curvature[place] * self.d_m)
        self.speed_mps, self.accel_mps2 = after, np.where(after > 0.0, accel, 0.0)
        self.phase_m = self.phase_m + driven
        self._respawn(ego)

    @property
    def is_braking(self) -> Mask:
        """(N,) bool, brake lights are on: the vehicle slows down or stands."""
        return (self.accel_mps2 < -0.6) | (self.speed_mps < 0.2)

    def fronts_m(self) -> Array:
        """Return (N,) positions of the front bumpers along the road."""
        return self.s_m + self.direction * 0.5 * self.length_m

    def _place_stops(self) -> None:
        """Compute each direction's stop positions along its travel: signals, then crossings, then signs."""
        control = self._layout.traffic_control
        ahead = [signal.stop_s_m for signal in control.signals]
        ahead += [crossing.s_from_m - BEFORE_CROSSING_M for crossing in control.crossings]
        ahead += [stop.stop_s_m for stop in control.stops]
        back = [-signal.oncoming_stop_s_m for signal in control.signals]
        back += [-crossing.s_to_m - BEFORE_CROSSING_M for crossing in control.crossings]
        back += [np.inf for _ in control.stops]
        self._ahead_q, self._oncoming_q = np.array(ahead, np.float64), np.array(back, np.float64)

    def _leaders(self, ego: EgoState | None) -> tuple[Array, Array]:
        """Return (N,) gaps to and (N,) speeds of the leader in the same lane."""
        count = len(self.s_m)
        q = self.direction * self.s_m
        lanes = np.where(self.active, self.lane, 100 + np.arange(count))
        speeds, lengths = self.speed_mps, self.length_m
        if ego is not None:
            reach = 0.5 * (self._layout.road.cross_section.lane_width_m + VEHICLE.width_m) - 0.3
            over = [lane for lane, d in self._lane_d.items() if abs(ego.d_m - d) < reach]
            signs = np.array([1.0 if lane < 10 else -1.0 for lane in over])
            q = np.concatenate((q, signs * (ego.s_m + MIDDLE_M)))
            lanes = np.concatenate((lanes, np.array(over, np.int64)))
            speeds = np.concatenate((speeds, signs * ego.speed_mps))
            lengths = np.concatenate((lengths, np.full(len(over), VEHICLE.length_m)))
        order = np.lexsort((q, lanes))
        behind, ahead = order[:-1], order[1:]
        pair = (lanes[behind] == lanes[ahead]) & (behind < count)
        behind, ahead = behind[pair], ahead[pair]
        gap, leader_speed = np.full(count, np.inf), np.zeros(count)
        gap[behind] = q[ahead] - q[behind] - 0.5 * (lengths[ahead] + lengths[behind])
        leader_speed[behind] = speeds[ahead]
        return gap, leader_speed

    def _lines(self, dt_s: float, red: Mask, yellow: Mask, occupied: Mask) -> Array:
        """Return (N,) distances from the front bumper to the next required stop, inf without one."""
        signals, crossings = len(red), len(occupied)
        if not len(self._ahead_q):
            return np.full(len(self.s_m), np.inf)
        front = self.direction * self.s_m + 0.5 * self.length_m
        stops = np.where(self.direction[:, None] > 0.0, self._ahead_q, self._oncoming_q)
        ahead = stops - front[:, None]
        # Vehicles that cannot stop in time proceed: up to 3 m/s2 at a yellow light, 7 for a pedestrian.
        square = (self.speed_mps**2)[:, None]
        holds = np.empty(ahead.shape, bool)
        holds[:, :signals] = red | (yellow & (ahead[:, :signals] > square / 6.0))
        middle = slice(signals, signals + crossings)
        holds[:, middle] = occupied & (ahead[:, middle] > square / 14.0)
        signs = ahead[:, signals + crossings :]
        if signs.shape[1]:
            nearest = np.argmin(np.abs(signs), axis=1)
            apart = np.take_along_axis(signs, nearest[:, None], axis=1)[:, 0]
            stands = (self.speed_mps < 0.3) & (apart > -0.3) & (apart < 3.5)
            self._stood_s = np.where(stands, self._stood_s + dt_s, 0.0)
            self._released = np.where(self._stood_s > _SIGN_STAND_S, nearest, self._released)
            self._released = np.where((self._released >= 0) & (np.abs(apart) > 20.0), -1, self._released)
            holds[:, signals + crossings :] = np.arange(signs.shape[1]) != self._released[:, None]
        return np.where(holds & (ahead > -0.3), ahead, np.inf).min(axis=1)

    def _respawn(self, ego: EgoState | None) -> None:
        """Deactivate vehicles at the end of the road; respawn inactive ones where there is room."""
        length = self._layout.road.length_m
        half = 0.5 * self.length_m
        ended = np.where(self.direction > 0.0, self.s_m > length - half - 0.5, self.s_m < half + 0.5)
        self.active &= ~ended
        for index in np.flatnonzero(~self.active):
            if self._rng.uniform() > 0.05:
                continue
            direction = self.direction[index]
            start = 7.0 if direction > 0.0 else length - 7.0
            if ego is not None and -_FROM_EGO_BEHIND_M < start - ego.s_m < _FROM_EGO_AHEAD_M:
                continue
            others = self.active & (self.lane == self.lane[index])
            rears = direction * (self.s_m[others] - start) - half[others]
            if len(rears) and rears.min() < 28.0:
                continue
            self._sample_vehicle(int(index))
            self.s_m[index], self.active[index] = start, True
            self.speed_mps[index] = min(self._desired_mps[index], 9.0)

    def _sample_vehicle(self, index: int) -> None:
        """Draw new dimensions, desired speed and ident of a vehicle."""
        actor = random_dimensions(self._rng)
        self.dimensions[index] = actor
        self.length_m[index], self.width_m[index] = actor.length_m, actor.width_m
        self.height_m[index] = actor.height_m
        slow = 1.5 if actor.kind in ("truck", "bus") else 0.0
        self._desired_mps[index] = float(np.clip(self._rng.normal(11.5 - slow, 1.5), 7.5, 15.0))
        side = 0.35 if actor.kind == "motorcycle" else 0.12
        self.d_m[index] = self._lane_d[int(self.lane[index])] + self._rng.uniform(-side, side)
        self.idents[index] = self._next_ident
        self._stood_s[index], self._released[index] = 0.0, -1
        self.accel_mps2[index] = self.phase_m[index] = 0.0
        self._next_ident += 1
