# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Set the input's shape to the manifest's and infer the shapes of all tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ad_compressed_perception.onnx_graph.shapes import infer_shapes
from ad_compressed_perception.pass_api.passes import Pass, PassContext

if TYPE_CHECKING:
    from onnx import ModelProto


class InferShapes(Pass):
    """Runs ONNX's shape inference, strictly, with constants followed through shape arithmetic."""

    name = "infer_shapes"
    preserves_outputs = True

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the model with shapes; raise ModelFileError where they contradict each other."""
        inferred, notes = infer_shapes(model, context.input)
        context.notes.update(notes)
        return inferred
