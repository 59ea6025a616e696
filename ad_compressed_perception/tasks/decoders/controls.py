# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Controls: steer, throttle and brake as shares of their full range, decoded to an arc and its speeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ManifestError, ModelFileError, OutputError
from ad_compressed_perception.core.manifest import Manifest, StrictModel
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.driving.limits import MAX_SPEED_MPS
from ad_compressed_perception.tasks.output_contract import SCORE_TOLERANCE, check_finite
from ad_compressed_perception.tasks.planning import (
    MAX_ROAD_WHEEL_RAD,
    PlanningDecoder,
    PlanningSettings,
    arc_points_at,
    curvature_of_steering,
)

Control = Literal["steer", "throttle", "brake"]


class ControlsOptions(StrictModel):
    """Options of the controls decoder."""

    output: str | None = Field(None, description="tensor of all controls; the only output when absent")
    order: list[Control] = Field(
        default_factory=lambda: ["steer", "throttle", "brake"], description="what its numbers are"
    )
    steer_output: str | None = Field(None, description="tensor of steer, where each control has its own")
    throttle_output: str | None = Field(None, description="tensor of throttle, likewise")
    brake_output: str | None = Field(
        None, description="tensor of brake, likewise; without brake a negative throttle brakes"
    )
    steer_positive: Literal["left", "right"] = Field(
        description="the side of a positive steer: right in CARLA, left by REP-103"
    )
    max_road_wheel_rad: float | None = Field(
        None, gt=0.0, le=MAX_ROAD_WHEEL_RAD, description="angle of the road wheels at steer 1"
    )
    max_steering_wheel_rad: float | None = Field(
        None, gt=0.0, le=50.0, description="angle of the steering wheel at steer 1, instead"
    )
    max_acceleration_mps2: float = Field(3.0, gt=0.0, le=30.0, description="at throttle 1")
    max_deceleration_mps2: float = Field(8.0, gt=0.0, le=30.0, description="at brake 1")


