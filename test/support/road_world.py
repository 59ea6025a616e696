# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Road worlds for tests: a driver that follows the reference plan, and ego poses before stops."""

from __future__ import annotations

import math

import numpy as np

from ad_road_simulation.world.ego import VEHICLE, DriveCommand, EgoState
from ad_road_simulation.world.expert import ReferencePlan
from ad_road_simulation.world.layout import RouteOptions
from ad_road_simulation.world.simulation import Event, Simulation
from ad_road_simulation.world.world import World

EMPTY = RouteOptions(traffic=0.0)


def command_of(plan: ReferencePlan, ego: EgoState) -> DriveCommand:
    """Return the steering at the path's start and the acceleration to the speed profile's first point."""
    trajectory = plan.trajectory
    assert trajectory.speeds_mps is not None
    return DriveCommand(
        math.atan(VEHICLE.wheelbase_m * trajectory.curvature_per_m),
        (float(trajectory.speeds_mps[0]) - ego.speed_mps) / trajectory.step_s,
    )


class ReferenceDriver:
    """Follows the reference plan; stops for a second at a stop sign, then proceeds."""

    def __init__(self) -> None:
        self.obeyed: int | None = None
        self._stood_s = 0.0

    def step(self, simulation: Simulation) -> list[Event]:
        """Drive one step of 0.05 s."""
        plan = simulation.reference(self.obeyed)
        at_sign = plan.may_proceed and plan.clear_distance_m < 4.0 and simulation.ego.speed_mps < 0.3
        self._stood_s = self._stood_s + 0.05 if at_sign else 0.0
        if self._stood_s > 1.0:
            self.obeyed = plan.reasons[0].ident
        return simulation.step(command_of(plan, simulation.ego))


def drive(simulation: Simulation, longest_s: float = 400.0) -> list[Event]:
    """Drive to the finish with the reference driver; return all events."""
    driver, events = ReferenceDriver(), []
    while not simulation.is_finished and simulation.time_s < longest_s:
        events += driver.step(simulation)
    return events


def world_with(kind: str, options: RouteOptions = EMPTY) -> World:
    """Return the first world with a kind of traffic control: signals, stops or crossings."""
    return next(
        world for seed in range(50) if getattr((world := World(seed, options)).layout.traffic_control, kind)
    )


def ego_before(world: World, s_m: float, distance_m: float, speed_mps: float = 8.0) -> EgoState:
    """Return an ego in its lane whose front bumper is distance_m before s_m along the centerline."""
    return world.ego_at(s_m - distance_m - VEHICLE.front_m, world.layout.ego_lane_m, 0.0, speed_mps)


def set_signal_state(world: World, signal: int, state: str) -> None:
    """Set the time of a world to 1 s into the next phase in which a signal has a state."""
    lamp = world.layout.traffic_control.signals[signal]
    times = world.time_s + np.arange(0.0, 48.0, 0.25)
    shown = [lamp.state(float(time)) == state for time in times]
    start = shown.index(True, shown.index(False))
    world.time_s = float(times[start]) + 1.0
