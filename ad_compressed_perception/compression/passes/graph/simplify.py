# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fold constants, fuse batch normalizations, drop unused operators and flush denormal weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ad_compressed_perception.onnx_graph.simplify import simplify
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions

if TYPE_CHECKING:
    from onnx import ModelProto


class SimplifyOptions(PassOptions):
    """Options of simplify."""

    tolerance: float = Field(
        1e-3, gt=0.0, le=0.1, description="largest change of an output, as a share of its range"
    )


class Simplify(Pass):
    """Simplifies the graph with onnxslim and checks on a calibration frame that its outputs stay the same."""

    name = "simplify"
    preserves_outputs = True
    options_type = SimplifyOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the simplified model.

        Raises:
            RecipeError: the model is quantized already; its scales could be folded away.
            ModelFileError: onnxslim failed, or the simplified graph computes something else.
        """
        options: SimplifyOptions = self.options
        simplified, notes = simplify(model, lambda: next(context.feeds()), options.tolerance)
        context.notes.update(notes)
        return simplified
