# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Traffic and people: they follow, stop, wait and cross without collisions."""

from __future__ import annotations

import numpy as np
import pytest

from ad_road_simulation.world.ego import MIDDLE_M, VEHICLE, DriveCommand
from ad_road_simulation.world.layout import RouteOptions
from ad_road_simulation.world.simulation import Simulation
from ad_road_simulation.world.traffic import Traffic, follow
from ad_road_simulation.world.world import World
from support.road_world import EMPTY, command_of, ego_before, set_signal_state, world_with


def gaps(traffic: Traffic) -> np.ndarray:
    """Return all bumper-to-bumper gaps between consecutive vehicles of a lane."""
    found = [np.zeros(0)]
    for lane in np.unique(traffic.lane):
        there = np.flatnonzero(traffic.active & (traffic.lane == lane))
        there = there[np.argsort(traffic.s_m[there])]
        half = 0.5 * traffic.length_m[there]
        found.append(np.diff(traffic.s_m[there]) - half[1:] - half[:-1])
    return np.concatenate(found)


@pytest.mark.parametrize("dt_s", [0.05, 0.25])
def test_a_platoon_stops_at_a_line_without_collision(dt_s: float) -> None:
    """Six cars at 14 m/s, 1.3 s apart, whose first has to stop at a line, do not touch each other."""
    length, line = 4.5, 120.0
    front = -np.arange(6) * (14.0 * 1.3 + length)
    speed = np.full(6, 14.0)
    for _ in range(int(60.0 / dt_s)):
        gap = np.concatenate(([line - front[0]], front[:-1] - length - front[1:]))
        leader = np.concatenate(([0.0], speed[:-1]))
        after = np.maximum(0.0, speed + follow(speed, np.full(6, 14.0), gap, leader, 2.0) * dt_s)
        front, speed = front + 0.5 * (speed + after) * dt_s, after
        assert (front[:-1] - length - front[1:]).min() > 0.5
        assert front[0] < line
    # The gap at a standstill is the requested one.
    assert speed.max() < 0.1
    assert front[:-1] - length - front[1:] == pytest.approx(np.full(5, 2.0), abs=0.5)


def test_free_cars_reach_their_desired_speed() -> None:
    """Without a leader: full acceleration from a stand, none at the desired speed."""
    accel = follow(np.array([0.0, 10.0]), np.full(2, 10.0), np.full(2, np.inf), np.zeros(2), 2.0)
    assert accel == pytest.approx([1.4, 0.0])


@pytest.mark.parametrize(("seed", "density", "dt_s"), [(0, 1.0, 0.05), (4, 2.0, 0.25)])
def test_traffic_keeps_flowing(seed: int, density: float, dt_s: float) -> None:
    """In two minutes no vehicles overlap, none stands longer than two red phases, none hits a pedestrian."""
    world = World(seed, RouteOptions(traffic=density))
    traffic, people = world.traffic, world.people
    stood_s = np.zeros(len(traffic.s_m))
    for _ in range(int(120.0 / dt_s)):
        world.step(dt_s, None)
        stood_s = np.where(traffic.active & (traffic.speed_mps < 0.1), stood_s + dt_s, 0.0)
        assert gaps(traffic).min() > 0.0
        assert stood_s.max() < 18.0
        walking = people.across_mps != 0.0
        apart_s = np.abs(traffic.s_m[:, None] - people.s_m[walking])
        apart_d = np.abs(traffic.d_m[:, None] - people.d_m[walking])
        touched = (apart_s < 0.5 * traffic.length_m[:, None] + 0.25) & (
            apart_d < 0.5 * traffic.width_m[:, None] + 0.2
        )
        assert not touched[traffic.active].any()
    assert traffic.active.mean() > 0.8


def test_no_vehicle_passes_a_red_light() -> None:
    """Vehicles that can stop when all lights turn red are still before their lines a minute later."""
    world = World(1)
    traffic, signals = world.traffic, world.layout.traffic_control.signals
    red = np.ones(len(signals), bool)
    ahead = np.array([signal.stop_s_m for signal in signals])
    back = np.array([signal.oncoming_stop_s_m for signal in signals])
    lines = np.where(traffic.direction[:, None] > 0.0, ahead, back)
    to_line = traffic.direction[:, None] * (lines - traffic.fronts_m()[:, None])
    holds = traffic.active[:, None] & (to_line > (traffic.speed_mps**2 / 4.0)[:, None] + 2.0)
    idents = traffic.idents.copy()
    for _ in range(600):
        traffic.step(0.1, red, ~red, np.zeros(len(world.people.occupied), bool), None)
        gone = traffic.direction[:, None] * (traffic.fronts_m()[:, None] - lines)
        assert gone[holds & (traffic.idents == idents)[:, None]].max() < 0.0


