# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Speed and curvature commands computed from trajectories and odometry."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ad_compressed_perception.core.errors import DataError, ResultError
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.driving.odometry import Odometry, OdometryLog
from ad_compressed_perception.driving.path_tracker import Pose
from ad_compressed_perception.driving.vehicle_controller import AHEAD_S, VehicleController
from ad_road_simulation.world.command_follower import CommandFollower
from ad_road_simulation.world.ego import VEHICLE, DriveCommand
from ad_road_simulation.world.layout import RouteOptions
from ad_road_simulation.world.simulation import Simulation
from support.road import straight_trajectory

WHEELBASE_M = 2.85


def braking_trajectory(speed_mps: float = 8.0, decel_mps2: float = 2.0) -> Trajectory:
    """Return a straight trajectory with constant deceleration."""
    plan = straight_trajectory(speed_mps)
    times = plan.step_s * np.arange(1, 21)
    speeds = np.maximum(0.0, speed_mps - decel_mps2 * times)
    driven = speed_mps * times - 0.5 * decel_mps2 * times**2
    return replace(plan, speeds_mps=speeds, points_xy_m=np.stack([driven, np.zeros(20)], axis=1))


def at(time_s: float, y_m: float = 0.0, speed_mps: float = 8.0, yaw_rate_radps: float = 0.0) -> Odometry:
    return Odometry(time_s, Pose(speed_mps * time_s, y_m, 0.0), speed_mps, yaw_rate_radps)


def test_without_odometry_the_plan_itself_is_commanded() -> None:
    """8 m/s minus half a second of 2 m/s^2."""
    speed, curvature = VehicleController(WHEELBASE_M).command(braking_trajectory(), 10.0, 10.0)

    assert speed == pytest.approx(8.0 - 2.0 * AHEAD_S)
    assert curvature == pytest.approx(0.0)


def test_a_steering_only_planner_keeps_its_speed_and_its_arc() -> None:
    arc = replace(straight_trajectory(10.0), speeds_mps=None, step_s=math.nan, curvature_per_m=0.02)

    assert VehicleController(WHEELBASE_M).command(arc, 10.0, 10.0) == (10.0, 0.02)


def test_the_path_is_transformed_to_the_current_pose() -> None:
    """The image was taken at y = 0; since then the vehicle moved 0.4 m to the left: it steers right."""
    controller = VehicleController(WHEELBASE_M)
    controller.odometry.add(at(10.0))
    controller.odometry.add(at(10.2, y_m=0.4))

    _, curvature = controller.command(straight_trajectory(8.0), 10.0, 10.2)

    look_ahead_m = 0.7 * 8.0
    assert curvature == pytest.approx(-2.0 * 0.4 / look_ahead_m**2, rel=1e-3)


def test_the_commanded_speed_follows_the_plan() -> None:
    controller = VehicleController(WHEELBASE_M)
    controller.odometry.add(at(10.0))

    slower, _ = controller.command(braking_trajectory(), 10.0, 10.0)

    assert abs(slower - (8.0 - 2.0 * AHEAD_S)) < 0.3


def test_odometry_is_extrapolated_along_an_arc() -> None:
    """10 m/s and 0.5 rad/s for 0.2 s: 0.1 rad of turn, a chord of 2 m at half that angle."""
    log = OdometryLog()
    log.add(Odometry(5.0, Pose(1.0, 2.0, 0.0), 10.0, 0.5))

    known = log.at(5.2)

    assert known is not None
    assert known.pose.heading_rad == pytest.approx(0.1)
    assert known.pose.x_m == pytest.approx(1.0 + 2.0 * math.cos(0.05))
    assert known.pose.y_m == pytest.approx(2.0 + 2.0 * math.sin(0.05))


def test_old_odometry_is_not_used_and_a_clock_reset_clears_the_log() -> None:
    log = OdometryLog()
    assert log.at(5.0) is None
    log.add(at(5.0))
    assert log.at(5.6) is None
    log.add(at(1.0, speed_mps=3.0))
    assert log.at(5.0) is None
    known = log.at(1.1)
    assert known is not None
    assert known.speed_mps == 3.0


