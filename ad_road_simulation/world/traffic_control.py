# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Traffic control of a road: signals and their phases, stop signs and crossings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ad_road_simulation.world.road import CrossSection, Road
from ad_road_simulation.world.scene import LightState, StopSign, TrafficLight

GREEN_S, YELLOW_S, RED_S = 12.0, 3.0, 9.0
CYCLE_S = GREEN_S + YELLOW_S + RED_S
STOP_LINE_M = 0.4
CROSSING_M = 3.0
BEFORE_CROSSING_M = 1.0
"""Stopping distance before the edge of an occupied crossing without a stop line."""
_LINE_TO_CROSSING_M = 1.4
_HEAD_BEYOND_LINE_M = 12.0
_SPACING_M = 70.0
"""Minimum distance between two stops, so that a driver meets one at a time."""


@dataclass(frozen=True)
class Crossing:
    """A zebra crossing over the whole carriageway, from s_from_m to s_to_m; signal is its signal's ident."""

    ident: int
    s_from_m: float
    s_to_m: float
    signal: int | None = None

    @property
    def middle_m(self) -> float:
        """Arc length of the middle, where pedestrians cross."""
        return 0.5 * (self.s_from_m + self.s_to_m)


@dataclass(frozen=True)
class Signal:
    """A signal for both directions, with a crossing between its two stop lines.

    Attributes:
        ident: index among the signals of the road.
        stop_s_m: near edge of the stop line of the ego's direction.
        oncoming_stop_s_m: near edge, as seen by oncoming traffic, of its stop line.
        phase_s: time into the cycle green, yellow, red at the start of the world.
    """

    ident: int
    stop_s_m: float
    oncoming_stop_s_m: float
    phase_s: float

    def state(self, time_s: float) -> LightState:
        """Return which lens is lit."""
        into = (time_s + self.phase_s) % CYCLE_S
        if into < GREEN_S:
            return "green"
        return "yellow" if into < GREEN_S + YELLOW_S else "red"

    def red_left_s(self, time_s: float) -> float:
        """Return the remaining red time, 0 where it is not red."""
        into = (time_s + self.phase_s) % CYCLE_S
        return CYCLE_S - into if into >= GREEN_S + YELLOW_S else 0.0


@dataclass(frozen=True)
class StopSignLine:
    """A stop sign's line: near edge at stop_s_m, for the ego's direction."""

    ident: int
    stop_s_m: float


@dataclass(frozen=True)
class TrafficControl:
    """All signals, stop signs and crossings of a road, each kind by ascending s with its index as ident."""

    signals: tuple[Signal, ...]
    stops: tuple[StopSignLine, ...]
    crossings: tuple[Crossing, ...]


def random_traffic_control(
    rng: np.random.Generator, road: Road, s_from_m: float, s_to_m: float
) -> TrafficControl:
    """Place about one signal per 300 m, one stop sign per 1000 m and one crossing per 250 m.

    Signals and signs are placed where the approach is almost straight, so that a driver sees them; one
    without a valid position after 60 tries is omitted.
    """
    length = s_to_m - s_from_m
    taken: list[float] = []
    signals = [
        place
        for _ in range(_rounded_by_chance(rng, length / 300.0))
        if (place := _free_place(rng, road, s_from_m, s_to_m, taken, 1.0 / 140.0)) is not None
    ]
    stops = [
        place
        for _ in range(_rounded_by_chance(rng, length / 1000.0))
        if (place := _free_place(rng, road, s_from_m, s_to_m, taken, 1.0 / 100.0)) is not None
    ]
    crossings = [
        place
        for _ in range(_rounded_by_chance(rng, length / 250.0))
        if (place := _free_place(rng, road, s_from_m, s_to_m, taken, 1.0 / 60.0)) is not None
    ]
    zebra: list[tuple[float, int | None]] = [(s, None) for s in crossings]
    built = []
    for ident, s in enumerate(sorted(signals)):
        start = s + _LINE_TO_CROSSING_M
        far_line = start + CROSSING_M + _LINE_TO_CROSSING_M
        built.append(Signal(ident, s, far_line, float(rng.uniform(0.0, CYCLE_S))))
        zebra.append((start, ident))
    return TrafficControl(
        tuple(built),
        tuple(StopSignLine(ident, s) for ident, s in enumerate(sorted(stops))),
        tuple(
            Crossing(ident, s, s + CROSSING_M, signal)
            for ident, (s, signal) in enumerate(sorted(zebra, key=lambda pair: pair[0]))
        ),
    )


def signal_heads(signal: Signal, road: Road, time_s: float) -> list[TrafficLight]:
    """Return the current state of a signal's heads: two for the ego's direction, two for oncoming traffic."""
    section, state = road.cross_section, signal.state(time_s)
    outside = section.curb_width_m + 0.5
    heads = []
    for oncoming in (False, True):
        if oncoming:
            s, pole_d = signal.oncoming_stop_s_m - _HEAD_BEYOND_LINE_M, section.left_m + outside
            middle_d, facing = 0.5 * section.left_m, 0.0
        else:
            s, pole_d = signal.stop_s_m + _HEAD_BEYOND_LINE_M, section.right_m - outside
            middle_d, facing = 0.5 * section.right_m, np.pi
        heading = float(road.heading(s)) + facing
        pole = road.points(s, pole_d)
        for number, (d, height) in enumerate(((pole_d, 3.2), (middle_d, 5.0))):
            x, y = road.points(s, d)
            heads.append(
                TrafficLight(
                    ident=4 * signal.ident + 2 * oncoming + number,
                    x_m=float(x),
                    y_m=float(y),
                    height_m=height,
                    heading_rad=heading,
                    state=state,
                    pole_x_m=float(pole[0]),
                    pole_y_m=float(pole[1]),
                )
            )
    return heads


def stop_sign_at(stop: StopSignLine, road: Road) -> StopSign:
    """Return the sign of a stop line, at the right curb 1 m before the line."""
    section: CrossSection = road.cross_section
    s = stop.stop_s_m - 1.0
    x, y = road.points(s, section.right_m - section.curb_width_m - 0.45)
    return StopSign(stop.ident, float(x), float(y), 2.2, float(road.heading(s)) + np.pi)


def _rounded_by_chance(rng: np.random.Generator, expected: float) -> int:
    """Return the expected number, randomly rounded up or down without bias."""
    return int(expected + rng.uniform(0.0, 1.0))


def _free_place(
    rng: np.random.Generator,
    road: Road,
    s_from_m: float,
    s_to_m: float,
    taken: list[float],
    bend_per_m: float,
) -> float | None:
    """Return a random position far from those taken, with no sharper bend nearby, and append it to taken."""
    tries = rng.uniform(s_from_m, s_to_m, 60)
    near = tries[:, None] + np.arange(-45.0, 26.0, 5.0)
    good = np.abs(road.curvature(near)).max(axis=1) < bend_per_m
    if taken:
        good &= np.abs(tries[:, None] - np.array(taken)).min(axis=1) > _SPACING_M
    if not good.any():
        return None
    place = float(tries[int(np.argmax(good))])
    taken.append(place)
    return place
