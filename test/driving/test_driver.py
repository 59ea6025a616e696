# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From a plan to steering and acceleration, on roads whose right answer is a formula."""

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
    seen_from,
)
from ad_compressed_perception.driving.speed_profile import speed_profile
from ad_compressed_perception.driving.stop_state_machine import StopAction, StopStateMachine, StopView
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


def straight_ahead(clear_m: float, speed_mps: float, stop: float, may_go_on: float) -> Trajectory:
    """Return a planner's answer on a straight road."""
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
        proceed_after_stop_probability=may_go_on,
    )


def arc(curvature_per_m: float, speed_mps: float = 8.0) -> Trajectory:
    """Return what a planner of steering alone says: 30 m of an arc and a speed."""
    points, headings = arc_points(curvature_per_m, 30.0, 20)
    return Trajectory(points, headings, curvature_per_m, speed_mps)


@pytest.mark.parametrize("curvature", [0.0, 1 / 20, -1 / 50])
def test_on_an_arc_pure_pursuit_steers_its_curvature(curvature: float) -> None:
    """Every chord of a circle from its tangent point has the circle's own curvature 2 y / L^2."""
    path = dense_path(arc(curvature), beyond_m=5.0)
    for look_ahead in (4.0, 9.0, 12.0):
        # The curve between points 1.5 m apart is not quite a circle, nor is that between its own points.
        assert pursuit_curvature(path, look_ahead) == pytest.approx(curvature, abs=2e-4)


def test_a_goal_beside_a_straight_line_by_the_triangle() -> None:
    """1 m right of a straight line the goal is 1 m to the left at distance 6: 2 * 1 / 36."""
    path = dense_path(arc(0.0), beyond_m=5.0) + np.array([0.0, 1.0])
    assert pursuit_curvature(path, 6.0) == pytest.approx(2.0 / 36.0, rel=1e-4)


def test_a_path_that_ends_goes_on_as_its_arc() -> None:
    """A plan that stands still has no length, and the wheels keep the bend's direction."""
    standing = Trajectory(np.zeros((20, 2)), np.zeros(20), 1 / 25, 0.0)
    path = dense_path(standing, beyond_m=10.0)
    assert pursuit_curvature(path, 4.0) == pytest.approx(1 / 25, rel=0.01)


def test_points_seen_from_where_the_car_is_now() -> None:
    """A quarter turn and 2 m later, a point 5 m ahead of the image lies as the drawing says."""
    planned_at = Pose(10.0, 4.0, 0.0)
    now = Pose(12.0, 4.0, math.pi / 2)
    # The world's point is (15, 4): 3 m to the right of a car that looks along +y.
    assert seen_from(np.array([[5.0, 0.0]]), planned_at, now)[0] == pytest.approx([0.0, -3.0])
    back = seen_from(seen_from(np.array([[5.0, 1.0]]), planned_at, now), now, planned_at)
    assert back[0] == pytest.approx([5.0, 1.0])


def test_an_offset_start_converges_to_the_line() -> None:
    """The plan was made once, at the origin: the car begins 1 m beside it and ends on it."""
    driver, car = Driver(), Car(y_m=1.0, speed_mps=8.0)
    points, headings = arc_points(0.0, 150.0, 20)
    driver.accept(Trajectory(points, headings, 0.0, 8.0), Pose(0.0, 0.0, 0.0), 0.0, 8.0)
    farthest = 0.0
    for _ in range(58):
        command = driver.command(car.pose, car.speed_mps, car.time_s, DT_S)
        car.step(command.steering_rad, command.accel_mps2)
        farthest = max(farthest, -car.y_m)
    assert abs(car.y_m) < 0.05
    assert farthest < 0.1  # hardly any swing to the other side


def test_a_late_plan_is_followed_from_where_its_image_was_taken() -> None:
    """The image was taken 0.8 s and 6.4 m ago: the car stays on the circle all the same."""
    curvature, speed = 1 / 30, 8.0
    # The car has driven on along the circle since, and where it is now is a formula.
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
    # Taken for a new plan at the present pose it would be right here, too, but not beside the circle.
    aside = Pose(
        now.x_m + 0.5 * math.sin(now.heading_rad), now.y_m - 0.5 * math.cos(now.heading_rad), now.heading_rad
    )
    assert driver.command(aside, speed, 0.8, DT_S).steering_rad > late.steering_rad + 0.02


