# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Move preprocessing into the graph: the input is the camera's uint8 image, channels last, BGR.

With factor a = scale / std and shift b = -mean / std of each channel, the network's former input,
x = a p + b for a pixel p, is computed in the graph. The factor goes into the first convolution's weights,
W'[o, c] = a[c] W[o, c]. The shift goes into its bias, B'[o] = B[o] + sum_c,y,x W[o, c, y, x] b[c],
only where no zero padding comes in between: a padded zero stands for x = 0, and a bias is the same
at the border and inside. Elsewhere b / a is added to the pixels before the padding. A color
order that differs from the camera's is a permutation of the weights' input channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.onnx_graph.equivalence import relative_difference, run_model
from ad_compressed_perception.onnx_graph.first_convolutions import (
    FirstConvolution,
    find_first_convolutions,
)
from ad_compressed_perception.onnx_graph.graph import Graph, refresh_outputs, remove_dead
from ad_compressed_perception.onnx_graph.io import check_model, is_quantized
from ad_compressed_perception.pass_api.passes import Feeds, Pass, PassContext, PassOptions

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


@dataclass(frozen=True)
class Affine:
    """x = factor * pixel + shift, per channel of the input; float64 arrays of (C,)."""

    factor: NDArray[np.float64]
    shift: NDArray[np.float64]

    @classmethod
    def of(cls, spec: InputSpec) -> Affine:
        """Return an input's normalization."""
        std = np.resize(np.asarray(spec.std, np.float64), spec.channels)
        mean = np.resize(np.asarray(spec.mean, np.float64), spec.channels)
        return cls(spec.scale / std, -mean / std)


class EmbedPreprocessing(Pass):
    """Moves normalization, layout and color order from preprocessing into the graph."""

    name = "embed_preprocessing"
    preserves_outputs = True
    options_type = EmbedPreprocessingOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the model with a uint8 input; ``context.input`` is updated.

        Raises:
            RecipeError: the model has a uint8 input already, or is quantized.
            ModelFileError: the outputs changed on a calibration frame, or the input is an output as well.
        """
        import onnx

        options: EmbedPreprocessingOptions = self.options
        spec = context.input
        if spec.dtype == "uint8":
            raise RecipeError("the model takes bytes already: leave the pass embed_preprocessing out")
        if is_quantized(model):
            raise RecipeError("embed_preprocessing must come before quantization: it changes weights")
        original = onnx.ModelProto()
        original.CopyFrom(model)
        graph = Graph(model)
        name = model.graph.input[0].name
        if name in graph.outputs:
            raise ModelFileError(
                f"the input {name!r} is an output as well, which would become bytes: leave this pass out"
            )
        sites = find_first_convolutions(graph, name, 1 if spec.layout == "NCHW" else 3, spec.channels)
        affine = Affine.of(spec)
        swap = spec.color not in ("GRAY", options.color) and sites is not None
        rest = _fold(graph, sites, affine, swap) if sites is not None else affine
        if swap:
            rest = Affine(rest.factor[::-1], rest.shift[::-1])
        _prepend(graph, name, spec, rest)
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
        context.notes["largest_difference"] = _require_same(
            (original, feeds), (model, bytes_of(feeds, spec, swap)), options.tolerance
        )
        return model


def bytes_of(feeds: Feeds, spec: InputSpec, swap: bool) -> Feeds:
    """Return the pixels of a normalized input, (1, H, W, C) uint8; exact for 8-bit frames."""
    ((name, tensor),) = feeds.items()
    pixels = tensor.astype(np.float64)
    if spec.layout == "NCHW":
        pixels = pixels.transpose(0, 2, 3, 1)
    affine = Affine.of(spec)
    pixels = np.rint((pixels - affine.shift) / affine.factor).clip(0, 255)
    if swap:
        pixels = pixels[..., ::-1]
    return {name: np.ascontiguousarray(pixels, np.uint8)}


def _fold(graph: Graph, sites: list[FirstConvolution], affine: Affine, swap: bool) -> Affine:
    """Fold into the convolutions what they can take; return the normalization left to do before them."""
    has_shift = bool(np.any(affine.shift != 0.0))
    into_bias = has_shift and not any(site.is_padded for site in sites)
    if not has_shift and not swap and np.all(affine.factor == 1.0):
        return affine
    for site in sites:
        channels = np.array([channel for _, channel in site.positions])
        weight = graph.constant_input(site.node, 1)
        assert weight is not None  # find_first_convolutions saw it
        exact = weight.astype(np.float64)
        if into_bias:
            added = (exact * affine.shift[channels][None, :, None, None]).sum(axis=(1, 2, 3))
            bias = graph.constant_input(site.node, 2)
            total = (added if bias is None else bias + added).astype(weight.dtype)
            inputs = [*site.node.input[:2], graph.add_constant(f"{site.node.input[1]}_bias", total)]
            del site.node.input[:]
            site.node.input.extend(inputs)
        exact = exact * affine.factor[channels][None, :, None, None]
        if swap:
            exact = exact[:, [site.mirrored(index) for index in range(len(channels))]]
        site.node.input[1] = graph.add_constant(f"{site.node.input[1]}_bytes", exact.astype(weight.dtype))
    ones = np.ones_like(affine.factor)
    return Affine(ones, np.zeros_like(ones) if into_bias else affine.shift / affine.factor)


def _prepend(graph: Graph, name: str, spec: InputSpec, rest: Affine) -> None:
    """Make the input uint8, channels last, and connect it to the former input's consumers."""
    from onnx import TensorProto, helper

    model = graph.model
    floats = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}[spec.dtype]
    nodes = []
    last = name

    def append(operator: str, inputs: list[str], **attributes: Any) -> None:
        nonlocal last
        last = graph.new_name(f"{name}_{operator.lower()}")
        nodes.append(
            helper.make_node(operator, inputs, [last], graph.new_name(f"input_{operator}"), **attributes)
        )

    if spec.layout == "NCHW":
        # Before the cast: moving bytes costs a quarter of moving floats.
        append("Transpose", [last], perm=[0, 3, 1, 2])
    append("Cast", [last], to=floats)
    shape = (1, -1, 1, 1) if spec.layout == "NCHW" else (1, 1, 1, -1)
    for operator, values, neutral in (("Mul", rest.factor, 1.0), ("Add", rest.shift, 0.0)):
        if np.any(values != neutral):
            constant = values.astype(spec.dtype).reshape(shape)
            append(operator, [last, graph.add_constant(f"input_{operator.lower()}", constant)])
    graph.replace_uses(name, last)
    for offset, node in enumerate(nodes):
        model.graph.node.insert(offset, node)
    tensor_type = model.graph.input[0].type.tensor_type
    tensor_type.elem_type = TensorProto.UINT8
    tensor_type.ClearField("shape")
    for size in (1, spec.height, spec.width, spec.channels):
        tensor_type.shape.dim.add().dim_value = size


def _require_same(
    before: tuple[ModelProto, Feeds], after: tuple[ModelProto, Feeds], tolerance: float
) -> float:
    reference, other = run_model(*before), run_model(*after)
    difference = max(relative_difference(reference[name], other[name]) for name in reference)
    if not difference <= tolerance:
        raise ModelFileError(
            f"the graph's outputs changed by {difference:.2g} of an output's range on a calibration frame, "
            f"allowed is {tolerance:.2g}: leave this pass out, or report the model"
        )
    return difference
