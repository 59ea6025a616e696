# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Steering: a steering-wheel angle and, where the model has them, a collision probability and a speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ModelFileError, OutputError
from ad_compressed_perception.core.manifest import Manifest, StrictModel
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks.output_contract import check_probability
from ad_compressed_perception.tasks.output_kinds import Columns, OutputKinds
from ad_compressed_perception.tasks.planning import SteeringOutputDecoder


class SteeringOptions(StrictModel):
    """Options of the steering decoder."""

    steering_output: str | None = Field(None, description="tensor of the angle; the first when absent")
    collision_output: str | None = Field(None, description="tensor of the collision probability")
    steering_scale: float = Field(1.0, description="radians per output unit; negative: right positive")
    speed_output: str | None = Field(
        None, description="tensor of the speed; that of the angle where it holds angle and speed"
    )
    speed_scale: float = Field(
        1.0, gt=0.0, description="m/s per output unit: 0.277778 for km/h, the largest speed for 0..1"
    )


_LOSS_UNIT = 0.1
"""Radians or a share: the quadratic part of the loss makes gradients small in the last steps."""
_LEAST_SPEED_MPS = -0.5
"""A standing vehicle's speed is seldom exactly 0; below this an output is no speed."""


class SteeringDecoder(SteeringOutputDecoder):
    """Decodes one-element outputs; angle and speed may be one output of two numbers."""

    options_type = SteeringOptions

    def __init__(self, manifest: Manifest) -> None:
        """Validate the options."""
        super().__init__(manifest)
        self._steering: str | None = self.options.steering_output

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError when a named output is missing or holds another count of numbers."""
        self._steering = self.options.steering_output or outputs[0].name
        options = self.options
        for name in filter(None, (self._steering, options.collision_output, options.speed_output)):
            tensor = self.find_output(outputs, name)
            count = self._count(name)
            sizes = [size for size in tensor.shape if size not in (None, 1)]
            is_fitting = sizes == [count] * (count > 1) or (not sizes and None in tensor.shape)
            if not is_fitting or not tensor.dtype.startswith("float"):
                raise ModelFileError(
                    f"model {self.model!r}: steering output {name!r} must hold "
                    f"{'one number' if count == 1 else 'two numbers, angle and speed'}, the file's is "
                    f"{tensor.dtype} {list(tensor.shape)}"
                )

    def output_kinds(self) -> Mapping[str, OutputKinds]:
        """Return values: to first order the path's error is proportional to the angle's."""
        names = (self._steering, self.options.collision_output, self.options.speed_output)
        return {name: OutputKinds((Columns("value", unit=_LOSS_UNIT),)) for name in names if name}

    def _count(self, name: str | None) -> int:
        return 2 if name is not None and name == self._steering == self.options.speed_output else 1

    def steering(self, outputs: Mapping[str, NDArray[Any]]) -> tuple[float, float]:
        """Return the angle in rad (left positive) and the collision probability or NaN.

        Raises:
            OutputError: one of them is not one finite number, or the probability is not in 0..1.
        """
        angle = self._number(outputs, self._steering) * self.options.steering_scale
        name = self.options.collision_output
        if not name:
            return angle, float("nan")
        collision = self._number(outputs, name)
        check_probability(np.array(collision), self.where(name), "does the file lack a sigmoid?")
        return angle, min(max(collision, 0.0), 1.0)

    def speed(self, outputs: Mapping[str, NDArray[Any]]) -> float | None:
        """Return the speed in m/s, or None without the option ``speed_output``.

        Raises:
            OutputError: it is not one finite number, or negative.
        """
        name = self.options.speed_output
        if not name:
            return None
        speed = self._number(outputs, name, self._count(name) - 1) * float(self.options.speed_scale)
        if speed < _LEAST_SPEED_MPS:
            raise OutputError(
                f"{self.where(name)}: a speed of {speed:.4g} m/s; the vehicle drives forward only. Is it "
                "normalized with a mean, which the file has to undo?"
            )
        return max(speed, 0.0)

    def _number(self, outputs: Mapping[str, NDArray[Any]], name: str | None, index: int = 0) -> float:
        values = self.read(outputs, name).reshape(-1)
        count = self._count(name)
        if values.size != count or not np.isfinite(values).all():
            numbers = "one finite number is" if count == 1 else "two finite numbers are"
            shown = f"{values.size} of them" if values.size != count else f"{values.tolist()}, not finite"
            raise OutputError(f"{self.where(name)}: {numbers} expected, not {shown}")
        return float(values[index])
