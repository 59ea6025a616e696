# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Steering: a steering-wheel angle and, where the model has it, a collision probability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ModelFileError, ResultError
from ad_compressed_perception.core.manifest import Manifest, StrictModel
from ad_compressed_perception.core.tensors import TensorSpec
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
            if any(size not in (None, 1) for size in tensor.shape):
                raise ModelFileError(
                    f"model {self.model!r}: steering output {name!r} must hold one number, "
                    f"the file's is {list(tensor.shape)}"
                )

    def steering(self, outputs: Mapping[str, NDArray[Any]]) -> tuple[float, float]:
        """Return the angle in rad (left positive) and the collision probability or NaN.

        Raises:
            ResultError: the angle is not finite.
        """
        first = outputs[self._steering or next(iter(outputs))]
        angle = float(first.reshape(-1)[0]) * self.options.steering_scale
        if not np.isfinite(angle):
            raise ResultError(f"model {self.model!r} gave a steering angle that is not finite")
        name = self.options.collision_output
        collision = float(outputs[name].reshape(-1)[0]) if name else float("nan")
        return angle, collision
