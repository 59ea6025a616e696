# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fold constants, fuse batch normalisations, drop dead operators and weights too small to matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from ad_compressed_perception.compression.onnx_file import check_model, is_quantised, one_line
from ad_compressed_perception.compression.passes.base import Pass, PassContext, PassOptions
from ad_compressed_perception.compression.passes.equivalence import require_same
from ad_compressed_perception.errors import ModelFileError, RecipeError

if TYPE_CHECKING:
    from onnx import ModelProto


class SimplifyOptions(PassOptions):
    """Options of simplify."""

    tolerance: float = Field(
        1e-3, gt=0.0, le=0.1, description="largest change of an output, as a share of its range"
    )


class Simplify(Pass):
    """Cleans the graph with onnxslim and checks on a calibration frame that the numbers stayed."""

    name = "simplify"
    options_type = SimplifyOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the cleaned model.

        Raises:
            RecipeError: the model is quantised already; cleaning could fold its scales away.
            ModelFileError: the cleaner failed, or the cleaned graph computes something else.
        """
        import onnx
        import onnxslim

        if is_quantised(model):
            raise RecipeError("simplify must come before quantisation: it would fold the scales away")
        original = onnx.ModelProto()
        original.CopyFrom(model)
        try:
            cleaned = onnxslim.slim(model)
        except Exception as error:  # a third party's many types
            raise ModelFileError(f"onnxslim failed: {one_line(error)}") from error
        if not isinstance(cleaned, onnx.ModelProto):
            raise ModelFileError("onnxslim gave no model back: leave this pass out")
        context.notes["denormal_weights_zeroed"] = _zero_denormals(cleaned)
        check_model(cleaned, "the cleaned model")
        options: SimplifyOptions = self.options
        context.notes["largest_difference"] = require_same(
            original, cleaned, next(context.feeds()), options.tolerance
        )
        return cleaned


def _zero_denormals(model: ModelProto) -> int:
    """Set float32 weights below the least normal number (1.2e-38) to 0; return how many there were.

    Weight decay without end leaves such numbers. They change no result, and processors multiply them
    in microcode, tens of times slower.
    """
    from onnx import TensorProto, numpy_helper

    count = 0
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        tiny = (values != 0.0) & (np.abs(values) < np.finfo(np.float32).tiny)
        if tiny.any():
            count += int(tiny.sum())
            tensor.CopyFrom(numpy_helper.from_array(np.where(tiny, np.float32(0.0), values), tensor.name))
    return count
