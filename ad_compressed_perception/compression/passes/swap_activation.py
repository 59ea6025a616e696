# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Exchange SiLU for an activation that costs less; the network then needs healing by distillation.

SiLU(x) = x * sigmoid(x)              an exponential and a division for every element
HardSwish(x) = x * clip(x / 6 + 1/2, 0, 1)   close to it, at most 0.15 away (at x = +-3)
ReLU(x) = max(x, 0)                   costs nothing: runtimes merge it into the convolution
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ad_compressed_perception.compression.onnx_file import check_model, is_quantised, opset_of
from ad_compressed_perception.compression.passes.base import Pass, PassContext, PassOptions
from ad_compressed_perception.compression.passes.equivalence import largest_difference
from ad_compressed_perception.compression.passes.graph_edit import Graph, remove_dead
from ad_compressed_perception.compression.passes.upgrade_opset import UpgradeOpset
from ad_compressed_perception.errors import ModelFileError, RecipeError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_OPERATORS = {"hard_swish": "HardSwish", "relu": "Relu"}
_HARD_SWISH_OPSET = 14


class SwapActivationOptions(PassOptions):
    """Options of swap_activation."""

    to: Literal["hard_swish", "relu"] = Field("relu", description="what takes the place of SiLU")


def find_silus(graph: Graph) -> list[tuple[NodeProto, str]]:
    """Return the products x * sigmoid(x) with the name of x."""
    found = []
    for node in graph.model.graph.node:
        if node.op_type != "Mul":
            continue
        for gate, data in (node.input, reversed(node.input)):
            sigmoid = graph.producers.get(gate)
            if sigmoid is not None and sigmoid.op_type == "Sigmoid" and sigmoid.input[0] == data:
                found.append((node, data))
                break
    return found


class SwapActivation(Pass):
    """Replaces every SiLU by HardSwish or ReLU. Not exact: for a recipe that trains afterwards."""

    name = "swap_activation"
    options_type = SwapActivationOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the changed model; HardSwish raises it to opset 14, where that operator begins.

        Raises:
            RecipeError: the model is quantised already.
            ModelFileError: there is no SiLU, or the graph cannot go to opset 14.
        """
        import onnx
        from onnx import helper

        options: SwapActivationOptions = self.options
        if is_quantised(model):
            raise RecipeError("swap_activation must come before quantisation")
        if not find_silus(Graph(model)):
            raise ModelFileError("no SiLU (x * sigmoid(x)) in the graph: leave this pass out")
        original = onnx.ModelProto()
        original.CopyFrom(model)
        if options.to == "hard_swish" and opset_of(model) < _HARD_SWISH_OPSET:
            model = UpgradeOpset({"to": _HARD_SWISH_OPSET}).apply(model, context)
        graph = Graph(model)
        silus = find_silus(graph)
        for node, data in silus:
            node.CopyFrom(helper.make_node(_OPERATORS[options.to], [data], list(node.output), name=node.name))
        remove_dead(model)
        check_model(model, "the model with other activations")
        context.notes.update(
            activations_swapped=len(silus),
            swapped_to=_OPERATORS[options.to],
            needs_healing=True,
            largest_difference=largest_difference(original, model, next(context.feeds())),
        )
        return model
