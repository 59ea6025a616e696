# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Change the input size of a network; its weights stay the same."""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from ad_compressed_perception.compression.passes.graph.decodable import require_decodable
from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.graph import refresh_outputs
from ad_compressed_perception.onnx_graph.io import (
    check_model,
    is_quantized,
)
from ad_compressed_perception.onnx_graph.resize import resize_graph, resized_spec
from ad_compressed_perception.onnx_graph.subgraphs import copied
from ad_compressed_perception.pass_api.passes import Feeds, Pass, PassContext, PassOptions
from ad_compressed_perception.tasks.geometry import plan_geometry

if TYPE_CHECKING:
    from onnx import ModelProto


class InputSizeOptions(PassOptions):
    """Options of input_size: width and height, a factor, or the frames' own shape."""

    width: int | None = Field(None, ge=8, le=16384, description="pixels; needs height")
    height: int | None = Field(None, ge=8, le=16384, description="pixels; needs width")
    factor: float | None = Field(None, gt=0.0, le=8.0, description="of both sides, instead of the two")
    fit: Literal["frames"] | None = Field(
        None, description="frames: trim the letterbox's padding that no calibration frame needs"
    )
    multiple_of: int = Field(
        32, ge=1, le=512, description="the result of factor or fit is rounded to a multiple of this, pixels"
    )

    @model_validator(mode="after")
    def _one_of_three(self) -> InputSizeOptions:
        sizes = (self.width is not None) + (self.height is not None)
        given = (self.factor is not None) + (self.fit is not None) + (sizes > 0)
        if given != 1 or sizes == 1:
            raise ValueError("give either factor, or width and height, or fit")
        return self

    def size(self, spec: InputSpec) -> tuple[int, int]:
        """Return width and height for a network of another size, pixels.

        A side such as 257, one pixel more than a multiple, keeps the extra pixel: such a network samples the
        image at its edges (aligned corners).
        """
        if self.factor is None:
            return self.width or spec.width, self.height or spec.height
        step, factor = self.multiple_of, self.factor

        def scaled(side: int) -> int:
            extra = 1 if side % step == 1 else 0
            return max(step, floor((side - extra) * factor / step + 0.5) * step) + extra

        return scaled(spec.width), scaled(spec.height)


class InputSize(Pass):
    """Changes the size of the input; accuracy changes with it, so the gate must verify it on frames."""

    name = "input_size"
    image_input_only = True
    options_type = InputSizeOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the resized model; ``context.input`` has the new size.

        Raises:
            RecipeError: the size is the present one already, ``fit`` on an input without a letterbox, or
                the model is quantized.
            ModelFileError: an operator only works at the present size; it is named. With ``fit`` the model
                stays as it is and the notes say why.
        """
        options: InputSizeOptions = self.options
        spec = context.input
        width, height = fitting_size(context, options.multiple_of) if options.fit else options.size(spec)
        if (width, height) == (spec.width, spec.height):
            if options.fit:  # a recipe serves any camera, and this one's frames need no padding
                context.notes["size"] = f"{width}x{height}, which the frames fill"
                return model
            raise RecipeError(f"input_size: the input is {width}x{height} already")
        if is_quantized(model):
            raise RecipeError("input_size must come before quantization: ranges change with the size")
        feeds = next(context.feeds())
        resized = resized_spec(spec, width, height)
        copy = copied(model)
        try:
            edited = resize_graph(copy, spec, resized)
        except ModelFileError as error:
            if not options.fit:
                raise
            context.notes["size"] = f"{spec.width}x{spec.height} as before: {error}"
            return model
        model = copy
        specs = refresh_outputs(model)
        check_model(model, "the resized model")
        context.input = resized
        require_decodable(context, specs)
        run_model(model, _resample(feeds, spec, resized))
        context.notes.update(size=f"{spec.width}x{spec.height} -> {width}x{height}", edited=edited)
        return model


def fitting_size(context: PassContext, multiple_of: int) -> tuple[int, int]:
    """Return the least width and height that fit every calibration frame at its present scale, pixels.

    Raises:
        RecipeError: the input has no letterbox, hence no padding.
    """
    spec = context.input
    if spec.resize != "letterbox":
        raise RecipeError(
            f"input_size: fit trims a letterbox's padding, and this input is filled by {spec.resize}; "
            "give factor, or width and height"
        )
    placed = {plan_geometry(spec, *frame.pixels.shape[1::-1]) for frame in context.images()}
    sides = (
        (max(g.resized_width for g in placed), spec.width),
        (max(g.resized_height for g in placed), spec.height),
    )
    width, height = (min(limit, ceil(side / multiple_of) * multiple_of) for side, limit in sides)
    return width, height


def _resample(feeds: Feeds, old: InputSpec, new: InputSpec) -> Feeds:
    """Return an input of the new size by nearest-neighbor resampling, to check that the model runs."""
    rows = np.arange(new.height) * old.height // new.height
    columns = np.arange(new.width) * old.width // new.width
    first = 2 if old.layout == "NCHW" else 1
    return {name: tensor.take(rows, first).take(columns, first + 1) for name, tensor in feeds.items()}
