# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Steering and acceleration computed from a plan, on roads with an analytic solution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.driving.driver import Driver
from ad_compressed_perception.driving.path_tracker import (
    Pose,
    SpeedController,
    TrackerSettings,
    dense_path,
    pursuit_curvature,
    transform_points,
)
from ad_compressed_perception.driving.speed_profile import speed_profile
from ad_compressed_perception.driving.stop_state_machine import StopAction, StopObservation, StopStateMachine
from ad_compressed_perception.tasks.planning import arc_points

DT_S = 0.05


@dataclass
class Car:
    """A kinematic bicycle whose acceleration follows the command after 0.2 s."""

    x_m: float = 0.0
    y_m: float = 0.0
    heading_rad: float = 0.0
    speed_mps: float = 0.0
    accel_mps2: float = 0.0
    time_s: float = 0.0

    @property
    def pose(self) -> Pose:
        return Pose(self.x_m, self.y_m, self.heading_rad)

    def step(self, steering_rad: float, accel_mps2: float) -> None:
        self.accel_mps2 += (accel_mps2 - self.accel_mps2) * DT_S / 0.2
        self.x_m += self.speed_mps * math.cos(self.heading_rad) * DT_S
        self.y_m += self.speed_mps * math.sin(self.heading_rad) * DT_S
        self.heading_rad += self.speed_mps * math.tan(steering_rad) / 2.85 * DT_S
        self.speed_mps = max(0.0, self.speed_mps + self.accel_mps2 * DT_S)
        self.time_s += DT_S


def straight_ahead(clear_m: float, speed_mps: float, stop: float, may_proceed: float) -> Trajectory:
    """Return a plan on a straight road."""
    driven, speeds = speed_profile(speed_mps, clear_m, 0.0, 20, 0.15)
    points = np.stack([driven, np.zeros(20)], axis=1)
    return Trajectory(
        points,
        np.zeros(20),
        0.0,
        float(speeds[-1]),
        speeds_mps=speeds,
        step_s=0.15,
        clear_distance_m=clear_m,
        stop_probability=stop,
        proceed_after_stop_probability=may_proceed,
    )


def arc(curvature_per_m: float, speed_mps: float = 8.0) -> Trajectory:
    """Return the plan of a steering-only planner: 30 m of an arc and a speed."""
    points, headings = arc_points(curvature_per_m, 30.0, 20)
    return Trajectory(points, headings, curvature_per_m, speed_mps)


@pytest.mark.parametrize("curvature", [0.0, 1 / 20, -1 / 50])
def test_pure_pursuit_on_an_arc_returns_its_curvature(curvature: float) -> None:
    """Every chord of a circle from its tangent point has the circle's own curvature 2 y / L^2."""
    path = dense_path(arc(curvature), beyond_m=5.0)
    for look_ahead in (4.0, 9.0, 12.0):
        # The interpolated curve is not exactly a circle, neither between points 1.5 m apart nor 0.25 m.
        assert pursuit_curvature(path, look_ahead) == pytest.approx(curvature, abs=2e-4)


def test_pure_pursuit_beside_a_straight_line() -> None:
    """1 m right of a straight line the goal is 1 m to the left at distance 6: 2 * 1 / 36."""
    path = dense_path(arc(0.0), beyond_m=5.0) + np.array([0.0, 1.0])
    assert pursuit_curvature(path, 6.0) == pytest.approx(2.0 / 36.0, rel=1e-4)


def test_a_path_is_extended_as_an_arc() -> None:
    """The plan of a standing car has no length; the steering angle of the bend is kept."""
    standing = Trajectory(np.zeros((20, 2)), np.zeros(20), 1 / 25, 0.0)
    path = dense_path(standing, beyond_m=10.0)
    assert pursuit_curvature(path, 4.0) == pytest.approx(1 / 25, rel=0.01)


def test_points_are_transformed_to_the_current_pose() -> None:
    """After 2 m and a left turn of 90 degrees, a point 5 m ahead at the image lies 3 m to the right."""
    planned_at = Pose(10.0, 4.0, 0.0)
    now = Pose(12.0, 4.0, math.pi / 2)
    # In the world the point is (15, 4): 3 m to the right of a car that faces +y.
    assert transform_points(np.array([[5.0, 0.0]]), planned_at, now)[0] == pytest.approx([0.0, -3.0])
    back = transform_points(transform_points(np.array([[5.0, 1.0]]), planned_at, now), now, planned_at)
    assert back[0] == pytest.approx([5.0, 1.0])


def test_an_offset_start_converges_to_the_line() -> None:
    """One plan, made at the origin: the car starts 1 m beside it and converges to it."""
    driver, car = Driver(), Car(y_m=1.0, speed_mps=8.0)
    points, headings = arc_points(0.0, 150.0, 20)
    driver.accept(Trajectory(points, headings, 0.0, 8.0), Pose(0.0, 0.0, 0.0), 0.0, 8.0)
    farthest = 0.0
    for _ in range(58):
        command = driver.command(car.pose, car.speed_mps, car.time_s, DT_S)
        car.step(command.steering_rad, command.accel_mps2)
        farthest = max(farthest, -car.y_m)
    assert abs(car.y_m) < 0.05
    assert farthest < 0.1  # hardly any overshoot


