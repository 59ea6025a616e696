# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fold constants, fuse batch normalizations, drop unused operators and flush denormal weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.onnx_graph.denormals import flush_denormals
from ad_compressed_perception.onnx_graph.equivalence import require_same
from ad_compressed_perception.onnx_graph.exporter_idioms import free_channel_counts
from ad_compressed_perception.onnx_graph.io import check_model, is_quantized, one_line
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
        import onnx
        import onnxslim

        if is_quantized(model):
            raise RecipeError("simplify must come before quantization: it would fold the scales away")
        original = onnx.ModelProto()
        original.CopyFrom(model)
        try:
            simplified = onnxslim.slim(model)
        except Exception as error:  # a third party's many types
            raise ModelFileError(f"onnxslim failed: {one_line(error)}") from error
        if not isinstance(simplified, onnx.ModelProto):
            raise ModelFileError("onnxslim returned no model: leave this pass out")
        free_channel_counts(simplified)
        context.notes["denormal_weights_zeroed"] = flush_denormals(simplified)
        check_model(simplified, "the simplified model")
        options: SimplifyOptions = self.options
        context.notes["largest_difference"] = require_same(
            original, simplified, next(context.feeds()), options.tolerance
        )
        return simplified