def test_the_speed_is_reached_without_overshoot() -> None:
    """From standing to 10 m/s through a lag of 0.2 s: at most 10 percent above, and there at the end."""
    controller, car = SpeedController(TrackerSettings()), Car()
    fastest = 0.0
    for _ in range(600):
        car.step(0.0, controller.step(10.0, car.speed_mps, 0.0, DT_S))
        fastest = max(fastest, car.speed_mps)
    assert fastest < 11.0
    assert car.speed_mps == pytest.approx(10.0, abs=0.1)


def test_a_slope_is_integrated_away_and_a_limit_is_not_integrated() -> None:
    """Half a m/s^2 of drag leaves no error; ten seconds at the limit leave nothing to unwind."""
    controller, car = SpeedController(TrackerSettings()), Car(speed_mps=10.0)
    for _ in range(800):
        car.step(0.0, controller.step(10.0, car.speed_mps, 0.0, DT_S) - 0.5)
    assert car.speed_mps == pytest.approx(10.0, abs=0.1)
    stuck = SpeedController(TrackerSettings())
    for _ in range(200):
        stuck.step(10.0, 0.0, 0.0, DT_S)
    assert stuck.step(10.0, 10.0, 0.0, DT_S) == pytest.approx(0.0, abs=0.1)


def test_a_plan_is_not_driven_beyond_its_end_in_time() -> None:
    """Three seconds planned, four seconds old: the car brakes."""
    driver = Driver()
    driver.accept(straight_ahead(math.inf, 10.0, 0.1, 0.1), Pose(0.0, 0.0, 0.0), 0.0, 10.0)
    assert driver.command(Pose(20.0, 0.0, 0.0), 10.0, 2.0, DT_S).accel_mps2 > -0.5
    assert driver.command(Pose(40.0, 0.0, 0.0), 10.0, 4.0, DT_S).accel_mps2 == pytest.approx(-2.0)


def drive_to(
    line_m: float, may_go_on: float, seconds: float, blind_m: float = 0.0
) -> tuple[list[float], list[float]]:
    """Drive to something on a straight road, planned at 10 Hz; return places and speeds of the bumper.

    What one has to stop for is out of sight nearer than blind_m, and in any case once it is passed.
    """
    driver, car = Driver(), Car(speed_mps=8.0)
    places, speeds = [], []
    for step in range(round(seconds / DT_S)):
        if step % 2 == 0:
            clear = line_m - car.x_m
            is_seen = blind_m < clear < 60.0
            plan = straight_ahead(
                clear if is_seen else math.inf, car.speed_mps, 0.9 * is_seen, may_go_on * is_seen
            )
            driver.accept(plan, car.pose, car.time_s, car.speed_mps)
        command = driver.command(car.pose, car.speed_mps, car.time_s, DT_S)
        car.step(command.steering_rad, command.accel_mps2)
        places.append(car.x_m)
        speeds.append(car.speed_mps)
    return places, speeds


@pytest.mark.parametrize("blind_m", [0.0, 5.0])
def test_at_a_stop_sign_one_stands_and_goes_on(blind_m: float) -> None:
    """The sign says stop in every image, or is out of the image for the last 5 m: it is all the same."""
    places, speeds = drive_to(40.0, may_go_on=0.9, seconds=25.0, blind_m=blind_m)
    standing = [place for place, speed in zip(places, speeds, strict=True) if speed < 0.3]
    assert len(standing) * DT_S >= 1.0
    assert 36.0 < standing[0] <= standing[-1] < 40.0  # before the line, the margin of 2 m and a little
    assert places[-1] > 60.0
    moving_on = [speed for place, speed in zip(places, speeds, strict=True) if standing[-1] < place < 42.0]
    assert max(moving_on) < 4.5  # the rules' speed for 6 m of clear road is 4 m/s


def test_a_red_light_is_waited_for() -> None:
    """The same stop, which one may not go on from: after a minute the car still stands there."""
    places, speeds = drive_to(40.0, may_go_on=0.1, seconds=60.0)
    assert places[-1] < 40.0
    assert speeds[-1] == 0.0
    assert places[-1] - places[-600] < 0.01  # held, not crept


