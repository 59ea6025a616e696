# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Replace SiLU by a cheaper activation; the network then needs fine-tuning by distillation.

SiLU(x) = x * sigmoid(x)              an exponential and a division for every element
HardSwish(x) = x * clip(x / 6 + 1/2, 0, 1)   differs by at most 0.15 (at x = +-3)
ReLU(x) = max(x, 0)                   free: runtimes fuse it into the convolution

The loss of accuracy is very uneven: of yolox_nano's 104 activations, eleven with an eighth of all elements
cause two thirds of it. ``keep`` leaves those as they are.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from ad_compressed_perception.compression.passes.graph.optimize import UpgradeOpset
from ad_compressed_perception.compression.quantization.sensitivity import OutputNoise
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.onnx_graph.activations import find_silus, replace_silus
from ad_compressed_perception.onnx_graph.equivalence import largest_difference
from ad_compressed_perception.onnx_graph.graph import Graph, tensor_shapes
from ad_compressed_perception.onnx_graph.heads import find_heads
from ad_compressed_perception.onnx_graph.io import (
    HARD_SWISH_OPSET,
    check_model,
    is_quantized,
    opset_of,
)
from ad_compressed_perception.onnx_graph.subgraphs import copied
from ad_compressed_perception.pass_api.passes import OptionalPassOptions, Pass, PassContext

if TYPE_CHECKING:
    from onnx import ModelProto

_OPERATORS = {"hard_swish": "HardSwish", "relu": "Relu"}


class ReplaceActivationOptions(OptionalPassOptions):
    """Options of replace_activation."""

    to: Literal["hard_swish", "relu"] = Field("relu", description="replacement of SiLU")
    keep: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        description="share of all activations' elements that stay SiLU: those that add most noise",
    )
    sensitivity_frames: int = Field(
        4, ge=1, le=64, description="frames that each activation is measured on, with keep"
    )


class ReplaceActivation(Pass):
    """Replaces every SiLU by HardSwish or ReLU. Not exact: for a recipe that trains afterwards."""

    name = "replace_activation"
    options_type = ReplaceActivationOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the changed model; HardSwish raises it to opset 14, the first with that operator.

        Raises:
            RecipeError: the model is quantized already.
            ModelFileError: no SiLU and the pass is not optional, or the graph cannot be converted to
                opset 14.
        """
        options: ReplaceActivationOptions = self.options
        if is_quantized(model):
            raise RecipeError("replace_activation must come before quantization")
        if not find_silus(Graph(model)):
            options.nothing_to_change(context, "no SiLU (x * sigmoid(x)) in the graph")
            return model
        original = copied(model)
        if options.to == "hard_swish" and opset_of(model) < HARD_SWISH_OPSET:
            model = UpgradeOpset({"to": HARD_SWISH_OPSET}).apply(model, context)
        kept = self._kept(model, context) if options.keep else []
        replaced = replace_silus(
            model, _OPERATORS[options.to], [data for _, data in find_silus(Graph(model)) if data not in kept]
        )
        check_model(model, "the model with other activations")
        context.notes.update(
            activations_swapped=replaced,
            activations_kept=kept,
            swapped_to=_OPERATORS[options.to],
            needs_fine_tuning=True,
        )
        difference = largest_difference(original, model, next(context.feeds()))
        if np.isfinite(difference):  # no number where the outputs' sizes differ
            context.notes["largest_difference"] = difference
        return model

    def _kept(self, model: ModelProto, context: PassContext) -> list[str]:
        """Return the inputs of the SiLUs that stay, ordered by noise per element, largest first."""
        options: ReplaceActivationOptions = self.options
        shapes, graph = tensor_shapes(model), Graph(model)
        elements = {
            data: int(np.prod([size or 1 for size in shapes.get(data, ())])) for _, data in find_silus(graph)
        }
        # At the outputs and at the head's inputs: after a Concat of boxes and scores only the boxes count.
        measured = {name: None for name in find_heads(model).head_inputs if name in graph.producers}
        # The number of boxes left by a suppression inside changes with the noise.
        measured.update(
            {one.name: None for one in model.graph.output if None not in shapes.get(one.name, ())}
        )
        frames = list(islice(context.feeds(), options.sensitivity_frames))
        noise = OutputNoise(model, list(measured), frames)
        noise_ratio = {}
        for done, data in enumerate(elements, start=1):
            trial = copied(model)
            replace_silus(trial, _OPERATORS[options.to], [data])
            # The noise-to-signal power ratio of the outputs with this activation alone replaced.
            noise_ratio[data] = 10.0 ** (-noise.sqnr_db(trial) / 10.0)
            context.advance(done, len(elements))
        left, kept = options.keep * sum(elements.values()), []
        for data in sorted(elements, key=lambda data: noise_ratio[data] / elements[data], reverse=True):
            if elements[data] <= left:
                left -= elements[data]
                kept.append(data)
        return kept
