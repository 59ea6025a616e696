# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plans decoded to trajectories: round trip, closed forms, and the vehicle's speed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.driving.path import KNOTS_M, path_of_curvature
from ad_compressed_perception.driving.plan_vector import LENGTH, decode_plan
from ad_compressed_perception.driving.speed_profile import (
    RULES,
    allowed_speed_mps,
    clear_distance_of,
    speed_profile,
)
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.training.default_models.plan_targets import encode_plan
from support.models import write_trajectory_planner

BLACK = Frame(np.zeros((48, 64, 3), np.uint8), "BGR")


def planned(folder: Path, speed_mps: float | None, frame: Frame = BLACK) -> Trajectory:
    pipeline = open_pipeline(load_manifest(folder))
    try:
        pipeline.task.observe_speed(speed_mps)
        result, _ = pipeline.run(frame)
        assert isinstance(result, Trajectory)
        return result
    finally:
        pipeline.close()


def test_constant_curvature_is_a_circle() -> None:
    """After a quarter of a circle of 20 m radius the car is 20 m ahead and 20 m to the left, heading left."""
    quarter = 20.0 * np.pi / 2.0
    points, headings = path_of_curvature(np.full(len(KNOTS_M), 1 / 20.0), np.array([quarter]))

    assert points[0] == pytest.approx([20.0, 20.0], abs=0.01)
    assert headings[0] == pytest.approx(np.pi / 2.0, abs=1e-6)


def test_the_path_is_twenty_points_in_three_seconds(tmp_path: Path) -> None:
    """At cruise speed on a free straight road the car drives 12 m/s * 3 s = 36 m, at even steps."""
    trajectory = planned(write_trajectory_planner(tmp_path / "m"), RULES.cruise_mps)

    assert trajectory.points_xy_m.shape == (20, 2)
    assert trajectory.step_s == pytest.approx(0.15)
    assert trajectory.points_xy_m[:, 0] == pytest.approx(np.arange(1, 21) * 1.8, abs=1e-6)
    assert trajectory.points_xy_m[:, 1] == pytest.approx(np.zeros(20))
    assert np.isinf(trajectory.clear_distance_m)
    assert trajectory.stop_probability < 0.01


def test_the_profile_starts_at_the_speed_of_the_vehicle(tmp_path: Path) -> None:
    """From standing, at most 1.5 m/s2: 6.75 m in 3 s. Without a speed: the nominal 10 m/s."""
    folder = write_trajectory_planner(tmp_path / "m")

    assert planned(folder, 0.0).points_xy_m[-1, 0] == pytest.approx(6.75, abs=0.01)
    assert planned(folder, None).speed_mps == 10.0


def test_a_plan_to_stand_still_brakes_to_a_halt(tmp_path: Path) -> None:
    folder = write_trajectory_planner(tmp_path / "m", allowed_mps=0.0, stop=4.0)
    trajectory = planned(folder, 5.0)

    assert trajectory.speeds_mps is not None
    assert trajectory.speeds_mps[-1] == pytest.approx(0.0, abs=0.01)
    assert trajectory.clear_distance_m == RULES.stop_margin_m
    assert trajectory.stop_probability > 0.95 > 0.05 > trajectory.proceed_after_stop_probability


def test_a_bend_turns_the_wheel(tmp_path: Path) -> None:
    """1/50 m bends: wheel angle 14.8 * atan(2.85 / 50)."""
    white = Frame(np.full((48, 64, 3), 255, np.uint8), "BGR")
    trajectory = planned(write_trajectory_planner(tmp_path / "m"), 8.0, white)

    assert trajectory.curvature_per_m == pytest.approx(0.02, rel=1e-4)
    assert trajectory.steering_wheel_angle_rad == pytest.approx(14.8 * np.arctan(2.85 / 50), rel=1e-3)
    assert trajectory.points_xy_m[-1, 1] > 1.0


@given(st.floats(0.0, 100.0))
def test_allowed_speed_and_clear_distance_are_inverse_to_each_other(distance_m: float) -> None:
    speed = allowed_speed_mps(distance_m)

    if speed < RULES.cruise_mps:
        assert clear_distance_of(speed) == pytest.approx(max(distance_m, RULES.stop_margin_m), abs=1e-6)
    else:
        assert clear_distance_of(speed) == np.inf


@given(st.floats(0.0, 15.0), st.floats(3.0, 60.0))
def test_the_profile_stops_before_what_is_in_the_way(speed_mps: float, clear_m: float) -> None:
    """Wherever full braking can still do it, the car stands before the obstacle, at no negative speed."""
    distances, speeds = speed_profile(speed_mps, clear_m, 0.0, 400, 0.05)

    assert (speeds >= 0.0).all() and (np.diff(distances) >= 0.0).all()
    if speed_mps**2 / (2 * RULES.max_decel_mps2) + speed_mps * RULES.reaction_s < clear_m - 1.0:
        assert distances[-1] < clear_m


@given(st.lists(st.floats(-0.1, 0.1), min_size=11, max_size=11), st.floats(2.0, 80.0))
def test_what_is_encoded_is_decoded(curvature: list[float], clear_m: float) -> None:
    vector = encode_plan(np.array(curvature), clear_m, True, False)
    plan = decode_plan(np.concatenate([vector[:12], [9.0, -9.0]]).astype(np.float32))

    assert vector.shape == (LENGTH,)
    assert plan.curvature_per_m == pytest.approx(curvature, abs=1e-6)
    assert plan.stop_probability > 0.99 and plan.proceed_after_stop_probability < 0.01
    if allowed_speed_mps(clear_m) < 0.97 * RULES.cruise_mps:
        assert plan.clear_distance_m == pytest.approx(clear_m, abs=1e-3)


def test_an_output_that_holds_no_plan_is_refused(tmp_path: Path) -> None:
    folder = write_trajectory_planner(tmp_path / "m")
    text = (folder / "model.yaml").read_text()
    (folder / "model.yaml").write_text(text.replace("decoder: trajectory", "decoder: steering"))

    with pytest.raises(ModelFileError, match="must hold one number"):
        open_pipeline(load_manifest(folder))
