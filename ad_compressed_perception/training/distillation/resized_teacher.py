# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The baseline resized to the student's input size, as its teacher."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.compression.passes.graph.infer_shapes import InferShapes
from ad_compressed_perception.compression.passes.graph.input_size import resize_graph, resized_spec
from ad_compressed_perception.compression.passes.graph.simplify import Simplify
from ad_compressed_perception.compression.passes.graph.upgrade_opset import UpgradeOpset
from ad_compressed_perception.core.errors import AdcpError, RecipeError
from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.onnx_graph.graph import refresh_outputs
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.pass_api.passes import PassContext
from ad_compressed_perception.tasks.prepare import Preparer

if TYPE_CHECKING:
    from onnx import ModelProto


def resized_teacher(context: PassContext) -> tuple[ModelProto, InputSpec]:
    """Return the baseline, simplified, with the student's input size, and its input.

    Raises:
        RecipeError: an operator fixes the baseline's input size; the message names it.
    """
    old = context.manifest.input
    new = resized_spec(old, context.input.width, context.input.height)

    def feeds() -> Any:
        prepare = Preparer(old)
        for frame in context.images():
            yield {model.graph.input[0].name: prepare(frame)[0].copy()}

    model = read_model(context.baseline)
    own = replace(context, input=old, output=context.manifest.output, feeds=feeds, notes={}, advance=_silent)
    for step in (UpgradeOpset(), Simplify(), InferShapes()):
        model = step.apply(model, own)
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


def _silent(done: int, total: int) -> None:
    """Report nothing."""
