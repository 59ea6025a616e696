# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Worlds of the road camera for tests: a driver who follows the reference, and places to stand at."""

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
    """Return steering of the path's beginning and the acceleration to the speed profile's first point."""
    trajectory = plan.trajectory
    assert trajectory.speeds_mps is not None
    return DriveCommand(
        math.atan(VEHICLE.wheelbase_m * trajectory.curvature_per_m),
        (float(trajectory.speeds_mps[0]) - ego.speed_mps) / trajectory.step_s,
    )


class ReferenceDriver:
    """Follows the reference plan; stands for a second at a stop sign, then goes on."""

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
    """Let the reference driver drive to the finish; return all events."""
    driver, events = ReferenceDriver(), []
    while not simulation.is_finished and simulation.time_s < longest_s:
        events += driver.step(simulation)
    return events


def world_with(kind: str, options: RouteOptions = EMPTY) -> World:
    """Return the first world that has a thing of a kind of furniture: signals, stops or crossings."""
    return next(
        world for seed in range(50) if getattr((world := World(seed, options)).layout.traffic_control, kind)
    )


def ego_before(world: World, s_m: float, distance_m: float, speed_mps: float = 8.0) -> EgoState:
    """Return an ego in its lane whose front bumper is so far from a place, along the centerline."""
    return world.ego_at(s_m - distance_m - VEHICLE.front_m, world.layout.ego_lane_m, 0.0, speed_mps)


def set_signal_state(world: World, signal: int, state: str) -> None:
    """Set the clock of a world to the middle of a signal's next phase of that color."""
    lamp = world.layout.traffic_control.signals[signal]
    times = world.time_s + np.arange(0.0, 48.0, 0.25)
    shown = [lamp.state(float(time)) == state for time in times]
    start = shown.index(True, shown.index(False))
    world.time_s = float(times[start]) + 1.0
