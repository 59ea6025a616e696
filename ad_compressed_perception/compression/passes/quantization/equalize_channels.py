# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Channels of like size, so that one scale a tensor is enough: exact in float, far better in 8 bits.

An activation has one scale. A channel that reaches 120 beside channels that reach 1 leaves those two
numbers of 256. Every channel c of such a tensor is divided by s_c and the weights that read it are
multiplied by s_c, which changes no result in real arithmetic:

    a_c = max |x_c| over the calibration frames      v_c = max |W[:, c]| over the convolutions that read x
    s_c = a_c^alpha / v_c^(1 - alpha), divided by its geometric mean over the channels

(SmoothQuant: Xiao et al., ICML 2023, arXiv:2211.10438, for transformers, alpha 0.5.) Depthwise weights have a
scale of their own for every channel and lose nothing by growing: for them alpha is 1. Behind a convolution,
with a ReLU or leaky ReLU in between or nothing, its own weights and bias take the division (cross-layer
equalization: Nagel et al., ICCV 2019, arXiv:1906.04721). Elsewhere a Mul does, which runtimes that merge
activations into products merge as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.compression.quantization.sensitivity import open_session, with_outputs
from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.onnx_graph.equivalence import require_same
from ad_compressed_perception.onnx_graph.graph import Graph, attribute, remove_dead
from ad_compressed_perception.onnx_graph.io import is_quantized
from ad_compressed_perception.onnx_graph.qdq_placement import merges_activations
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_HOMOGENEOUS = ("Relu", "LeakyRelu")
"""f(s x) = s f(x) for s > 0."""
_LEAST_SHARE = 1e-3
"""Channels smaller than this share of the largest are treated as if they had it."""

Vector = NDArray[np.float64]


class EqualizeChannelsOptions(PassOptions):
    """Options of equalize."""

    renamed = {"least_spread": "min_spread"}

    alpha: float = Field(
        0.5, ge=0.0, le=1.0, description="how much of the spread goes from activations into dense weights"
    )
    min_spread: float = Field(
        4.0, ge=1.0, description="largest channel over the median one, from which a tensor is equalized"
    )
    tolerance: float = Field(0.001, gt=0.0, description="largest relative difference of an output")


@dataclass
class _Place:
    """A tensor that only convolutions read, and where its channels can be divided.

    Attributes:
        tensor: its name.
        readers: those convolutions.
        maker: the convolution whose weights take the division; None where a Mul must.
    """

    tensor: str
    readers: list[NodeProto]
    maker: NodeProto | None


class EqualizeChannels(Pass):
    """Moves the spread of channel sizes from activations into weights; changes no result."""

    name = "equalize_channels"
    options_type = EqualizeChannelsOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the changed model.

        Raises:
            RecipeError: the model is quantized already.
            ModelFileError: an activation is not finite, or the results changed.
        """
        options: EqualizeChannelsOptions = self.options
        if is_quantized(model):
            raise RecipeError("equalize must come before quantization")
        original = type(model).FromString(model.SerializeToString())
        graph = Graph(model)
        places = find_places(graph)
        sizes = _channel_sizes(model, [place.tensor for place in places], context)
        spreads: dict[str, float] = {}
        unmerged = []
        for place, size in zip(places, sizes, strict=True):
            spread = float(size.max() / max(float(np.median(size)), 1e-12))
            if size.max() <= 0.0 or spread < options.min_spread:
                continue
            if place.maker is None and not merges_activations(context.runtime):
                unmerged.append(place.tensor)  # its Mul would need a scale of its own, before the division
                continue
            _divide(graph, place, size, options.alpha)
            spreads[place.tensor] = round(min(spread, 1e6), 1)
        remove_dead(model)
        context.notes.update(
            equalized=spreads,
            left_as_runtime_merges_nothing=unmerged,
            largest_difference=require_same(original, model, next(context.feeds()), options.tolerance),
        )
        return model


def find_places(graph: Graph) -> list[_Place]:
    """Return the tensors whose channels can be divided: computed ones that convolutions alone read."""
    places = []
    for node in graph.model.graph.node:
        for name in node.output:
            readers = graph.consumers.get(name, [])
            alone = bool(readers) and all(_reads_as_data(reader, name, graph) for reader in readers)
            if alone and name not in graph.outputs:
                places.append(_Place(name, readers, _maker(graph, node, name)))
    return places


def _reads_as_data(node: NodeProto, name: str, graph: Graph) -> bool:
    weight = _weight(node, graph)
    if weight is None or list(node.input).count(name) != 1:
        return False
    return _group(node) == 1 or weight.shape[1] == 1  # groups of several channels are left alone


def _weight(node: NodeProto, graph: Graph) -> NDArray[Any] | None:
    """Return a convolution's constant float32 weight; None for another operator or a computed weight."""
    weight = graph.constant_input(node, 1) if node.op_type == "Conv" else None
    return weight if weight is not None and weight.dtype == np.float32 else None


