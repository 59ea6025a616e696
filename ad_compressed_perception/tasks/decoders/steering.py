# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Steering: a steering-wheel angle and, where the model has it, a collision probability."""

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
from ad_compressed_perception.tasks.planning import SteeringOutputDecoder


class SteeringOptions(StrictModel):
    """Options of the steering decoder."""

    steering_output: str | None = Field(None, description="tensor of the angle; the first when absent")
    collision_output: str | None = Field(None, description="tensor of the collision probability")
    steering_scale: float = Field(1.0, description="radians per output unit; negative: right positive")


class SteeringDecoder(SteeringOutputDecoder):
    """Decodes one-element outputs."""

    options_type = SteeringOptions

    def __init__(self, manifest: Manifest) -> None:
        """Validate the options."""
        super().__init__(manifest)
        self._steering: str | None = self.options.steering_output

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError when a named output is missing or holds more than one number."""
        self._steering = self.options.steering_output or outputs[0].name
        for name in filter(None, (self._steering, self.options.collision_output)):
            tensor = self.find_output(outputs, name)
            if any(size not in (None, 1) for size in tensor.shape) or not tensor.dtype.startswith("float"):
                raise ModelFileError(
                    f"model {self.model!r}: steering output {name!r} must hold one number, "
                    f"the file's is {tensor.dtype} {list(tensor.shape)}"
                )

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

    def _number(self, outputs: Mapping[str, NDArray[Any]], name: str | None) -> float:
        values = self.read(outputs, name)
        if values.size != 1 or not np.isfinite(values).all():
            shown = f"{list(values.shape)}" if values.size != 1 else f"{values.reshape(-1)[0]}, not finite"
            raise OutputError(f"{self.where(name)}: one finite number is expected, not {shown}")
        return float(values.reshape(-1)[0])