def test_pedestrians_cross_at_signals_only_during_red() -> None:
    """At signals they start only while vehicles have red, and finish before it ends."""
    world = world_with("signals", RouteOptions(traffic=1.0))
    places = [c for c in world.layout.traffic_control.crossings if c.signal is not None]
    seen = 0
    for _ in range(3000):
        world.step(0.1, None)
        for crossing in places:
            if world.people.occupied[crossing.ident]:
                signal = world.layout.traffic_control.signals[crossing.signal or 0]
                assert signal.state(world.time_s) == "red"
                seen += 1
    assert seen > 100


def test_pedestrians_wait_for_an_approaching_ego() -> None:
    """Nobody crosses while the ego stays 2 s away at 12 m/s; when it stands, somebody does."""
    world = world_with("crossings", RouteOptions(traffic=1.0))
    crossing = next(c for c in world.layout.traffic_control.crossings if c.signal is None)
    world.traffic.active[:] = False
    fast, slow = (
        ego_before(world, crossing.s_from_m - 1.0, 24.0, 12.0),
        ego_before(world, crossing.s_from_m - 1.0, 2.0, 0.0),
    )
    for _ in range(150):
        world.step(0.1, fast)
        world.traffic.active[:] = False
    # Anyone on it before has finished crossing.
    assert not world.people.occupied[crossing.ident]
    occupied = False
    for _ in range(600):
        world.step(0.1, slow)
        world.traffic.active[:] = False
        occupied |= bool(world.people.occupied[crossing.ident])
    assert occupied


def test_vehicles_do_not_spawn_near_the_ego() -> None:
    """New vehicles spawn more than 40 m behind or 120 m ahead, anywhere on the route."""
    simulation = Simulation(2, RouteOptions(traffic=2.0, length_m=300.0))
    traffic = simulation.world.traffic
    known = set(traffic.idents[traffic.active].tolist())
    born = 0
    while not simulation.is_finished and simulation.time_s < 90.0:
        simulation.step(command_of(simulation.reference(0), simulation.ego))
        for index in np.flatnonzero(traffic.active):
            if int(traffic.idents[index]) not in known:
                known.add(int(traffic.idents[index]))
                apart = traffic.s_m[index] - simulation.ego.s_m
                assert apart < -40.0 or apart > 120.0
                born += 1
    assert born > 3


@pytest.mark.parametrize("seed", [1, 5])
def test_harsh_braking_causes_no_collision(seed: int) -> None:
    """Every 10 s the ego brakes fully to a standstill of 2 s; the vehicles behind stop in time."""
    simulation = Simulation(seed, RouteOptions(traffic=2.0))
    events = []
    for step in range(800):
        command = command_of(simulation.reference(0), simulation.ego)
        if step % 200 > 130:
            command = DriveCommand(command.steering_rad, -8.0)
        events += simulation.step(command)
    assert not [event for event in events if event.kind == "collision"]


def test_without_traffic_there_are_no_actors() -> None:
    """With traffic 0 there are no actors, and the world still runs."""
    simulation = Simulation(0, EMPTY)
    for _ in range(20):
        simulation.step(DriveCommand(0.0, 0.0))
    assert simulation.scene().actors == ()
    assert len(simulation.world.obstacles().s_m) == 0


def test_vehicles_treat_the_ego_as_their_leader() -> None:
    """A car 20 m behind a standing ego stops behind its rear bumper."""
    world = world_with("signals", RouteOptions(traffic=1.0))
    set_signal_state(world, 0, "green")
    traffic = world.traffic
    lane = world.layout.road.cross_section.lanes_ahead - 1
    car = int(np.flatnonzero(traffic.lane == lane)[0])
    traffic.active[:] = False
    traffic.active[car] = True
    ego = world.ego_at(80.0, world.layout.ego_lane_m, 0.0, 0.0)
    traffic.s_m[car], traffic.speed_mps[car] = 50.0, 8.0
    for _ in range(300):
        world.step(0.05, ego)
        traffic.active[:] = np.arange(len(traffic.s_m)) == car
    rear = ego.s_m + MIDDLE_M - 0.5 * VEHICLE.length_m
    assert 1.0 < rear - traffic.fronts_m()[car] < 4.0
    assert traffic.is_braking[car]