class ControlsDecoder(PlanningDecoder):
    """Decodes steer in -1..1, throttle and brake in 0..1, of one output or of three.

    The path is the kinematic bicycle's arc of the steering angle, driven from the present speed with the
    constant acceleration ``throttle * max_acceleration - brake * max_deceleration`` until it stands.
    """

    options_type = ControlsOptions

    def __init__(self, manifest: Manifest) -> None:
        """Validate the options."""
        super().__init__(manifest)
        options: ControlsOptions = self.options
        problem = ""
        if (options.max_road_wheel_rad is None) == (options.max_steering_wheel_rad is None):
            problem = (
                "give the angle at steer 1, either max_road_wheel_rad (CARLA's sedan: 1.22) or "
                "max_steering_wheel_rad"
            )
        own = [options.steer_output, options.throttle_output, options.brake_output]
        if any(own) and (options.output or not (own[0] and own[1])):
            problem = "give steer_output and throttle_output, or output alone"
        if len(set(options.order)) != len(options.order) or not {"steer", "throttle"} <= {*options.order}:
            problem = f"order {options.order} must name steer and throttle, and may name brake, once each"
        if problem:
            raise ManifestError(f"model {self.model!r}, options of decoder 'controls': {problem}")
        self._output: str | None = options.output
        self._own: dict[str, str] = {
            name: tensor for name, tensor in zip(("steer", "throttle", "brake"), own, strict=True) if tensor
        }
        self._has_brake = "brake" in (self._own or options.order)

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError when an output is missing or holds another count of numbers."""
        if not self._own:
            self._output = self.find_output(outputs, self._output).name
        for name in self._own.values() or (self._output,):
            tensor = self.find_output(outputs, name)
            count = 1 if self._own else len(self.options.order)
            known = math.prod(size for size in tensor.shape if size is not None)
            is_open = None in tensor.shape
            if not (known == count or (is_open and known == 1)) or not tensor.dtype.startswith("float"):
                takes = "one number" if self._own else f"{count} numbers, {', '.join(self.options.order)}"
                raise ModelFileError(
                    f"model {self.model!r}: an output of decoder controls holds {takes}; the file's "
                    f"{tensor.name!r} is {tensor.dtype} {list(tensor.shape)} (decoder options order, "
                    "steer_output, throttle_output, brake_output)"
                )

    def controls(self, outputs: Mapping[str, NDArray[Any]]) -> tuple[float, float, float]:
        """Return steer in -1..1, left positive, throttle in 0..1 (or -1..1 without brake) and brake in 0..1.

        Raises:
            OutputError: another count of numbers, not finite, or out of range.
        """
        found: dict[str, float] = {}
        if self._own:
            for name, output in self._own.items():
                found[name] = self._numbers(outputs, output, 1)[0]
        else:
            numbers = self._numbers(outputs, self._output, len(self.options.order))
            found = dict(zip(self.options.order, numbers, strict=True))
        for name, value in found.items():
            low = -1.0 if name == "steer" or (name == "throttle" and not self._has_brake) else 0.0
            if not low - SCORE_TOLERANCE <= value <= 1.0 + SCORE_TOLERANCE:
                raise OutputError(
                    f"{self.where(self._own.get(name, self._output))}: {name} of {value:.4g} instead of "
                    f"{low:g} to 1; does the file lack a tanh or sigmoid, or is it an angle (decoder steering)?"
                )
            found[name] = min(max(value, low), 1.0)
        side = 1.0 if self.options.steer_positive == "left" else -1.0
        return side * found["steer"], found["throttle"], found.get("brake", 0.0)

    def _numbers(self, outputs: Mapping[str, NDArray[Any]], name: str | None, count: int) -> list[float]:
        values = self.read(outputs, name).reshape(-1)
        if values.size != count:
            raise OutputError(f"{self.where(name)}: {values.size} numbers instead of {count}")
        check_finite(values, self.where(name))
        return [float(value) for value in values]

    def trajectory(
        self, outputs: Mapping[str, NDArray[Any]], settings: PlanningSettings, speed_mps: float | None
    ) -> Trajectory:
        """Return points in time, horizon_s / points apart, from the speed given (else the nominal one)."""
        steer, throttle, brake = self.controls(outputs)
        options: ControlsOptions = self.options
        if options.max_steering_wheel_rad is not None:
            angle = steer * options.max_steering_wheel_rad
        else:
            angle = steer * float(options.max_road_wheel_rad or 0.0) * settings.steering_ratio
        curvature = curvature_of_steering(angle, settings.steering_ratio, settings.wheelbase_m)
        full = options.max_deceleration_mps2 if throttle < 0.0 else options.max_acceleration_mps2
        acceleration = throttle * full - brake * options.max_deceleration_mps2
        speed = settings.speed_mps if speed_mps is None else speed_mps
        step_s = settings.horizon_s / settings.points
        times = np.linspace(step_s, settings.horizon_s, settings.points)
        lengths, speeds = _drive(max(speed, 0.0), acceleration, times)
        points, headings = arc_points_at(curvature, lengths)
        return Trajectory(
            points, headings, curvature, max(speed, 0.0), angle, speeds_mps=speeds, step_s=step_s
        )


def _drive(
    speed_mps: float, acceleration_mps2: float, times_s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return distances and speeds at (N,) times of a constant acceleration that ends at rest or at the limit.

    ``s = v t + a t^2 / 2`` up to the time at which ``v + a t`` is 0 or MAX_SPEED_MPS, which is kept then.
    """
    if acceleration_mps2 == 0.0:
        return speed_mps * times_s, np.full(len(times_s), speed_mps)
    final = 0.0 if acceleration_mps2 < 0.0 else max(MAX_SPEED_MPS, speed_mps)
    changing = np.minimum(times_s, (final - speed_mps) / acceleration_mps2)
    distances = speed_mps * changing + 0.5 * acceleration_mps2 * changing**2 + final * (times_s - changing)
    return distances, np.clip(speed_mps + acceleration_mps2 * changing, 0.0, None)
