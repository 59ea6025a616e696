# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trajectory: curvatures and an allowed speed, decoded to points in time from the current speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ModelFileError, OutputError
from ad_compressed_perception.core.manifest import Manifest, StrictModel
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.driving.path import path_of_curvature
from ad_compressed_perception.driving.plan_vector import CURVATURE_SCALE, LENGTH, SPEED, decode_plan
from ad_compressed_perception.driving.speed_profile import speed_profile
from ad_compressed_perception.tasks.output_contract import check_finite
from ad_compressed_perception.tasks.output_kinds import Columns, OutputKinds
from ad_compressed_perception.tasks.planning import (
    PlanningDecoder,
    PlanningSettings,
    steering_of_curvature,
)

_SUBSTEPS = 3
"""Steps of the speed profile from one point of the trajectory to the next."""


_MAX_CURVATURE_PER_M = 1.0
_MAX_SPEED_SHARE = 2.0


class TrajectoryOptions(StrictModel):
    """Options of the trajectory decoder."""

    output: str | None = Field(None, description="tensor of the plan; the only output when absent")


class TrajectoryDecoder(PlanningDecoder):
    """Decodes (1, 14) of driving.plan_vector: curvatures, allowed speed, logits of stop, proceed after stop.

    The network takes one image and no speed. Its outputs are independent of the speed; a classical speed
    profile converts them to points in time. Its file therefore has one input, as passes, calibration
    and backends expect.
    """

    options_type = TrajectoryOptions

    def __init__(self, manifest: Manifest) -> None:
        """Validate the options."""
        super().__init__(manifest)
        self._output: str | None = self.options.output

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError when the output is missing or no plan fits into it."""
        tensor = self.find_output(outputs, self._output)
        shape = tensor.shape
        if (
            not tensor.dtype.startswith("float")
            or len(shape) != 2
            or shape[0] not in (None, 1)
            or shape[1] not in (None, LENGTH)
        ):
            raise ModelFileError(
                f"model {self.model!r}: a plan has shape [1, {LENGTH}], the file's output {tensor.name!r} "
                f"is {list(shape)}"
            )
        self._output = tensor.name

    def output_kinds(self) -> Mapping[str, OutputKinds]:
        """Return curvatures, that at the car, which steers it, weighted four times, the speed, and logits."""
        columns = (
            Columns("value", 1, unit=0.1, weight=4.0),
            Columns("value", SPEED - 1, unit=0.1),
            Columns("value", 1, unit=0.1, weight=5.0),
            Columns("logits", weight=0.2),
        )
        return {self._output or "": OutputKinds(columns)}

    def vector(self, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return the (LENGTH,) numbers of driving.plan_vector.

        Raises:
            OutputError: another length, not finite, or beyond what a vehicle can drive.
        """
        values, where = self.read(outputs, self._output), self.where(self._output)
        if values.size != LENGTH:
            raise OutputError(f"{where}: a plan has {LENGTH} numbers, not {list(values.shape)}")
        vector = np.asarray(values, np.float32).reshape(-1)
        check_finite(vector, where)
        bend = float(np.abs(vector[:SPEED]).max()) / CURVATURE_SCALE
        if bend > _MAX_CURVATURE_PER_M:
            raise OutputError(
                f"{where}: a curvature of {bend:.4g} 1/m is beyond any vehicle's; numbers 0 to "
                f"{SPEED - 1} are curvatures times {CURVATURE_SCALE:g} m"
            )
        if not -_MAX_SPEED_SHARE <= vector[SPEED] <= _MAX_SPEED_SHARE:
            raise OutputError(
                f"{where}: number {SPEED} is the allowed speed as a share of cruise speed, not "
                f"{vector[SPEED]:.4g}; is it in m/s?"
            )
        return vector

    def trajectory(
        self, outputs: Mapping[str, NDArray[Any]], settings: PlanningSettings, speed_mps: float | None
    ) -> Trajectory:
        """Return points in time, horizon_s / points apart, from the speed given (else the nominal one)."""
        plan = decode_plan(self.vector(outputs))
        speed = settings.speed_mps if speed_mps is None else speed_mps
        step_s = settings.horizon_s / settings.points
        distances, speeds = speed_profile(
            speed,
            plan.clear_distance_m,
            float(np.max(np.abs(plan.curvature_per_m))),
            settings.points * _SUBSTEPS,
            step_s / _SUBSTEPS,
        )
        points, headings = path_of_curvature(plan.curvature_per_m, distances[_SUBSTEPS - 1 :: _SUBSTEPS])
        curvature = float(plan.curvature_per_m[0])
        return Trajectory(
            points,
            headings,
            curvature,
            speed,
            steering_of_curvature(curvature, settings.steering_ratio, settings.wheelbase_m),
            speeds_mps=speeds[_SUBSTEPS - 1 :: _SUBSTEPS],
            step_s=step_s,
            clear_distance_m=plan.clear_distance_m,
            stop_probability=plan.stop_probability,
            proceed_after_stop_probability=plan.proceed_after_stop_probability,
        )