def test_a_sign_that_turns_out_to_be_none_is_not_remembered() -> None:
    """A sign that turns out to be none 12 m before it does not stop the car."""
    places, speeds = drive_to(40.0, may_go_on=0.9, seconds=10.0, blind_m=12.0)
    assert min(speeds) > 3.0
    assert places[-1] > 60.0


SIGN = StopView(0.9, 0.8, 2.2)
RED = StopView(0.9, 0.2, 2.2)
NOTHING = StopView(0.3, 0.2, 2.2)


def remember(
    memory: StopStateMachine, view: StopView, seconds: float, speed_mps: float = 0.0
) -> list[StopAction]:
    return [memory.step(DT_S, speed_mps, view) for _ in range(round(seconds / DT_S))]


def test_somebody_before_the_bumper_ends_a_release() -> None:
    memory = StopStateMachine()
    assert remember(memory, SIGN, 0.9)[-1] is StopAction.HOLD
    assert remember(memory, SIGN, 0.2)[-1] is StopAction.RELEASE
    assert set(remember(memory, RED, 30.0)) == {StopAction.HOLD}


def test_a_release_is_for_one_stop_sign() -> None:
    """Seven meters on, the next sign is a sign of its own."""
    memory = StopStateMachine()
    remember(memory, SIGN, 1.2)
    driven = remember(memory, SIGN, 3.0, speed_mps=3.0)
    assert driven[0] is StopAction.RELEASE
    assert driven[-1] is not StopAction.RELEASE
    assert remember(memory, SIGN, 0.5)[-1] is StopAction.HOLD


def test_what_stands_ahead_does_not_go_away_because_a_plan_says_so() -> None:
    """A network that sees 2.9 m all the way up to the bumper would creep into a standing motorcycle.

    From 8 m at 1.2 m/s, the plan saying 2.9 m once it is as near as that: by odometry the barrier comes
    nearer by 0.2 m/s at least, so the brake is held after at most a second more.
    """
    memory, gap_m, speed_mps = StopStateMachine(), 8.0, 1.2
    while gap_m > 0.5:
        action = memory.step(DT_S, speed_mps, StopView(0.95, 0.1, max(gap_m, 2.9)))
        if action is StopAction.HOLD:
            break
        gap_m -= speed_mps * DT_S
    assert action is StopAction.HOLD
    assert gap_m > 1.5


def test_the_last_meters_are_held_though_the_plan_sees_no_need_to_stop() -> None:
    """A queue that creeps is as often seen as moving; farther off such a plan is simply followed."""
    memory = StopStateMachine()
    assert memory.step(DT_S, 1.0, StopView(0.2, 0.1, 6.0)) is StopAction.FOLLOW
    assert memory.step(DT_S, 1.0, StopView(0.2, 0.1, 2.5)) is StopAction.HOLD


def test_who_stands_in_the_queue_has_not_stood_at_the_sign() -> None:
    """Behind a car, 7 m before the line, no second is counted; at the line one is enough."""
    memory = StopStateMachine()
    assert StopAction.RELEASE not in remember(memory, StopView(0.95, 0.8, 7.0), 3.0)
    assert StopAction.RELEASE in remember(memory, StopView(0.95, 0.8, 2.5), 1.2)


def test_a_car_close_ahead_ends_a_release_though_no_stop_is_seen_in_it() -> None:
    """It waits at the sign before us: as often seen moving as standing, but always near."""
    memory = StopStateMachine()
    assert StopAction.RELEASE in remember(memory, StopView(0.95, 0.8, 2.5), 1.2)
    assert StopAction.RELEASE not in remember(memory, StopView(0.2, 0.0, 3.5), 2.0)


def test_a_queue_that_moves_on_is_followed() -> None:
    """The leader drives off at 2 m/s: as soon as the way is clear beyond 4 m, nothing holds any more."""
    memory = StopStateMachine()
    remember(memory, StopView(0.2, 0.1, 2.3), 1.0)
    actions = [memory.step(DT_S, 0.0, StopView(0.2, 0.1, 2.3 + 2.0 * DT_S * n)) for n in range(40)]
    assert actions[0] is StopAction.HOLD
    assert actions[-1] is StopAction.FOLLOW


def test_a_plan_that_stands_for_no_reason_is_overruled_after_forty_seconds() -> None:
    memory = StopStateMachine()
    assert set(remember(memory, NOTHING, 39.0)) == {StopAction.HOLD}
    assert remember(memory, NOTHING, 2.0)[-1] is StopAction.RELEASE
