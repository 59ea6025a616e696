# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Waypoints, controls and steering with a speed against their reference arithmetic; what they refuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ManifestError, ModelFileError, OutputError
from ad_compressed_perception.core.manifest import Manifest, Variant
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.driving.vehicle_controller import VehicleController
from ad_compressed_perception.tasks import Task, create_task
from ad_compressed_perception.tasks.geometry import plan_geometry
from ad_compressed_perception.tasks.planning import arc_points

seeds = st.integers(0, 2**31)
RATIO, WHEELBASE_M = 14.8, 2.85
SIDES = {"steer_positive": "left", "max_road_wheel_rad": 0.6}


def task_of(decoder: str, settings: dict[str, Any] | None = None, **options: Any) -> Task[Any]:
    manifest = Manifest(
        name="m",
        task="planning",
        input={"width": 64, "height": 32},
        output={"decoder": decoder, "options": options, "settings": settings or {}},
        baseline="fp32",
        variants={"fp32": Variant(file="x.onnx", sha256="0" * 64)},
    )
    return create_task(manifest)


def decode(task: Task[Any], **outputs: NDArray[Any]) -> Trajectory:
    task.decoder.check(tuple(TensorSpec(k, v.shape, str(v.dtype)) for k, v in outputs.items()))
    result: Trajectory = task.decode(outputs, plan_geometry(task.manifest.input, 64, 32))
    return result


def some_points(seed: int, count: int = 8) -> NDArray[np.float64]:
    """Return (N, 2) points of a path ahead, x forward, y left."""
    rng = np.random.default_rng(seed)
    forward = np.cumsum(rng.uniform(1.0, 4.0, count))
    return np.stack([forward, np.cumsum(rng.normal(0.0, 0.3, count))], axis=1)


