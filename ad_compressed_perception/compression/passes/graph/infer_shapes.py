# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Set the input's shape to the manifest's and infer the shapes of all tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.io import one_line, pin_input_shape
from ad_compressed_perception.pass_api.passes import Pass, PassContext

if TYPE_CHECKING:
    from onnx import ModelProto


class InferShapes(Pass):
    """Runs ONNX's shape inference, strictly, with constants followed through shape arithmetic."""

    name = "infer_shapes"
    preserves_outputs = True

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the model with shapes; raise ModelFileError where they contradict each other."""
        import onnx

        pinned = pin_input_shape(model, context.input)
        if pinned:
            context.notes["pinned"] = pinned
            # Output shapes declared for a dynamic input are inferred again.
            for output in model.graph.output:
                output.type.tensor_type.ClearField("shape")
        try:
            inferred = onnx.shape_inference.infer_shapes(
                model, check_type=True, strict_mode=True, data_prop=True
            )
        except Exception as error:  # C++ errors of several types
            raise ModelFileError(f"the shapes of the graph do not fit: {one_line(error)}") from error
        values = [*inferred.graph.value_info, *inferred.graph.output]
        context.notes["tensors_of_unknown_shape"] = sum(
            not value.type.tensor_type.HasField("shape")
            or any(not dimension.HasField("dim_value") for dimension in value.type.tensor_type.shape.dim)
            for value in values
        )
        return inferred
