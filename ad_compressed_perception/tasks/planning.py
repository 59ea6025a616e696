# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Planning: converts a steering angle or a plan to the path the vehicle would drive."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import DataError, OutputError
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.driving.limits import MAX_SPEED_MPS
from ad_compressed_perception.tasks.base import Decoder, Task, TaskSettings
from ad_compressed_perception.tasks.geometry import Geometry
from ad_compressed_perception.tasks.output_contract import check_trajectory

MAX_ROAD_WHEEL_RAD = float(np.deg2rad(80.0))
"""Where the kinematic model of steering ends."""


class PlanningSettings(TaskSettings):
    """Live settings of the planning task; the defaults fit a mid-size sedan."""

    steering_ratio: float = Field(
        14.8, gt=0.0, le=100.0, description="steering-wheel angle per road-wheel angle"
    )
    wheelbase_m: float = Field(2.85, gt=0.0, le=20.0, description="front to rear axle, meters")
    speed_mps: float = Field(
        10.0, ge=0.0, le=100.0, description="nominal speed of the command and of a time horizon, m/s"
    )
    horizon: Literal["distance", "time"] = Field(
        "distance", description="whether the path reaches horizon_m or horizon_s times speed_mps"
    )
    horizon_m: float = Field(30.0, gt=0.0, le=1000.0, description="length of the path, meters")
    horizon_s: float = Field(3.0, gt=0.0, le=60.0, description="duration of the path, seconds")
    points: int = Field(20, ge=2, le=1000, description="points of the path")


class PlanningDecoder(Decoder):
    """Raw outputs to a trajectory."""

    @abstractmethod
    def trajectory(
        self, outputs: Mapping[str, NDArray[Any]], settings: PlanningSettings, speed_mps: float | None
    ) -> Trajectory:
        """Return the trajectory in base_link.

        Args:
            outputs: of the model.
            settings: of the task.
            speed_mps: of the vehicle when the image was taken; None where unknown.

        Raises:
            OutputError: the model gave numbers that are not finite or out of range.
        """


class SteeringOutputDecoder(PlanningDecoder):
    """Raw outputs to a steering-wheel angle, whose arc is the path."""

    @abstractmethod
    def steering(self, outputs: Mapping[str, NDArray[Any]]) -> tuple[float, float]:
        """Return the steering-wheel angle (rad, left positive) and the collision probability or NaN.

        Raises:
            OutputError: one of them is not finite, or the probability is not in 0..1.
        """

    def speed(self, outputs: Mapping[str, NDArray[Any]]) -> float | None:
        """Return the speed that the model asks for, m/s; None where it gives none."""
        return None

    def trajectory(
        self, outputs: Mapping[str, NDArray[Any]], settings: PlanningSettings, speed_mps: float | None
    ) -> Trajectory:
        """Return the arc of the angle at the model's speed, else at the nominal one."""
        angle, collision = self.steering(outputs)
        asked = self.speed(outputs)
        speed = settings.speed_mps if asked is None else asked
        if not abs(angle) <= settings.steering_ratio * MAX_ROAD_WHEEL_RAD:
            raise OutputError(
                f"model {self.model!r}: a steering-wheel angle of {angle:.4g} rad is beyond any road "
                "wheel's; is it in degrees (decoder option steering_scale: 0.0174533), or is the input's "
                "scale missing?"
            )
        curvature = curvature_of_steering(angle, settings.steering_ratio, settings.wheelbase_m)
        length = settings.horizon_m if settings.horizon == "distance" else settings.horizon_s * speed
        points_xy_m, headings_rad = arc_points(curvature, length, settings.points)
        return Trajectory(points_xy_m, headings_rad, curvature, speed, angle, collision)


def curvature_of_steering(
    steering_wheel_angle_rad: float, steering_ratio: float, wheelbase_m: float
) -> float:
    """Return the path curvature (1/m, left positive) of the rear axle's center.

    Kinematic bicycle: ``curvature = tan(road_wheel_angle) / wheelbase`` with
    ``road_wheel_angle = steering_wheel_angle / steering_ratio`` (Rajamani, Vehicle Dynamics and
    Control, section 2.2). The road wheels are limited to +-80 degrees, where the model ends.
    """
    road_wheel_angle = steering_wheel_angle_rad / steering_ratio
    limit = MAX_ROAD_WHEEL_RAD
    return float(np.tan(np.clip(road_wheel_angle, -limit, limit)) / wheelbase_m)


def steering_of_curvature(curvature_per_m: float, steering_ratio: float, wheelbase_m: float) -> float:
    """Return the steering-wheel angle (rad, left positive) of a path curvature; see curvature_of_steering."""
    return float(np.arctan(curvature_per_m * wheelbase_m) * steering_ratio)


def arc_points(
    curvature_per_m: float, length_m: float, points: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (points, 2) positions and (points,) headings along a circular arc from the origin.

    The i-th of N points lies at arc length ``(i + 1) / N * length_m``.
    """
    return arc_points_at(curvature_per_m, np.linspace(length_m / points, length_m, points))


def arc_points_at(
    curvature_per_m: float, arc: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (N, 2) positions and (N,) headings at (N,) arc lengths s in meters of a circle from the origin.

    ``x = sin(k s) / k, y = (1 - cos(k s)) / k``, written with sinc so that k = 0 is a straight line.
    """
    heading = curvature_per_m * arc
    # sin(a)/k = s * sinc(a); (1 - cos(a))/k = s * sin(a/2) * sinc(a/2); numpy's sinc is of pi * x.
    x = arc * np.sinc(heading / np.pi)
    y = arc * np.sin(heading / 2.0) * np.sinc(heading / (2.0 * np.pi))
    return np.stack([x, y], axis=1), heading


class PlanningTask(Task[Trajectory]):
    """Plans the path of the coming meters or seconds."""

    name = "planning"
    settings_type = PlanningSettings
    decoder_type = PlanningDecoder
    _speed_mps: float | None = None

    def observe_speed(self, speed_mps: float | None) -> None:
        """Set the vehicle's speed (m/s) for the speed profile of the next frames; None: unknown.

        Raises:
            DataError: not finite, or beyond the limit of odometry: a path of its length has no end.
        """
        if speed_mps is not None and not abs(speed_mps) <= MAX_SPEED_MPS:
            raise DataError(f"a vehicle's speed_mps is at most {MAX_SPEED_MPS:g} m/s, not {speed_mps:g}")
        self._speed_mps = speed_mps

    def decode(self, outputs: Mapping[str, NDArray[Any]], geometry: Geometry) -> Trajectory:
        """Return the trajectory in base_link; the image's geometry is not used."""
        trajectory: Trajectory = self.decoder.trajectory(outputs, self.settings, self._speed_mps)
        check_trajectory(trajectory, self.manifest.name)
        return trajectory