def test_a_late_plan_is_compensated_by_odometry() -> None:
    """The image was taken 0.8 s and 6.4 m ago: the car still stays on the circle."""
    curvature, speed = 1 / 30, 8.0
    # The car has driven on along the circle since then; its pose is known analytically.
    moved = 0.8 * speed
    now = Pose(
        math.sin(curvature * moved) / curvature,
        (1 - math.cos(curvature * moved)) / curvature,
        curvature * moved,
    )
    driver = Driver()
    driver.accept(arc(curvature, speed), Pose(0.0, 0.0, 0.0), 0.0, speed)
    late = driver.command(now, speed, 0.8, DT_S)
    assert math.tan(late.steering_rad) / 2.85 == pytest.approx(curvature, rel=0.02)
    # Without compensation the plan would fit here too, but not at a pose beside the circle.
    aside = Pose(
        now.x_m + 0.5 * math.sin(now.heading_rad), now.y_m - 0.5 * math.cos(now.heading_rad), now.heading_rad
    )
    assert driver.command(aside, speed, 0.8, DT_S).steering_rad > late.steering_rad + 0.02


def test_the_speed_converges_with_small_overshoot() -> None:
    """From standstill to 10 m/s with a lag of 0.2 s: at most 10 percent overshoot, no error at the end."""
    controller, car = SpeedController(TrackerSettings()), Car()
    fastest = 0.0
    for _ in range(600):
        car.step(0.0, controller.step(10.0, car.speed_mps, 0.0, DT_S))
        fastest = max(fastest, car.speed_mps)
    assert fastest < 11.0
    assert car.speed_mps == pytest.approx(10.0, abs=0.1)


def test_the_integrator_removes_a_constant_drag_and_has_anti_windup() -> None:
    """0.5 m/s^2 of drag leaves no error; ten seconds at the limit do not charge the integrator."""
    controller, car = SpeedController(TrackerSettings()), Car(speed_mps=10.0)
    for _ in range(800):
        car.step(0.0, controller.step(10.0, car.speed_mps, 0.0, DT_S) - 0.5)
    assert car.speed_mps == pytest.approx(10.0, abs=0.1)
    stuck = SpeedController(TrackerSettings())
    for _ in range(200):
        stuck.step(10.0, 0.0, 0.0, DT_S)
    assert stuck.step(10.0, 10.0, 0.0, DT_S) == pytest.approx(0.0, abs=0.1)


def test_a_plan_older_than_its_horizon_brakes() -> None:
    """Three seconds planned, four seconds old: the car brakes."""
    driver = Driver()
    driver.accept(straight_ahead(math.inf, 10.0, 0.1, 0.1), Pose(0.0, 0.0, 0.0), 0.0, 10.0)
    assert driver.command(Pose(20.0, 0.0, 0.0), 10.0, 2.0, DT_S).accel_mps2 > -0.5
    assert driver.command(Pose(40.0, 0.0, 0.0), 10.0, 4.0, DT_S).accel_mps2 == pytest.approx(-2.0)


def drive_to(
    line_m: float, may_proceed: float, seconds: float, sign_out_of_view_m: float = 0.0
) -> tuple[list[float], list[float]]:
    """Approach a stop on a straight road, planned at 10 Hz; return positions and speeds of the bumper.

    The stop is out of view nearer than sign_out_of_view_m, and in any case once it is passed.
    """
    driver, car = Driver(), Car(speed_mps=8.0)
    places, speeds = [], []
    for step in range(round(seconds / DT_S)):
        if step % 2 == 0:
            clear = line_m - car.x_m
            is_seen = sign_out_of_view_m < clear < 60.0
            plan = straight_ahead(
                clear if is_seen else math.inf, car.speed_mps, 0.9 * is_seen, may_proceed * is_seen
            )
            driver.accept(plan, car.pose, car.time_s, car.speed_mps)
        command = driver.command(car.pose, car.speed_mps, car.time_s, DT_S)
        car.step(command.steering_rad, command.accel_mps2)
        places.append(car.x_m)
        speeds.append(car.speed_mps)
    return places, speeds


@pytest.mark.parametrize("sign_out_of_view_m", [0.0, 5.0])
def test_the_car_stops_at_a_stop_sign_and_proceeds(sign_out_of_view_m: float) -> None:
    """The same with the sign in every image and with the sign out of the image for the last 5 m."""
    places, speeds = drive_to(40.0, may_proceed=0.9, seconds=25.0, sign_out_of_view_m=sign_out_of_view_m)
    standing = [place for place, speed in zip(places, speeds, strict=True) if speed < 0.3]
    assert len(standing) * DT_S >= 1.0
    assert 36.0 < standing[0] <= standing[-1] < 40.0  # before the line: the margin of 2 m and a little more
    assert places[-1] > 60.0
    moving_on = [speed for place, speed in zip(places, speeds, strict=True) if standing[-1] < place < 42.0]
    assert max(moving_on) < 4.5  # the rules' speed for 6 m of clear road is 4 m/s


