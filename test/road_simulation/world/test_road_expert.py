# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The reference plan: the path back to the lane center, and the reasons that end the clear distance."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ad_compressed_perception.driving.path import KNOTS_M, path_of_curvature
from ad_compressed_perception.driving.speed_profile import speed_profile
from ad_road_simulation.world.camera import Camera
from ad_road_simulation.world.ego import VEHICLE, EgoState
from ad_road_simulation.world.expert import reference_plan
from ad_road_simulation.world.layout import RouteOptions
from ad_road_simulation.world.world import World
from support.road_world import ego_before, set_signal_state, world_with


@pytest.fixture(scope="module")
def world() -> World:
    """Return an empty road with a signal."""
    return world_with("signals")


@pytest.fixture()
def busy() -> tuple[World, int]:
    """Return a road with one vehicle, in the ego's lane, and its index."""
    world = world_with("signals", RouteOptions(traffic=1.0))
    traffic = world.traffic
    one = int(np.flatnonzero(traffic.lane == world.layout.road.cross_section.lanes_ahead - 1)[0])
    traffic.active[:] = False
    traffic.active[one] = True
    set_signal_state(world, 0, "green")
    world.people.occupied[:] = False
    return world, one


def park(world: World, one: int, ego: EgoState, gap_m: float, speed_mps: float) -> None:
    """Put a vehicle gap_m ahead of the ego's front bumper, in the lane center."""
    traffic = world.traffic
    traffic.s_m[one] = ego.s_m + VEHICLE.front_m + gap_m + 0.5 * traffic.length_m[one]
    traffic.d_m[one], traffic.speed_mps[one] = world.layout.ego_lane_m, speed_mps
    traffic.height_m[one] = 1.5


@pytest.mark.parametrize("offset", [-1.2, 0.0, 0.8])
@pytest.mark.parametrize("turned", [-0.15, 0.0, 0.1])
def test_the_path_leads_back_into_the_lane(world: World, offset: float, turned: float) -> None:
    """It starts at the car along its heading, and after 40 m is at the lane center along the lane."""
    for s in (100.0, 333.0, 612.0, 900.0):
        ego = world.ego_at(s, world.layout.ego_lane_m + offset, turned, 8.0)
        points, headings = path_of_curvature(
            reference_plan(world, ego).curvature_per_m, np.array([0.0, 30.0, 40.0])
        )
        assert points[0] == pytest.approx([0.0, 0.0])
        assert headings[0] == 0.0
        cos, sin = math.cos(ego.heading_rad), math.sin(ego.heading_rad)
        x, y = (
            ego.x_m + cos * points[2, 0] - sin * points[2, 1],
            ego.y_m + sin * points[2, 0] + cos * points[2, 1],
        )
        end_s, end_d = world.layout.road.locate(float(x), float(y), s + 40.0)
        assert end_d == pytest.approx(world.layout.ego_lane_m, abs=0.05)
        along = float(world.layout.road.heading(end_s))
        assert ego.heading_rad + headings[2] == pytest.approx(along, abs=0.01)


def test_in_the_lane_center_the_curvature_is_that_of_the_lane(world: World) -> None:
    """Without an error to correct: k / (1 - k d) at every knot along the lane's arc."""
    road, lane = world.layout.road, world.layout.ego_lane_m
    plan = reference_plan(world, world.ego_at(400.0, lane, 0.0, 8.0))
    arc = np.concatenate(
        ([0.0], np.cumsum(1.0 - road.curvature(400.0 + np.arange(0.0, 60.0, 0.1)) * lane) * 0.1)
    )
    s = np.interp(KNOTS_M, arc, 400.0 + np.arange(len(arc)) * 0.1)
    expected = road.curvature(s) / (1.0 - road.curvature(s) * lane)
    assert plan.curvature_per_m == pytest.approx(expected, abs=1e-3)


def test_only_the_trajectory_depends_on_speed(world: World) -> None:
    """Path, clear distance and both decisions equal those of a standing car; the trajectory differs."""
    set_signal_state(world, 0, "red")
    ego = ego_before(world, world.layout.traffic_control.signals[0].stop_s_m, 30.0)
    still, fast = (reference_plan(world, replace(ego, speed_mps=v, accel_mps2=v)) for v in (0.0, 13.0))
    assert np.array_equal(still.curvature_per_m, fast.curvature_per_m)
    assert still.reasons == fast.reasons
    assert (still.must_stop, still.may_proceed) == (fast.must_stop, fast.may_proceed)
    assert fast.trajectory.points_xy_m[-1, 0] > still.trajectory.points_xy_m[-1, 0]


def test_lights_end_the_clear_distance(world: World) -> None:
    """Red and yellow end it at the line 30 m ahead; green, or a line already passed, does not."""
    line = world.layout.traffic_control.signals[0].stop_s_m
    for state in ("red", "yellow"):
        set_signal_state(world, 0, state)
        plan = reference_plan(world, ego_before(world, line, 30.0))
        # Along the lane, which in a bend of 140 m is up to 4 percent longer or shorter than the centerline.
        assert plan.clear_distance_m == pytest.approx(30.0, rel=0.05)
        assert (plan.must_stop, plan.may_proceed) == (True, False)
        assert reference_plan(world, ego_before(world, line, 52.0)).must_stop is False
        assert reference_plan(world, ego_before(world, line, 64.0)).clear_distance_m == math.inf
        assert reference_plan(world, ego_before(world, line, -0.1)).clear_distance_m == math.inf
    set_signal_state(world, 0, "green")
    assert reference_plan(world, ego_before(world, line, 30.0)).clear_distance_m == math.inf


