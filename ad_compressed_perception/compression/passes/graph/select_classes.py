# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Keep some classes of a detector: the channels of all other classes are removed.

Each class score is one output channel of the last convolution, so removing it changes no other
output. The results keep the model's label names and numbers: the decoder option ``label_ids`` maps the
remaining scores to labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from ad_compressed_perception.compression.passes.graph.decodable import require_decodable
from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.onnx_graph.equivalence import relative_difference, run_model
from ad_compressed_perception.onnx_graph.graph import refresh_outputs
from ad_compressed_perception.onnx_graph.io import check_model, is_quantized
from ad_compressed_perception.onnx_graph.kept_channels import keep_output_channels
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions

if TYPE_CHECKING:
    from onnx import ModelProto

_DECODERS = ("yolox", "yolo")
_BOX = 4
_BOX_AND_OBJECTNESS = 5
_TOLERANCE = 1e-5


class SelectClassesOptions(PassOptions):
    """Options of select_classes."""

    labels: list[str] = Field(min_length=1, description="the model's labels to keep")


class SelectClasses(Pass):
    """Removes the scores of all labels except the selected ones, whose outputs stay the same."""

    name = "select_classes"
    one_task_only = True
    options_type = SelectClassesOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the model without the other scores; ``context.output`` names the labels left.

        Raises:
            RecipeError: a label that the model does not have or that is named twice, no label to remove, a
                decoder without a score for each label, or a quantized model.
            ModelFileError: an operator through which a score cannot be traced; it is named.
        """
        ids = self._label_ids(context)
        if is_quantized(model):
            raise RecipeError("select_classes must come before quantization: scales are shared")
        feeds = next(context.feeds())
        name = self._output_name(model, context)
        reference = run_model(model, feeds)
        if name not in reference:
            raise ModelFileError(f"there is no output {name!r}; the graph has {', '.join(reference)}")
        present = context.output.options.get("label_ids") or list(range(len(context.manifest.labels)))
        axis, first = self._score_axis(context, reference[name].shape, len(present))
        behind = range(first + len(present), reference[name].shape[axis])
        columns = [*range(first), *(first + present.index(i) for i in ids), *behind]
        edited = keep_output_channels(model, name, axis, columns)
        specs = refresh_outputs(model)
        check_model(model, "the model with fewer labels")
        options = {**context.output.options, "label_ids": ids}
        context.output = context.output.model_copy(update={"options": options})
        require_decodable(context, specs)
        kept = np.take(reference[name], columns, axis=axis)
        difference = relative_difference(kept, run_model(model, feeds)[name])
        if not difference <= _TOLERANCE:
            raise ModelFileError(f"the scores that stay changed by {difference:.2g} of their range")
        context.notes.update(
            labels=[context.manifest.labels[i] for i in ids],
            labels_left_out=len(present) - len(ids),
            edited=edited,
        )
        return model

    def _output_name(self, model: ModelProto, context: PassContext) -> str:
        named = context.output.options.get("output")
        names = named if isinstance(named, list) else [named or model.graph.output[0].name]
        if len(names) > 1:
            raise RecipeError(f"select_classes needs one output, the decoder reads {', '.join(names)}")
        return str(names[0])

    def _score_axis(self, context: PassContext, shape: tuple[int, ...], labels: int) -> tuple[int, int]:
        """Return the axis of the scores and the place of the first one."""
        options = context.output.options
        if context.output.decoder == "yolox":
            return 2, _BOX_AND_OBJECTNESS
        first = _BOX + bool(options.get("objectness"))
        width = first + labels + int(options.get("extra_columns", 0))
        axes = [axis for axis in (1, 2) if len(shape) == 3 and shape[axis] == width]
        if options.get("layout"):
            axes = [axis for axis in axes if axis == (2 if options["layout"] == "rows" else 1)]
        if len(axes) != 1:
            raise RecipeError(f"select_classes cannot find the scores in an output {list(shape)}")
        return axes[0], first

    def _label_ids(self, context: PassContext) -> list[int]:
        """Return the kept labels' numbers, ascending."""
        options: SelectClassesOptions = self.options
        known = context.manifest.labels
        if context.output.decoder not in _DECODERS:
            raise RecipeError(
                f"select_classes needs a detector with a score for each label (decoder "
                f"{' or '.join(_DECODERS)}); the decoder is {context.output.decoder!r}"
            )
        present = context.output.options.get("label_ids") or list(range(len(known)))
        names = [known[i] for i in present]
        for label in options.labels:
            if label not in names:
                raise RecipeError(
                    f"select_classes: the model has no label {label!r}; it has {', '.join(names)}"
                )
        if len(set(options.labels)) != len(options.labels):
            raise RecipeError("select_classes: a label is named twice")
        if len(options.labels) == len(names):
            raise RecipeError("select_classes: all labels are to stay: leave this pass out")
        return sorted(int(i) for i in np.flatnonzero(np.isin(known, options.labels)))
