# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The baseline resized to the student's input size, as its teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ad_compressed_perception.core.errors import AdcpError, RecipeError
from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.core.tensors import Feeds
from ad_compressed_perception.onnx_graph.graph import refresh_outputs
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.onnx_graph.opset import upgrade_opset
from ad_compressed_perception.onnx_graph.resize import resize_graph, resized_spec
from ad_compressed_perception.onnx_graph.shapes import infer_shapes
from ad_compressed_perception.onnx_graph.simplify import simplify
from ad_compressed_perception.pass_api.passes import PassContext
from ad_compressed_perception.tasks.prepare import Preparer

if TYPE_CHECKING:
    from onnx import ModelProto

# As the passes upgrade_opset and simplify have them by default.
_OPSET = 13
_TOLERANCE = 1e-3


def resized_teacher(context: PassContext) -> tuple[ModelProto, InputSpec]:
    """Return the baseline, simplified, with the student's input size, and its input.

    Raises:
        RecipeError: an operator fixes the baseline's input size; the message names it.
    """
    old = context.manifest.input
    new = resized_spec(old, context.input.width, context.input.height)

    model = read_model(context.baseline)

    def feeds() -> Feeds:
        return {model.graph.input[0].name: Preparer(old)(next(context.images()))[0].copy()}

    model, _ = upgrade_opset(model, _OPSET, feeds, _TOLERANCE)
    model, _ = simplify(model, feeds, _TOLERANCE)
    model, _ = infer_shapes(model, old)
    if (new.width, new.height) != (old.width, old.height):
        try:
            resize_graph(model, old, new)
            refresh_outputs(model)
        except AdcpError as error:
            raise RecipeError(
                "the student's input has another scale than its teacher's, which cannot run at that size "
                f"({error}): train before the pass input_size"
            ) from error
    return model, new
