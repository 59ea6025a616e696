# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ego vehicle: its parameters and its motion model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class VehicleParameters:
    """Dimensions and limits of the ego vehicle; base_link is the middle of its rear axle.

    Attributes:
        wheelbase_m: rear to front axle.
        length_m, width_m, height_m: of the body.
        front_m: front bumper ahead of base_link.
        rear_m: rear bumper behind base_link.
        steering_ratio: steering-wheel angle per road-wheel angle.
        max_steering_rad, max_steering_rate_radps: of the road wheels.
        min_accel_mps2, max_accel_mps2: limits of brakes and engine.
        lag_s: time constant with which steering and acceleration follow the command.
    """

    wheelbase_m: float = 2.85
    length_m: float = 4.5
    width_m: float = 1.85
    height_m: float = 1.5
    front_m: float = 3.65
    rear_m: float = 0.85
    steering_ratio: float = 14.8
    max_steering_rad: float = 0.6
    max_steering_rate_radps: float = 0.7
    min_accel_mps2: float = -8.0
    max_accel_mps2: float = 2.5
    lag_s: float = 0.15


VEHICLE = VehicleParameters()
MIDDLE_M = 0.5 * (VEHICLE.front_m - VEHICLE.rear_m)
"""Distance of the body's middle ahead of base_link."""


@dataclass(frozen=True)
class DriveCommand:
    """Requested angle of the road wheels, left positive, and acceleration."""

    steering_rad: float
    accel_mps2: float


@dataclass(frozen=True)
class EgoState:
    """Pose and motion of the ego vehicle.

    Attributes:
        x_m, y_m, heading_rad: of base_link, world.
        speed_mps: along the heading, never negative.
        steering_rad: of the road wheels now.
        accel_mps2: now.
        s_m, d_m: road coordinates of base_link.
    """

    x_m: float
    y_m: float
    heading_rad: float
    speed_mps: float
    steering_rad: float = 0.0
    accel_mps2: float = 0.0
    s_m: float = 0.0
    d_m: float = 0.0

    @property
    def yaw_rate_radps(self) -> float:
        """Return the yaw rate, left positive."""
        return self.speed_mps * float(np.tan(self.steering_rad)) / VEHICLE.wheelbase_m


def advance(state: EgoState, command: DriveCommand, dt_s: float) -> EgoState:
    """Return the state after dt_s; s_m and d_m are left as they were.

    Kinematic bicycle about the rear axle (Rajamani, Vehicle Dynamics and Control, 2nd ed., section 2.2,
    without slip): the rear axle runs along an arc of curvature tan(delta) / L. Steering and acceleration
    follow the command as first-order lags, a += (a_command - a)(1 - exp(-dt / lag)), within their
    limits; a stationary car does not roll back.

    Args:
        state: current state.
        command: held over the step.
        dt_s: of the step, greater than 0.
    """
    follow = 1.0 - float(np.exp(-dt_s / VEHICLE.lag_s))
    target = float(np.clip(command.steering_rad, -VEHICLE.max_steering_rad, VEHICLE.max_steering_rad))
    turn = VEHICLE.max_steering_rate_radps * dt_s
    steering = state.steering_rad + float(np.clip((target - state.steering_rad) * follow, -turn, turn))
    target = float(np.clip(command.accel_mps2, VEHICLE.min_accel_mps2, VEHICLE.max_accel_mps2))
    accel = state.accel_mps2 + (target - state.accel_mps2) * follow
    speed = max(0.0, state.speed_mps + accel * dt_s)
    # A car that stops within the step travels less than the mean of the speeds gives.
    stopping_s = state.speed_mps / -accel if speed == 0.0 and accel < 0.0 else dt_s
    driven = 0.5 * (state.speed_mps + speed) * min(stopping_s, dt_s)
    turned = driven * float(np.tan(steering)) / VEHICLE.wheelbase_m
    # Chord of the arc: length driven * sinc, direction the mean heading.
    chord = driven * float(np.sinc(turned / (2.0 * np.pi)))
    middle = state.heading_rad + 0.5 * turned
    return EgoState(
        x_m=state.x_m + chord * float(np.cos(middle)),
        y_m=state.y_m + chord * float(np.sin(middle)),
        heading_rad=state.heading_rad + turned,
        speed_mps=speed,
        steering_rad=steering,
        accel_mps2=accel if speed > 0.0 or accel > 0.0 else 0.0,
        s_m=state.s_m,
        d_m=state.d_m,
    )
