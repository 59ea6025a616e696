# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Move preprocessing into the graph, which then takes the camera's bytes; see onnx_graph/preprocessing.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.onnx_graph.equivalence import require_same
from ad_compressed_perception.onnx_graph.first_convolutions import find_first_convolutions
from ad_compressed_perception.onnx_graph.graph import Graph, refresh_outputs, remove_dead
from ad_compressed_perception.onnx_graph.io import check_model, is_quantized
from ad_compressed_perception.onnx_graph.preprocessing import (
    Affine,
    bytes_of,
    fold_into,
    prepend_preprocessing,
)
from ad_compressed_perception.onnx_graph.subgraphs import copied
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions

if TYPE_CHECKING:
    from onnx import ModelProto


class EmbedPreprocessingOptions(PassOptions):
    """Options of embed_preprocessing."""

    renamed = {"colour": "color"}

    color: Literal["BGR", "RGB"] = Field(
        "BGR", description="color order of the camera, the network's new input; gray networks stay gray"
    )
    tolerance: float = Field(
        1e-3, gt=0.0, le=0.1, description="largest change of an output, as a share of its range"
    )


class EmbedPreprocessing(Pass):
    """Moves normalization, layout and color order from preprocessing into the graph."""

    name = "embed_preprocessing"
    image_input_only = True
    preserves_outputs = True
    options_type = EmbedPreprocessingOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the model with a uint8 input; ``context.input`` is updated.

        Raises:
            RecipeError: the model has a uint8 input already, or is quantized.
            ModelFileError: the outputs changed on a calibration frame, or the input is an output as well.
        """
        options: EmbedPreprocessingOptions = self.options
        spec = context.input
        if spec.dtype == "uint8":
            raise RecipeError("the model takes bytes already: leave the pass embed_preprocessing out")
        if is_quantized(model):
            raise RecipeError("embed_preprocessing must come before quantization: it changes weights")
        original = copied(model)
        graph = Graph(model)
        name = model.graph.input[0].name
        if name in graph.outputs:
            raise ModelFileError(
                f"the input {name!r} is an output as well, which would become bytes: leave this pass out"
            )
        sites = find_first_convolutions(graph, name, 1 if spec.layout == "NCHW" else 3, spec.channels)
        affine = Affine.of(spec)
        swap = spec.color not in ("GRAY", options.color) and sites is not None
        rest = fold_into(graph, sites, affine, swap) if sites is not None else affine
        if swap:
            rest = Affine(rest.factor[::-1], rest.shift[::-1])
        prepend_preprocessing(graph, name, spec, rest)
        remove_dead(model)
        update: dict[str, Any] = {
            "layout": "NHWC",
            "dtype": "uint8",
            "scale": 1.0,
            "mean": [0.0],
            "std": [1.0],
        }
        if swap:
            update["color"] = options.color
        context.input = spec.model_copy(update=update)
        refresh_outputs(model)
        check_model(model, "the model with preprocessing in the graph")
        context.notes.update(
            folded_into=[site.node.name or site.node.output[0] for site in sites or []],
            kept_in_graph=[
                kind
                for kind, used in (("Mul", np.any(rest.factor != 1)), ("Add", np.any(rest.shift != 0)))
                if used
            ],
            color=context.input.color,
        )
        feeds = next(context.feeds())
        context.notes["largest_difference"] = require_same(
            original, model, feeds, options.tolerance, bytes_of(feeds, spec, swap)
        )
        return model
