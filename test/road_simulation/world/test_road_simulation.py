# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Simulation: the reference driver completes routes, infractions are detected, seeds are deterministic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ad_road_simulation.world.ego import VEHICLE, DriveCommand
from ad_road_simulation.world.layout import RouteOptions
from ad_road_simulation.world.scene import Scene
from ad_road_simulation.world.simulation import Event, Simulation
from support.road_world import EMPTY, ReferenceDriver, command_of, drive, ego_before, set_signal_state

COAST = DriveCommand(0.0, 0.0)


def content(scene: Scene) -> tuple:
    """Return a scene without its road, which is not comparable."""
    return tuple(getattr(scene, name) for name in Scene.__dataclass_fields__ if name != "road")


def simulation_with(kind: str) -> Simulation:
    """Return the first simulation without traffic with this kind of control in the first 800 m."""
    for seed in range(50):
        simulation = Simulation(seed, EMPTY)
        control = getattr(simulation.world.layout.traffic_control, kind)
        if control and control[0].stop_s_m < 800.0:
            return simulation
    raise AssertionError(f"no {kind} in 50 worlds")


def coast(simulation: Simulation, steps: int) -> list[Event]:
    """Keep lane and speed regardless of what is ahead."""
    events = []
    for _ in range(steps):
        steering = command_of(simulation.reference(), simulation.ego).steering_rad
        events += simulation.step(DriveCommand(steering, 0.0))
    return events


@pytest.mark.parametrize("seed", [0, 2])
def test_the_reference_driver_completes_the_route(seed: int) -> None:
    """500 m with traffic, lights and crossings: the only event is the finish."""
    simulation = Simulation(seed, RouteOptions(length_m=500.0))
    assert [event.kind for event in drive(simulation)] == ["finished"]
    assert simulation.ego.s_m >= 550.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_the_reference_driver_completes_ten_routes(seed: int) -> None:
    """The first ten roads of 1 km, one of them in dense traffic."""
    simulation = Simulation(seed, RouteOptions(traffic=2.0 if seed == 9 else 1.0))
    assert [event.kind for event in drive(simulation)] == ["finished"]


def test_equal_seeds_give_equal_drives() -> None:
    """Two simulations with equal commands give exactly equal scenes; another seed does not."""
    first, second, other = Simulation(6), Simulation(6), Simulation(7)
    driver, twin = ReferenceDriver(), ReferenceDriver()
    for step in range(200):
        if step % 40 == 0:
            assert content(first.scene()) == content(second.scene())
        driver.step(first)
        twin.step(second)
    assert content(first.scene()) == content(second.scene())
    assert content(first.scene()) != content(other.scene())


def test_the_drive_starts_in_the_lane() -> None:
    """At s = 50 m, in the lane center, at 8 m/s, with more than a second of clear distance."""
    for seed in range(5):
        simulation = Simulation(seed)
        ego, layout = simulation.ego, simulation.world.layout
        assert (ego.s_m, ego.d_m, ego.speed_mps) == (50.0, layout.ego_lane_m, 8.0)
        assert simulation.reference().clear_distance_m > 8.0
        assert not simulation.is_finished


def test_the_scene_contains_what_is_near() -> None:
    """All actors are 30 m behind to 180 m ahead of the ego, which is not among them."""
    simulation = Simulation(4, RouteOptions(traffic=2.0))
    scene = simulation.scene()
    assert scene.ego_s_m == simulation.ego.s_m
    places = [scene.road.locate(a.x_m, a.y_m, scene.ego_s_m, 250.0)[0] for a in scene.actors]
    assert len(places) > 10
    assert min(places) > 50.0 - 31.0
    assert max(places) < 50.0 + 181.0
    assert len({actor.ident for actor in scene.actors}) == len(scene.actors)
    assert {actor.kind for actor in scene.actors} >= {"person", "car"}
    assert scene.roadside_objects
    assert scene.markings


def test_passing_a_red_light_is_an_event() -> None:
    """One event when the bumper passes the line; none on green and yellow."""
    simulation = simulation_with("signals")
    line = simulation.world.layout.traffic_control.signals[0].stop_s_m
    for state, expected in (("red", ["red_light"]), ("yellow", []), ("green", [])):
        set_signal_state(simulation.world, 0, state)
        simulation.ego = ego_before(simulation.world, line, 2.0)
        assert [event.kind for event in coast(simulation, 20)] == expected


def test_a_stop_sign_requires_a_stop() -> None:
    """Passing at 8 m/s is an event; passing after a stop 3 m before the line is not."""
    simulation = simulation_with("stops")
    line = simulation.world.layout.traffic_control.stops[0].stop_s_m
    simulation.ego = ego_before(simulation.world, line, 12.0)
    assert [event.kind for event in coast(simulation, 40)] == ["stop_missed"]
    again = simulation_with("stops")
    again.ego = ego_before(again.world, line, 3.0, speed_mps=0.0)
    again.step(COAST)
    again.ego = replace(again.ego, speed_mps=5.0)
    assert coast(again, 20) == []


def test_leaving_the_lane_is_one_event_until_the_return() -> None:
    """Within the margin there is no event; beyond it there is one, and another one after a return."""
    simulation = Simulation(0, EMPTY)
    world, lane = simulation.world, simulation.world.layout.ego_lane_m
    width = world.layout.road.cross_section.lane_width_m
    margin = 0.5 * (width - VEHICLE.width_m) + 0.3
    kinds = []
    for offset in (0.0, margin - 0.05, margin + 0.05, margin - 0.05, 0.0, -margin - 0.05):
        simulation.ego = world.ego_at(60.0, lane + offset, 0.0, 1.0)
        kinds.append([event.kind for event in simulation.step(COAST)])
    assert kinds == [[], [], ["departure"], [], [], ["departure"]]


def test_driving_straight_departs_in_a_bend() -> None:
    """Without steering the ego leaves the lane: each of the first five roads bends within 400 m."""
    for seed in range(5):
        simulation = Simulation(seed, EMPTY)
        events: list[Event] = []
        while simulation.ego.s_m < 450.0 and not events:
            events += simulation.step(DriveCommand(0.0, 0.0))
        assert events[0].kind == "departure"


def test_a_collision_is_one_event_per_actor() -> None:
    """Into a standing car at 8 m/s: one event, however long the boxes overlap."""
    simulation = Simulation(0)
    traffic, world = simulation.world.traffic, simulation.world
    one = int(np.flatnonzero(traffic.lane == world.layout.road.cross_section.lanes_ahead - 1)[0])
    traffic.active[:] = np.arange(len(traffic.lane)) == one
    traffic.s_m[one], traffic.speed_mps[one] = simulation.ego.s_m + 14.0, 0.0
    traffic.d_m[one] = world.layout.ego_lane_m
    events = []
    for _ in range(30):
        traffic.speed_mps[one] = 0.0
        events += coast(simulation, 1)
    hits = [event for event in events if event.kind == "collision"]
    assert len(hits) == 1
    assert traffic.dimensions[one].kind in hits[0].what


def test_the_finish_is_one_event() -> None:
    simulation = Simulation(0, EMPTY)
    simulation.ego = simulation.world.ego_at(1049.9, simulation.world.layout.ego_lane_m, 0.0, 8.0)
    assert [event.kind for event in coast(simulation, 5)] == ["finished"]
    assert simulation.is_finished
