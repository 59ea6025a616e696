# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Raise the opset, so that per-channel scales can be represented (opset 13 and later)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ad_compressed_perception.onnx_graph.io import opset_of
from ad_compressed_perception.onnx_graph.opset import upgrade_opset
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions

if TYPE_CHECKING:
    from onnx import ModelProto


class UpgradeOpsetOptions(PassOptions):
    """Options of upgrade_opset."""

    to: int = Field(13, ge=13, le=21, description="minimum opset; a later one stays as it is")
    tolerance: float = Field(
        1e-3, gt=0.0, le=0.1, description="largest change of an output, as a share of its range"
    )


class UpgradeOpset(Pass):
    """Converts to a later opset and checks that the outputs stay the same."""

    name = "upgrade_opset"
    preserves_outputs = True
    options_type = UpgradeOpsetOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the converted model; raise ModelFileError naming an operator that cannot be converted."""
        options: UpgradeOpsetOptions = self.options
        context.notes.update(opset_before=opset_of(model), opset_after=max(opset_of(model), options.to))
        model, notes = upgrade_opset(model, options.to, lambda: next(context.feeds()), options.tolerance)
        context.notes.update(notes)
        return model
