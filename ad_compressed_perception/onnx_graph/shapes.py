# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Shape inference of a graph for one input size."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.onnx_graph.io import pin_input_shape

if TYPE_CHECKING:
    from onnx import ModelProto


def infer_shapes(
    model: ModelProto, spec: InputSpec, further: Collection[str] = ()
) -> tuple[ModelProto, dict[str, Any]]:
    """Return the model with the shapes of all tensors, and notes on what was done.

    Args:
        model: may be changed in place.
        spec: gives sizes to dynamic dimensions of the image.
        further: names of the inputs besides it.

    Raises:
        ModelFileError: the shapes contradict each other.
    """
    import onnx

    notes: dict[str, Any] = {}
    pinned = pin_input_shape(model, spec, further)
    if pinned:
        notes["pinned"] = pinned
        # Output shapes declared for a dynamic input are inferred again.
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:  # C++ errors of several types
        raise ModelFileError(f"the shapes of the graph do not fit: {one_line(error)}") from error
    notes["tensors_of_unknown_shape"] = sum(
        not value.type.tensor_type.HasField("shape")
        or any(not dimension.HasField("dim_value") for dimension in value.type.tensor_type.shape.dim)
        for value in (*inferred.graph.value_info, *inferred.graph.output)
    )
    return inferred, notes