@pytest.mark.parametrize(
    "broken",
    [
        replace(at(10.0), speed_mps=math.inf),
        replace(at(10.0), speed_mps=-150.0),
        replace(at(10.0), yaw_rate_radps=math.nan),
        replace(at(10.0), pose=Pose(math.nan, 0.0, 0.0)),
        replace(at(10.0), pose=Pose(0.0, 1e300, 0.0)),
    ],
)
def test_broken_odometry_is_not_used_and_without_other_there_is_no_command(broken: Odometry) -> None:
    """An infinite speed was commanded, and stayed in the controller's integrator for ever."""
    controller = VehicleController(WHEELBASE_M)
    with pytest.raises(DataError, match="not used"):
        controller.odometry.add(broken)

    with pytest.raises(ResultError, match="odometry is in use"):
        controller.command(straight_trajectory(8.0), 10.0, 10.0)

    controller.odometry.add(at(10.1))
    speed, curvature = controller.command(straight_trajectory(8.0), 10.1, 10.1)
    assert speed == pytest.approx(8.0, abs=0.3)
    assert curvature == pytest.approx(0.0)


@pytest.mark.parametrize(
    "changes", [{"speed_mps": math.nan}, {"speed_mps": 1e3}, {"curvature_per_m": math.inf}]
)
def test_a_command_beyond_the_limits_is_none(changes: dict[str, float]) -> None:
    """Whatever computed it: the last check before the topic."""
    arc = replace(straight_trajectory(10.0), speeds_mps=None, step_s=math.nan, curvature_per_m=0.0)

    with pytest.raises(ResultError, match="no command"):
        VehicleController(WHEELBASE_M).command(replace(arc, **changes), 10.0, 10.0)


# ---- the receiving side of the command topic


def test_commands_are_followed_and_a_timeout_brakes() -> None:
    follower = CommandFollower(timeout_s=1.0)
    assert follower.is_silent
    assert follower.command(0.1, 8.0).accel_mps2 < 0.0, "no command yet"

    assert follower.take(9.0, 9.0 * 0.05)
    command = follower.command(0.1, 8.0)
    assert command.steering_rad == pytest.approx(math.atan(VEHICLE.wheelbase_m * 0.05))
    assert command.accel_mps2 == pytest.approx(2.0)

    for _ in range(10):
        command = follower.command(0.1, 8.0)
    assert follower.is_silent
    assert command == DriveCommand(command.steering_rad, -3.0)


def test_a_command_to_stand_keeps_the_steering_angle() -> None:
    """Yaw rate / speed is undefined at zero speed."""
    follower = CommandFollower()
    follower.take(5.0, 0.5)
    bent = follower.command(0.1, 5.0).steering_rad

    follower.take(0.0, 0.0)

    assert follower.command(0.1, 0.0).steering_rad == bent
    for speed, yaw_rate in ((math.nan, 0.0), (5.0, math.inf), (1e6, 0.0)):
        assert not follower.take(speed, yaw_rate)


@pytest.mark.parametrize("late_steps", [0, 1])
def test_a_perfect_planner_drives_a_route_by_topic_commands(late_steps: int) -> None:
    """The topic carries speed and yaw rate only, 10 times a second, on time or one step late."""
    world = Simulation(2, RouteOptions(length_m=300.0))
    controller, follower = VehicleController(VEHICLE.wheelbase_m), CommandFollower()
    waiting: list[tuple[float, Trajectory]] = []
    events = []
    while not world.is_finished and world.time_s < 120.0:
        ego, now_s = world.ego, world.time_s
        pose = Pose(ego.x_m, ego.y_m, ego.heading_rad)
        controller.odometry.add(Odometry(now_s, pose, ego.speed_mps, ego.yaw_rate_radps))
        waiting.append((now_s, world.reference().trajectory))
        if len(waiting) > late_steps:
            taken_s, trajectory = waiting.pop(0)
            speed, curvature = controller.command(trajectory, taken_s, now_s)
            follower.take(speed, speed * curvature)
        for _ in range(2):
            events += world.step(follower.command(0.05, world.ego.speed_mps))

    assert [event.kind for event in events] == ["finished"]
