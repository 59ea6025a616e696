# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ego's motion model against closed forms, and its limits."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from ad_road_simulation.world.ego import VEHICLE, DriveCommand, EgoState, advance

START = EgoState(0.0, 0.0, 0.0, 5.0)


def test_constant_steering_is_a_circle() -> None:
    """With a constant steering angle delta the rear axle follows the circle of radius L / tan(delta)."""
    delta, steps, dt = 0.2, 200, 0.05
    radius = VEHICLE.wheelbase_m / math.tan(delta)
    state = replace(START, steering_rad=delta)
    for _ in range(steps):
        state = advance(state, DriveCommand(delta, 0.0), dt)
    angle = 5.0 * steps * dt / radius
    assert state.heading_rad == pytest.approx(angle)
    assert state.x_m == pytest.approx(radius * math.sin(angle), abs=1e-9)
    assert state.y_m == pytest.approx(radius * (1.0 - math.cos(angle)), abs=1e-9)


def test_acceleration_follows_with_a_lag() -> None:
    """After one time constant 63 percent of the step is reached, for any time step."""
    for dt in (0.01, 0.05):
        state = START
        for _ in range(round(VEHICLE.lag_s / dt)):
            state = advance(state, DriveCommand(0.0, 2.0), dt)
        assert state.accel_mps2 == pytest.approx(2.0 * (1.0 - math.exp(-1.0)))


def test_commands_are_limited() -> None:
    """Steering turns at most 0.7 rad/s up to 0.6 rad; acceleration stays within -8 and 2.5 m/s2."""
    state = replace(START, speed_mps=20.0)
    for _ in range(40):
        after = advance(state, DriveCommand(5.0, 50.0), 0.05)
        assert abs(after.steering_rad - state.steering_rad) <= 0.7 * 0.05 + 1e-12
        state = after
    assert state.steering_rad == pytest.approx(0.6, abs=1e-3)
    assert state.accel_mps2 == pytest.approx(2.5, abs=1e-3)
    braked = advance(replace(START, speed_mps=20.0, accel_mps2=-8.0), DriveCommand(0.0, -50.0), 0.05)
    assert braked.accel_mps2 == pytest.approx(-8.0)


def test_braking_ends_at_a_standstill() -> None:
    """The car does not roll back, and travels v^2 / 2a, also where a step is longer than the stop."""
    state = replace(START, speed_mps=4.0, accel_mps2=-8.0)
    for _ in range(4):
        state = advance(state, DriveCommand(0.0, -8.0), 0.3)
    assert state.speed_mps == 0.0
    assert state.accel_mps2 == 0.0
    assert state.x_m == pytest.approx(4.0**2 / 16.0)