def _maker(graph: Graph, node: NodeProto, name: str) -> NodeProto | None:
    """Return the convolution whose output's channels are these, where nothing else sees them."""
    if node.op_type in _HOMOGENEOUS:
        name = node.input[0]
        found = graph.producers.get(name)
        if found is None or graph.only_consumer(name) is None:
            return None
        node = found
    if _weight(node, graph) is None:
        return None
    return None if len(node.input) > 2 and graph.constant_input(node, 2) is None else node


def _channel_sizes(model: ModelProto, tensors: list[str], context: PassContext) -> list[Vector]:
    """Return max |x_c| of each tensor over the frames, (channels,) each."""
    if not tensors:
        return []
    session = open_session(with_outputs(model, tensors))
    sizes: list[Any] = [0.0] * len(tensors)
    for done, feeds in enumerate(context.feeds(), start=1):
        for index, value in enumerate(session.run(None, feeds)):
            size = np.abs(value).max(axis=(0, *range(2, value.ndim))).astype(np.float64)
            if not np.isfinite(size).all():
                raise ModelFileError(f"activation {tensors[index]!r} is not finite on the calibration frames")
            sizes[index] = np.maximum(sizes[index], size)
        context.advance(done, context.frames)
    return sizes


def _divide(graph: Graph, place: _Place, size: Vector, alpha: float) -> None:
    divisor = _divisors(graph, place, size, alpha)
    for reader in place.readers:
        weight = graph.constant_input(reader, 1)
        assert weight is not None  # by find_places
        if _group(reader) > 1:
            factor = np.repeat(divisor, len(weight) // len(divisor)).reshape(-1, *[1] * (weight.ndim - 1))
        else:
            factor = divisor.reshape(1, -1, *[1] * (weight.ndim - 2))
        reader.input[1] = graph.add_constant(f"{reader.input[1]}/equalized", (weight * factor).astype("f4"))
    if place.maker is not None:
        for index in range(1, len(place.maker.input)):
            value = graph.constant_input(place.maker, index)
            assert value is not None
            divided = value / divisor.reshape(-1, *[1] * (value.ndim - 1))
            name = f"{place.maker.input[index]}/equalized"
            place.maker.input[index] = graph.add_constant(name, divided.astype("f4"))
        return
    _insert_mul(graph, place, divisor)


def _insert_mul(graph: Graph, place: _Place, divisor: Vector) -> None:
    from onnx import helper

    rank = len(graph.constant_input(place.readers[0], 1).shape)  # type: ignore[union-attr]
    factor = (1.0 / divisor).astype(np.float32).reshape(1, -1, *[1] * (rank - 2))
    constant = graph.add_constant(f"{place.tensor}/divisor", factor)
    divided = graph.new_name(f"{place.tensor}/equalized")
    mul = helper.make_node("Mul", [place.tensor, constant], [divided], name=divided)
    graph.insert_before(place.readers[0], [mul])
    for reader in place.readers:
        reader.input[0] = divided


def _divisors(graph: Graph, place: _Place, size: Vector, alpha: float) -> Vector:
    """Return s_c of the module's formula, (channels,)."""
    size = np.maximum(size, _LEAST_SHARE * size.max())
    if all(_group(reader) > 1 for reader in place.readers):
        divisor = size
    else:
        largest = np.zeros_like(size)
        for reader in place.readers:
            weight = graph.constant_input(reader, 1)
            assert weight is not None
            largest = np.maximum(largest, _read_sizes(reader, weight, len(size)))
        largest = np.maximum(largest, max(_LEAST_SHARE * float(largest.max()), 1e-12))
        divisor = size**alpha / largest ** (1.0 - alpha)
    result: Vector = divisor / np.exp(np.log(divisor).mean())
    return result


def _group(node: NodeProto) -> int:
    return int(attribute(node, "group", 1))


def _read_sizes(node: NodeProto, weight: NDArray[Any], channels: int) -> Vector:
    """Return max |W| of what multiplies each input channel, (channels,)."""
    if _group(node) == 1:
        return np.abs(weight).max(axis=(0, *range(2, weight.ndim))).astype(np.float64)
    return np.abs(weight).reshape(channels, -1).max(axis=1).astype(np.float64)
