# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Specification of a student."""

from __future__ import annotations

from dataclasses import dataclass

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.training.students.graph_builder import rounded_channels

COARSEST_STRIDE = 32


@dataclass(frozen=True)
class StudentSpec:
    """A student's architecture and sizes.

    Attributes:
        encoder: name in the registry of encoders.
        task: detection, segmentation, planning (a steering angle) or trajectory (a plan).
        input_width: pixels; a multiple of 32 except for planning and trajectory.
        input_height: likewise.
        input_channels: 3, or 1 for gray.
        input_name: of the input tensor.
        width: multiplies all channel counts.
        channel_multiple: channel counts are rounded to a multiple of this.
        classes: labels of a detector or segmenter.
        output_stride: segmentation: stride of the scores; 1, 2, 4 or 8.
        fine: segmentation: a pyramid down to stride 2, for structures thinner than four pixels; needs an
            output stride of 1 or 2.
        collision: planning: with a second output, the probability of a collision.
        seed: of the weights.
    """

    encoder: str
    task: str
    input_width: int
    input_height: int
    input_channels: int = 3
    input_name: str = "image"
    width: float = 1.0
    channel_multiple: int = 16
    classes: int = 1
    output_stride: int = 2
    fine: bool = False
    collision: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise RecipeError for input sizes that the strides do not divide."""
        step = 1 if self.task in ("planning", "trajectory") else COARSEST_STRIDE
        for what, size in (("width", self.input_width), ("height", self.input_height)):
            if size < COARSEST_STRIDE or size % step:
                raise RecipeError(
                    f"a student for {self.task} needs an input {what} of {COARSEST_STRIDE} pixels or more"
                    f"{f' in whole multiples of {step}' if step > 1 else ''}, not {size}"
                )
        if self.fine and self.output_stride > 2:
            raise RecipeError(
                f"a fine pyramid ends at stride 2, its scores cannot be at {self.output_stride}"
            )

    def channels(self, count: int) -> int:
        """Return a layer's channel count for this width."""
        return rounded_channels(count * self.width, self.channel_multiple)
