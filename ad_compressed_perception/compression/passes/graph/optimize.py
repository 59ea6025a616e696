# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Graph optimization that leaves the outputs as they are: later opset, folded constants, known shapes.

``optimize`` takes the steps in the order in which almost every recipe begins. Each step is a pass of its own,
too, for recipes that need one of them alone or in another place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from ad_compressed_perception.onnx_graph.denormals import flush_denormals
from ad_compressed_perception.onnx_graph.equivalence import require_same
from ad_compressed_perception.onnx_graph.io import opset_of
from ad_compressed_perception.onnx_graph.opset import upgrade_opset
from ad_compressed_perception.onnx_graph.shapes import infer_shapes
from ad_compressed_perception.onnx_graph.simplify import simplify
from ad_compressed_perception.onnx_graph.subgraphs import copied
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions

if TYPE_CHECKING:
    from onnx import ModelProto

# One part in 2^20 of an output's range: zeroing such weights moves no float32 sum by more than that.
_DENORMALS_TOLERANCE = 2.0**-20


class ToleranceOptions(PassOptions):
    """Options of a pass that compares the outputs before and after."""

    tolerance: float = Field(
        1e-3, gt=0.0, le=0.1, description="largest change of an output, as a share of its range"
    )


class UpgradeOpsetOptions(ToleranceOptions):
    """Options of upgrade_opset."""

    to: int = Field(13, ge=13, le=21, description="minimum opset; a later one stays as it is")


class OptimizeOptions(ToleranceOptions):
    """Options of optimize."""

    opset: int = Field(13, ge=13, le=21, description="minimum opset; a later one stays as it is")


class _OutputsStay(Pass):
    """A pass after which the outputs are the same."""

    preserves_outputs = True

    def _note(self, context: PassContext, notes: dict[str, Any]) -> None:
        """Add notes; of two differences the larger one counts."""
        differences = [
            one["largest_difference"] for one in (context.notes, notes) if "largest_difference" in one
        ]
        context.notes.update(notes)
        if differences:
            context.notes["largest_difference"] = max(differences)

    def _upgrade(self, model: ModelProto, context: PassContext, to: int) -> ModelProto:
        context.notes.update(opset_before=opset_of(model), opset_after=max(opset_of(model), to))
        model, notes = upgrade_opset(model, to, lambda: next(context.feeds()), self.options.tolerance)
        self._note(context, notes)
        return model

    def _simplify(self, model: ModelProto, context: PassContext) -> ModelProto:
        model, notes = simplify(model, lambda: next(context.feeds()), self.options.tolerance)
        self._note(context, notes)
        return model

    def _infer(self, model: ModelProto, context: PassContext) -> ModelProto:
        model, notes = infer_shapes(model, context.input, context.manifest.inputs or ())
        self._note(context, notes)
        return model


class Optimize(_OutputsStay):
    """Raises the opset, simplifies the graph and infers all shapes; checks that the outputs stay the same."""

    name = "optimize"
    options_type = OptimizeOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the optimized model; raise as the three passes do."""
        model = self._upgrade(model, context, self.options.opset)
        return self._infer(self._simplify(model, context), context)


class UpgradeOpset(_OutputsStay):
    """Converts to a later opset, in which scales per channel exist, and checks that the outputs stay."""

    name = "upgrade_opset"
    options_type = UpgradeOpsetOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the converted model; raise ModelFileError naming an operator that cannot be converted."""
        return self._upgrade(model, context, self.options.to)


class Simplify(_OutputsStay):
    """Folds constants and normalizations, drops unused operators; checks that the outputs stay the same."""

    name = "simplify"
    options_type = ToleranceOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the simplified model.

        Raises:
            RecipeError: the model is quantized already; its scales could be folded away.
            ModelFileError: onnxslim failed, or the simplified graph computes something else.
        """
        return self._simplify(model, context)


class InferShapes(_OutputsStay):
    """Sets the input's shape to the manifest's and infers all others, strictly, through shape arithmetic."""

    name = "infer_shapes"

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the model with shapes; raise ModelFileError where they contradict each other."""
        return self._infer(model, context)


class FlushDenormals(_OutputsStay):
    """Zeroes float32 weights below the least normal number (1.2e-38); see onnx_graph/denormals.py.

    The pass ``simplify`` does the same; this one is for a file that must otherwise stay unchanged, and for
    weights that a later pass has made denormal.
    """

    name = "flush_denormals"

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the model with the weights zeroed; their number is in the notes.

        Raises:
            ModelFileError: an output changed by more than rounding on a calibration frame.
        """
        original = copied(model)
        count = flush_denormals(model)
        context.notes["denormal_weights_zeroed"] = count
        if count:
            feeds = next(context.feeds())
            context.notes["largest_difference"] = require_same(original, model, feeds, _DENORMALS_TOLERANCE)
        return model
