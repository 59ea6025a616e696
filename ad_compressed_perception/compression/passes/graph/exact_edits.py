# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Edits that change no output: each is made, and checked on a calibration frame."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from ad_compressed_perception.onnx_graph.compact import share_constants, shorten_names
from ad_compressed_perception.onnx_graph.equivalence import require_same
from ad_compressed_perception.onnx_graph.flattened_heads import flatten_per_level
from ad_compressed_perception.onnx_graph.focus import rewrite_focus_stems
from ad_compressed_perception.onnx_graph.graph import remove_dead
from ad_compressed_perception.onnx_graph.io import check_model
from ad_compressed_perception.onnx_graph.subgraphs import copied
from ad_compressed_perception.pass_api.passes import OptionalPassOptions, Pass, PassContext, PassOptions

if TYPE_CHECKING:
    from onnx import ModelProto


class ExactEdit(Pass):
    """A pass that edits a graph in place and compares its outputs before and after."""

    tolerance: ClassVar[float]
    """Largest difference of an output, as a share of its range: the same sums in another order."""
    lacking: ClassVar[str] = ""
    """What a graph lacks in which there is nothing to edit."""

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the edited model.

        Raises:
            ModelFileError: there is nothing to edit and the pass is not optional, or an output changed on a
                calibration frame.
        """
        original = copied(model)
        notes = self.edit(model)
        if notes is None:
            self.options.nothing_to_change(context, self.lacking)
            return original
        check_model(model, f"the model after {self.name}")
        difference = require_same(original, model, next(context.feeds()), self.tolerance)
        context.notes.update(notes, largest_difference=difference)
        return model

    @abstractmethod
    def edit(self, model: ModelProto) -> dict[str, Any] | None:
        """Edit the model in place; return notes, or None where there is nothing to edit."""


class FocusToConv(ExactEdit):
    """Replaces space-to-depth stems, as in YOLOX and early YOLOv5, by one convolution each."""

    name = "focus_to_conv"
    options_type = OptionalPassOptions
    preserves_outputs = True
    tolerance = 1e-4
    lacking = "no space-to-depth stem (four slices with step 2, Concat, Conv)"

    def edit(self, model: ModelProto) -> dict[str, Any] | None:
        """Rewrite the stems; the notes name their convolutions."""
        stems = rewrite_focus_stems(model)
        return {"stems": stems} if stems else None


class FlattenPerLevel(ExactEdit):
    """Transposes feature maps before their concatenation."""

    name = "flatten_per_level"
    options_type = OptionalPassOptions
    preserves_outputs = True
    tolerance = 1e-6
    lacking = "no maps (1, C, H, W) that are concatenated and transposed to rows"

    def edit(self, model: ModelProto) -> dict[str, Any] | None:
        """Flatten the maps level by level; the notes have their number."""
        maps = flatten_per_level(model)
        return {"maps": maps} if maps else None


class DeduplicateInitializersOptions(PassOptions):
    """Options of deduplicate_initializers."""

    names: bool = Field(True, description="shorten names; false keeps them, for readable reports")


class DeduplicateInitializers(ExactEdit):
    """Shortens names inside the graph and stores equal constants once; put it last."""

    name = "deduplicate_initializers"
    options_type = DeduplicateInitializersOptions
    tolerance = 1e-5  # a runtime may fuse a graph with other names in another order

    def edit(self, model: ModelProto) -> dict[str, Any]:
        """Make the model smaller; inputs and outputs keep their names."""
        before = model.ByteSize()
        remove_dead(model)
        shared = share_constants(model)
        if self.options.names:
            shorten_names(model)
        return {"constants_shared": shared, "bytes_before": before, "bytes_after": model.ByteSize()}
