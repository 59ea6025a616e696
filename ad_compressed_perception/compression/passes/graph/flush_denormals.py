# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Set denormal weights to zero in the file, so that they slow down no runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ad_compressed_perception.onnx_graph.denormals import flush_denormals
from ad_compressed_perception.onnx_graph.equivalence import require_same
from ad_compressed_perception.pass_api.passes import Pass, PassContext

if TYPE_CHECKING:
    from onnx import ModelProto

# One part in 2^20 of an output's range: zeroing such weights moves no float32 sum by more than that.
_TOLERANCE = 2.0**-20


class FlushDenormals(Pass):
    """Zeroes float32 weights below the least normal number (1.2e-38); see onnx_graph/denormals.py.

    The pass ``simplify`` does the same; this one is for a file that must otherwise stay unchanged, and for
    weights that a later pass has made denormal.
    """

    name = "flush_denormals"
    preserves_outputs = True

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the model with the weights zeroed; their number is in the notes.

        Raises:
            ModelFileError: an output changed by more than rounding on a calibration frame.
        """
        import onnx

        original = onnx.ModelProto()
        original.CopyFrom(model)
        count = flush_denormals(model)
        context.notes["denormal_weights_zeroed"] = count
        if count:
            context.notes["largest_difference"] = require_same(
                original, model, next(context.feeds()), _TOLERANCE
            )
        return model