SHAPES = {
    "N x 2": lambda p: p,
    "1 x N x 2": lambda p: p[None],
    "1 x 2 x N": lambda p: p.T[None],
    "1 x 2N": lambda p: p.reshape(1, -1),
    "2N": lambda p: p.reshape(-1),
    "1 x N x 3": lambda p: np.concatenate([p, np.full((len(p), 1), 9.0)], axis=1)[None],
    "1 x 1 x N x 2": lambda p: p[None, None],
}
# Columns of the output from x forward and y left.
AXES = {
    "forward_left": lambda p: p,
    "forward_right": lambda p: p * (1, -1),
    "left_forward": lambda p: p[:, ::-1],
    "right_forward": lambda p: p[:, ::-1] * (-1, 1),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axes", AXES)
@given(seeds, st.booleans(), st.booleans())
def test_waypoints_come_back_in_base_link(
    shape: str, axes: str, seed: int, are_displacements: bool, starts_at_vehicle: bool
) -> None:
    points = some_points(seed)
    given_points = np.concatenate([np.zeros((1, 2)), points]) if starts_at_vehicle else points
    if are_displacements:
        given_points = np.diff(given_points, axis=0, prepend=np.zeros((1, 2)))
    scale, offset = np.array([40.0, 20.0]), np.array([0.0 if are_displacements else -3.0, 0.0])
    raw = (AXES[axes](given_points) - offset) / scale
    task = task_of(
        "waypoints",
        axes=axes,
        scale_m=scale.tolist(),
        offset_m=offset.tolist(),
        values="displacements" if are_displacements else "positions",
        starts_at_vehicle=starts_at_vehicle,
    )

    plan = decode(task, o=SHAPES[shape](raw))

    np.testing.assert_allclose(plan.points_xy_m, points, atol=1e-6)


@given(st.floats(-0.08, 0.08), st.floats(1.0, 15.0), st.floats(0.1, 0.5))
def test_waypoints_of_an_arc_have_its_headings_curvature_and_speed(
    curvature: float, speed: float, step_s: float
) -> None:
    """Twelve points spaced by time on a circle: chords are shorter than arcs by sinc(k s / 2)."""
    points, headings = arc_points(curvature, 12 * speed * step_s, 12)
    by_time = decode(task_of("waypoints", step_s=step_s), o=points)
    by_distance = decode(task_of("waypoints", {"speed_mps": 7.0}), o=points)

    np.testing.assert_allclose(by_time.headings_rad, headings, atol=1e-6)
    assert by_time.speeds_mps is not None
    chord = speed * np.sinc(curvature * speed * step_s / 2 / np.pi)
    np.testing.assert_allclose(by_time.speeds_mps, chord, rtol=1e-6)
    assert by_time.step_s == step_s and by_time.speed_mps == pytest.approx(chord)
    assert by_distance.speeds_mps is None and by_distance.speed_mps == 7.0
    if points[-1, 0] > 13.0:  # long enough for pure pursuit's goal to lie on it
        for plan in (by_time, by_distance):
            assert plan.curvature_per_m == pytest.approx(curvature, abs=2e-4)
            angle = math.atan(plan.curvature_per_m * WHEELBASE_M) * RATIO
            assert plan.steering_wheel_angle_rad == pytest.approx(angle)


@given(seeds, st.integers(2, 5))
def test_the_hypothesis_of_the_largest_score_is_taken(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    every = np.stack([some_points(seed + index) for index in range(count)]).astype(np.float32)
    scores = rng.normal(0.0, 4.0, (1, count)).astype(np.float32)
    best = every[scores.argmax()]
    for points in (every[None], every, every.reshape(1, count, -1), every.reshape(1, -1),
                   every.transpose(0, 2, 1)[None]):  # fmt: skip
        plan = decode(task_of("waypoints", scores_output="scores"), scores=scores, points=points)
        np.testing.assert_allclose(plan.points_xy_m, best, atol=1e-6)


def test_a_third_number_is_a_heading_where_the_options_say_so() -> None:
    points, headings = arc_points(0.02, 24.0, 8)
    rows = np.concatenate([points * (1, -1), -headings[:, None] + 0.1], axis=1)
    plan = decode(task_of("waypoints", axes="forward_right", third="heading"), o=rows)
    np.testing.assert_allclose(plan.headings_rad, headings - 0.1, atol=1e-9)


def test_a_standing_vehicle_has_a_plan_of_no_length() -> None:
    """Noise of millimeters gives no direction: straight on at no speed."""
    noise = np.random.default_rng(0).normal(0.0, 1e-4, (1, 6, 2))
    plan = decode(task_of("waypoints", step_s=0.5, scale_m=1.0), o=noise)
    assert plan.speeds_mps is not None and plan.speeds_mps.max() < 0.01
    assert not plan.headings_rad.any()
    assert abs(plan.curvature_per_m) < 1e-3


def integrated(curvature: float, speed: float, acceleration: float, end_s: float) -> NDArray[np.float64]:
    """Return x, y, heading, speed of the kinematic bicycle by Runge-Kutta steps, until it stands."""
    limit = min(end_s, -speed / acceleration) if acceleration < 0.0 else end_s
    state, steps = np.array([0.0, 0.0, 0.0, speed]), 2000

    def change(at: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([at[3] * math.cos(at[2]), at[3] * math.sin(at[2]), at[3] * curvature, acceleration])

    step = limit / steps
    for _ in range(steps):
        first = change(state)
        second = change(state + 0.5 * step * first)
        third = change(state + 0.5 * step * second)
        fourth = change(state + step * third)
        state = state + step / 6.0 * (first + 2 * second + 2 * third + fourth)
    return state


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("is_wheel", [False, True])
def test_controls_drive_the_kinematic_bicycle(seed: int, is_wheel: bool) -> None:
    rng = np.random.default_rng(seed)
    steer, throttle, brake = rng.uniform(-1, 1), rng.random(), rng.random() * (seed % 2)
    speed = rng.uniform(0.5, 15.0)
    angle = {"max_steering_wheel_rad": 8.0} if is_wheel else {"max_road_wheel_rad": 0.6}
    task = task_of("controls", {"horizon_s": 2.0, "points": 5}, steer_positive="right", **angle)
    task.observe_speed(speed)

    plan = decode(task, o=np.array([[steer, throttle, brake]]))

    road_wheel = -steer * (8.0 / RATIO if is_wheel else 0.6)
    curvature, acceleration = math.tan(road_wheel) / WHEELBASE_M, 3.0 * throttle - 8.0 * brake
    x, y, heading, final = integrated(curvature, speed, acceleration, 2.0)
    assert plan.speeds_mps is not None
    np.testing.assert_allclose(plan.points_xy_m[-1], [x, y], atol=1e-6)
    np.testing.assert_allclose(
        [plan.headings_rad[-1], plan.speeds_mps[-1], plan.curvature_per_m, plan.step_s],
        [heading, max(final, 0.0), curvature, 0.4],
        atol=1e-6,
    )
    assert plan.steering_wheel_angle_rad == pytest.approx(road_wheel * RATIO)


@pytest.mark.parametrize(("positive", "sign"), [("left", 1.0), ("right", -1.0)])
def test_signs_follow_rep_103(positive: str, sign: float) -> None:
    """Left is positive: y, heading, curvature, steering-wheel angle and the command's yaw rate."""
    options = {**SIDES, "steer_positive": positive}
    plan = decode(task_of("controls", **options), o=np.array([[0.2, 0.5, 0.0]]))
    speed, curvature = VehicleController(WHEELBASE_M).command(plan, 1.0, 1.0)
    for value in (
        plan.points_xy_m[-1, 1], plan.headings_rad[-1], plan.curvature_per_m, plan.steering_wheel_angle_rad,
        curvature,
    ):  # fmt: skip
        assert math.copysign(1.0, value) == sign
    assert curvature == pytest.approx(plan.curvature_per_m, rel=0.01)
    assert 10.0 < speed < 12.0, "from 10 m/s half a second on at 1.5 m/s^2"


def test_a_brake_stops_the_command_and_a_throttle_alone_may_be_negative() -> None:
    """Full brake from 10 m/s: standing after 1.25 s and 6.25 m, where the path ends."""
    braking = decode(task_of("controls", **SIDES), o=np.array([0.0, 0.0, 1.0]))
    alone = decode(task_of("controls", order=["throttle", "steer"], **SIDES), o=np.array([-1.0, 0.0]))
    for plan in (braking, alone):
        assert plan.speeds_mps is not None
        np.testing.assert_allclose(plan.points_xy_m[-1], [6.25, 0.0], atol=1e-9)
        assert plan.speeds_mps[-1] == 0.0
        assert VehicleController(WHEELBASE_M).command(plan, 1.0, 1.0)[0] == pytest.approx(6.0)


def test_controls_of_three_outputs_equal_those_of_one() -> None:
    names = {f"{name}_output": name for name in ("steer", "throttle", "brake")}
    numbers = np.array([[0.3, 0.6, 0.1]], np.float32)
    one = decode(task_of("controls", **SIDES), o=numbers)
    three = decode(
        task_of("controls", **SIDES, **names),
        brake=numbers[:, 2:], steer=numbers[:, :1], throttle=numbers[:, 1:2],
    )  # fmt: skip
    np.testing.assert_array_equal(one.points_xy_m, three.points_xy_m)
    np.testing.assert_array_equal(one.speeds_mps, three.speeds_mps)


@pytest.mark.parametrize("is_joined", [False, True])
def test_a_steering_model_may_ask_for_its_speed(is_joined: bool) -> None:
    """36 km/h are 10 m/s, whatever the nominal speed; a path by time is as long as the speed makes it."""
    options = {"steering_output": "a", "speed_output": "a" if is_joined else "v", "speed_scale": 1 / 3.6}
    outputs = (
        {"a": np.array([[0.5, 36.0]], np.float32)}
        if is_joined
        else {"v": np.array([[36.0]], np.float32), "a": np.array([0.5], np.float32)}
    )
    settings = {"speed_mps": 3.0, "horizon": "time", "horizon_s": 2.0}
    plan = decode(task_of("steering", settings, **options), **outputs)
    assert plan.speed_mps == pytest.approx(10.0)
    curvature = math.tan(0.5 / RATIO) / WHEELBASE_M
    expected, _ = arc_points(curvature, 20.0, 20)
    np.testing.assert_allclose(plan.points_xy_m, expected, atol=1e-6)
    assert plan.steering_wheel_angle_rad == 0.5
    speed, commanded = VehicleController(WHEELBASE_M).command(plan, 1.0, 1.0)
    assert (speed, commanded) == (pytest.approx(10.0), pytest.approx(curvature))


TEN = np.stack([np.arange(1.0, 11.0), np.zeros(10)], axis=1)


@pytest.mark.parametrize(
    ("decoder", "options", "outputs", "named"),
    [
        ("waypoints", {}, {"o": TEN * 60.0}, "600 m away; are they pixels"),
        ("waypoints", {}, {"o": TEN * (-1, 1)}, "leads backward"),
        ("waypoints", {"step_s": 0.005}, {"o": TEN}, "a speed of 200 m/s"),
        ("waypoints", {}, {"o": TEN * np.nan}, "not finite"),
        ("waypoints", {"scores_output": "s"}, {"o": TEN[None], "s": np.full((1, 1), np.inf)}, "not finite"),
        ("waypoints", {"starts_at_vehicle": True}, {"o": TEN[:1]}, "no waypoint besides"),
        ("waypoints", {}, {"o": np.zeros((1, 7))}, "no list of points"),
        ("waypoints", {}, {"o": np.zeros((3, 10, 2))}, "scores_output"),
        ("waypoints", {"scores_output": "s"}, {"o": np.zeros((3, 10, 2)), "s": np.zeros(4)}, "4 hypotheses"),
        ("waypoints", {}, {"a": np.zeros((10, 2)), "b": np.zeros((1, 40))}, "several .* option output"),
        ("waypoints", {}, {"o": np.zeros((10, 2), np.int64)}, "real numbers"),
        ("controls", SIDES, {"o": np.array([0.0, 1.2, 0.0])}, "throttle of 1.2 instead of 0 to 1"),
        ("controls", SIDES, {"o": np.array([0.0, 0.0, -0.5])}, "brake of -0.5"),
        ("controls", SIDES, {"o": np.array([-12.0, 0.0, 0.0])}, "steer of -12 instead of -1 to 1"),
        ("controls", SIDES, {"o": np.array([np.nan, 0.0, 0.0])}, "not finite"),
        ("controls", SIDES, {"o": np.zeros((1, 4))}, "3 numbers, steer, throttle, brake"),
        ("steering", {"speed_output": "v"}, {"o": np.zeros(1), "v": np.array([-4.0])}, "-4 m/s"),
        ("steering", {"speed_output": "v"}, {"o": np.zeros(1), "v": np.array([120.0])}, "another unit"),
        ("steering", {"speed_output": "v"}, {"o": np.zeros(1), "v": np.array([np.nan])}, "finite"),
        ("steering", {"speed_output": "v"}, {"o": np.zeros(1), "v": np.zeros(2)}, "one number"),
        ("steering", {"speed_output": "w"}, {"o": np.zeros(1)}, "'w' is not among o"),
    ],
)
def test_what_a_planner_cannot_mean_is_named(
    decoder: str, options: dict[str, Any], outputs: dict[str, NDArray[Any]], named: str
) -> None:
    with pytest.raises((ModelFileError, OutputError), match=named) as caught:
        decode(task_of(decoder, **options), **outputs)
    assert "model 'm'" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("decoder", "options", "named"),
    [
        ("waypoints", {"axes": "right_forward", "third": "heading"}, "heading needs axes"),
        ("waypoints", {"scale_m": [1.0, 2.0, 3.0]}, "scale_m"),
        ("waypoints", {"scale_m": 0.0}, "scale_m"),
        ("waypoints", {"step_s": -1.0}, "step_s"),
        ("controls", {}, "steer_positive"),
        ("controls", {"steer_positive": "right"}, "max_road_wheel_rad"),
        ("controls", {**SIDES, "max_steering_wheel_rad": 8.0}, "either"),
        ("controls", {**SIDES, "steer_output": "s"}, "throttle_output"),
        ("controls", {**SIDES, "order": ["steer", "steer"]}, "once each"),
        ("steering", {"speed_scale": -1.0}, "speed_scale"),
    ],
)
def test_options_of_planners_that_make_no_sense_are_named(
    decoder: str, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ManifestError, match=named):
        task_of(decoder, **options)
