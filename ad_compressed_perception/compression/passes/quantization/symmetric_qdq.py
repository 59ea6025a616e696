# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Q/DQ pairs in the form that TensorRT reads; see onnx_graph/symmetric_qdq.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.io import check_model, is_quantized
from ad_compressed_perception.onnx_graph.symmetric_qdq import make_symmetric
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions

if TYPE_CHECKING:
    from onnx import ModelProto


class SymmetricQdq(Pass):
    """Gives Q/DQ pairs signed types and zero points of zero, and takes biases out of them."""

    name = "symmetric_qdq"
    lowers_precision = True
    options_type = PassOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the model, changed in place.

        Raises:
            ModelFileError: it is not quantized, or not to 8 bits with stored scales.
        """
        if not is_quantized(model):
            raise ModelFileError("there are no Q/DQ pairs: put quantize_int8 before this pass")
        context.notes.update(make_symmetric(model))
        check_model(model, "the model with symmetric Q/DQ pairs")
        return model