def test_a_stop_sign_is_ignored_once_obeyed() -> None:
    """Its line requires a stop, may be passed afterwards, and is ignored once obeyed."""
    world = world_with("stops")
    stop = world.layout.traffic_control.stops[0]
    ego = ego_before(world, stop.stop_s_m, 20.0)
    plan = reference_plan(world, ego)
    assert plan.clear_distance_m == pytest.approx(20.0, rel=0.06)
    assert (plan.must_stop, plan.may_proceed) == (True, True)
    obeyed = reference_plan(world, ego, obeyed_sign=stop.ident)
    assert (obeyed.clear_distance_m, obeyed.must_stop, obeyed.may_proceed) == (math.inf, False, False)


def test_an_occupied_crossing_requires_a_stop() -> None:
    """The stop is a meter before the crossing's edge, only while it is occupied."""
    world = world_with("crossings")
    crossing = next(c for c in world.layout.traffic_control.crossings if c.signal is None)
    ego = ego_before(world, crossing.s_from_m, 21.0)
    assert not any(reason.kind == "crossing" for reason in reference_plan(world, ego).reasons)
    world.people.occupied[crossing.ident] = True
    plan = reference_plan(world, ego)
    assert plan.clear_distance_m == pytest.approx(20.0, rel=0.1)
    assert (plan.must_stop, plan.may_proceed) == (True, False)


def test_with_a_camera_only_people_in_its_image_count() -> None:
    """A person outside the image is a reason to stop only without the camera's restriction.

    The camera sees 35 degrees to either side. It is 4.25 m before the person along the road, so that 7 m to
    the left are 59 degrees aside, and 0.5 m to the left 7.
    """
    world = world_with("crossings", RouteOptions(traffic=1.0))
    world.traffic.active[:] = False
    people = world.people
    crossing = next(c for c in world.layout.traffic_control.crossings if c.signal is None)
    people.on_crossing[:], people.occupied[:] = -1, False
    people.on_crossing[0], people.occupied[crossing.ident] = crossing.ident, True
    ego = ego_before(world, crossing.s_from_m, 1.5, 0.0)
    camera = Camera()

    def waits(d_m: float, seen_by: Camera | None) -> bool:
        people.s_m[0], people.d_m[0] = crossing.s_from_m + 1.0, ego.d_m + d_m
        reasons = reference_plan(world, ego, camera=seen_by).reasons
        return any((reason.kind, reason.ident) == ("crossing", crossing.ident) for reason in reasons)

    assert waits(0.5, None) and waits(0.5, camera)
    assert waits(7.0, None) and not waits(7.0, camera)
    assert not waits(-7.0, camera)


def test_a_leader_ends_the_clear_distance(busy: tuple[World, int]) -> None:
    """Moving or standing, up to its rear bumper; a stop is required only when it stands."""
    world, one = busy
    ego = world.ego_at(60.0, world.layout.ego_lane_m, 0.0, 8.0)
    park(world, one, ego, 12.0, 5.0)
    plan = reference_plan(world, ego)
    assert plan.clear_distance_m == pytest.approx(12.0, rel=0.06)
    assert (plan.reasons[0].kind, plan.must_stop) == ("actor", False)
    park(world, one, ego, 12.0, 0.1)
    assert reference_plan(world, ego).must_stop
    # In the next lane it is no reason.
    world.traffic.d_m[one] += world.layout.road.cross_section.lane_width_m
    assert reference_plan(world, ego).clear_distance_m == math.inf


def test_a_truck_occludes_the_light(busy: tuple[World, int]) -> None:
    """A red light behind a truck is not visible in the image; over the roof of a car it is."""
    world, one = busy
    set_signal_state(world, 0, "red")
    ego = ego_before(world, world.layout.traffic_control.signals[0].stop_s_m, 35.0)
    park(world, one, ego, 10.0, 5.0)
    assert reference_plan(world, ego).must_stop
    world.traffic.height_m[one] = 3.2
    assert not reference_plan(world, ego).must_stop


def test_the_trajectory_is_the_speed_profile_on_the_path(world: World) -> None:
    """20 points at 0.15 s .. 3 s: every third of the profile's steps of 0.05 s."""
    set_signal_state(world, 0, "red")
    plan = reference_plan(
        world, ego_before(world, world.layout.traffic_control.signals[0].stop_s_m, 25.0, 9.0)
    )
    trajectory = plan.trajectory
    bend = float(np.abs(plan.curvature_per_m).max())
    distances, speeds = speed_profile(9.0, plan.clear_distance_m, bend, 60, 0.05)
    points, headings = path_of_curvature(plan.curvature_per_m, distances[2::3])
    assert trajectory.points_xy_m.shape == (20, 2)
    assert trajectory.points_xy_m == pytest.approx(points)
    assert trajectory.headings_rad == pytest.approx(headings)
    assert trajectory.speeds_mps == pytest.approx(speeds[2::3])
    assert (trajectory.step_s, trajectory.speed_mps) == (0.15, 9.0)
    assert (trajectory.stop_probability, trajectory.proceed_after_stop_probability) == (1.0, 0.0)
    assert trajectory.steering_wheel_angle_rad == pytest.approx(
        14.8 * math.atan(2.85 * plan.curvature_per_m[0])
    )