def test_the_car_waits_at_a_red_light() -> None:
    """The same stop without permission to proceed: after a minute the car still stands there."""
    places, speeds = drive_to(40.0, may_proceed=0.1, seconds=60.0)
    assert places[-1] < 40.0
    assert speeds[-1] == 0.0
    assert places[-1] - places[-600] < 0.01  # held, no creeping


def test_a_false_stop_sign_is_dropped() -> None:
    """A detection that ends 12 m before the sign does not stop the car."""
    places, speeds = drive_to(40.0, may_proceed=0.9, seconds=10.0, sign_out_of_view_m=12.0)
    assert min(speeds) > 3.0
    assert places[-1] > 60.0


SIGN = StopObservation(0.9, 0.8, 2.2)
RED = StopObservation(0.9, 0.2, 2.2)
NOTHING = StopObservation(0.3, 0.2, 2.2)


def run(
    stops: StopStateMachine, observation: StopObservation, seconds: float, speed_mps: float = 0.0
) -> list[StopAction]:
    return [stops.step(DT_S, speed_mps, observation) for _ in range(round(seconds / DT_S))]


def test_an_obstacle_ends_a_release() -> None:
    stops = StopStateMachine()
    assert run(stops, SIGN, 0.9)[-1] is StopAction.HOLD
    assert run(stops, SIGN, 0.2)[-1] is StopAction.RELEASE
    assert set(run(stops, RED, 30.0)) == {StopAction.HOLD}


def test_a_release_is_valid_for_one_stop_sign() -> None:
    """A sign seven meters further on requires a stop of its own."""
    stops = StopStateMachine()
    run(stops, SIGN, 1.2)
    driven = run(stops, SIGN, 3.0, speed_mps=3.0)
    assert driven[0] is StopAction.RELEASE
    assert driven[-1] is not StopAction.RELEASE
    assert run(stops, SIGN, 0.5)[-1] is StopAction.HOLD


def test_an_obstacle_does_not_recede_because_a_plan_predicts_it() -> None:
    """A network that predicts 2.9 m of clear distance up to contact would creep into a standing motorcycle.

    From 8 m at 1.2 m/s, with 2.9 m predicted at any distance below: by odometry the obstacle approaches
    at 0.2 m/s or more, so the brake is held after at most another second.
    """
    stops, gap_m, speed_mps = StopStateMachine(), 8.0, 1.2
    while gap_m > 0.5:
        action = stops.step(DT_S, speed_mps, StopObservation(0.95, 0.1, max(gap_m, 2.9)))
        if action is StopAction.HOLD:
            break
        gap_m -= speed_mps * DT_S
    assert action is StopAction.HOLD
    assert gap_m > 1.5


def test_the_last_meters_are_held_without_a_predicted_stop() -> None:
    """A creeping queue is often predicted as moving; farther away such a plan is followed."""
    stops = StopStateMachine()
    assert stops.step(DT_S, 1.0, StopObservation(0.2, 0.1, 6.0)) is StopAction.FOLLOW
    assert stops.step(DT_S, 1.0, StopObservation(0.2, 0.1, 2.5)) is StopAction.HOLD


def test_stopping_in_a_queue_does_not_satisfy_the_stop_sign() -> None:
    """Behind a car, 7 m before the line, standing time does not count; at the line one second is enough."""
    stops = StopStateMachine()
    assert StopAction.RELEASE not in run(stops, StopObservation(0.95, 0.8, 7.0), 3.0)
    assert StopAction.RELEASE in run(stops, StopObservation(0.95, 0.8, 2.5), 1.2)


def test_a_car_close_ahead_ends_a_release_without_a_predicted_stop() -> None:
    """A car that waits at the sign ahead: often predicted as moving, but always near."""
    stops = StopStateMachine()
    assert StopAction.RELEASE in run(stops, StopObservation(0.95, 0.8, 2.5), 1.2)
    assert StopAction.RELEASE not in run(stops, StopObservation(0.2, 0.0, 3.5), 2.0)


def test_a_queue_that_moves_is_followed() -> None:
    """The leader drives off at 2 m/s: the brake is released when more than 4 m are clear."""
    stops = StopStateMachine()
    run(stops, StopObservation(0.2, 0.1, 2.3), 1.0)
    actions = [stops.step(DT_S, 0.0, StopObservation(0.2, 0.1, 2.3 + 2.0 * DT_S * n)) for n in range(40)]
    assert actions[0] is StopAction.HOLD
    assert actions[-1] is StopAction.FOLLOW


def test_a_standing_plan_without_a_reason_is_overridden_after_forty_seconds() -> None:
    stops = StopStateMachine()
    assert set(run(stops, NOTHING, 39.0)) == {StopAction.HOLD}
    assert run(stops, NOTHING, 2.0)[-1] is StopAction.RELEASE
