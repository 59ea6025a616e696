# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Division of channels, and the multiplication of the weights that read them: the outputs stay.

Every channel c of a tensor x is divided by s_c and the weights that read it are multiplied by s_c:

    a_c = max |x_c| over the calibration frames      v_c = max |W[:, c]| over the convolutions that read x
    s_c = a_c^alpha / v_c^(1 - alpha), divided by its geometric mean over the channels

(SmoothQuant: Xiao et al., ICML 2023, arXiv:2211.10438, for transformers, alpha 0.5.) Depthwise weights have
one scale per channel, so larger weights cost no precision: for them alpha is 1. After a convolution, with a
ReLU, a leaky ReLU or nothing in between, that convolution's weights and bias are divided (cross-layer
equalization: Nagel et al., ICCV 2019, arXiv:1906.04721). Elsewhere a Mul divides, which runtimes that fuse
activations into compute ops fuse as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.onnx_graph.graph import Graph, attribute

if TYPE_CHECKING:
    from onnx import NodeProto

_HOMOGENEOUS = ("Relu", "LeakyRelu")
"""f(s x) = s f(x) for s > 0."""
_MIN_SHARE = 1e-3
"""Lower limit of a channel's maximum, as a share of the largest channel's."""

Vector = NDArray[np.float64]


@dataclass
class Site:
    """A tensor that only convolutions read, and the convolution that can be divided instead.

    Attributes:
        tensor: its name.
        readers: the convolutions that read it.
        producer: the convolution whose weights are divided; None where a Mul must divide.
    """

    tensor: str
    readers: list[NodeProto]
    producer: NodeProto | None


def find_equalizable(graph: Graph) -> list[Site]:
    """Return the tensors whose channels can be divided: activations that only convolutions read."""
    sites = []
    for node in graph.model.graph.node:
        for name in node.output:
            readers = graph.consumers.get(name, [])
            alone = bool(readers) and all(_reads_as_data(reader, name, graph) for reader in readers)
            if alone and name not in graph.outputs:
                sites.append(Site(name, readers, _producer(graph, node, name)))
    return sites


def _reads_as_data(node: NodeProto, name: str, graph: Graph) -> bool:
    weight = _weight(node, graph)
    if weight is None or list(node.input).count(name) != 1:
        return False
    return _group(node) == 1 or weight.shape[1] == 1  # groups of several channels are not handled


def _weight(node: NodeProto, graph: Graph) -> NDArray[Any] | None:
    """Return a convolution's constant float32 weight; None for another operator or a computed weight."""
    weight = graph.constant_input(node, 1) if node.op_type == "Conv" else None
    return weight if weight is not None and weight.dtype == np.float32 else None


def _producer(graph: Graph, node: NodeProto, name: str) -> NodeProto | None:
    """Return the convolution that computes these channels, where nothing else reads them."""
    if node.op_type in _HOMOGENEOUS:
        name = node.input[0]
        found = graph.producers.get(name)
        if found is None or graph.only_consumer(name) is None:
            return None
        node = found
    if _weight(node, graph) is None:
        return None
    return None if len(node.input) > 2 and graph.constant_input(node, 2) is None else node


def divide_channels(graph: Graph, site: Site, maximum: Vector, alpha: float) -> None:
    """Divide a tensor's channels, in place, in the convolution that computes it or by a Mul.

    Args:
        graph: the graph.
        site: of find_equalizable.
        maximum: a_c of the module's formula, (channels,).
        alpha: share of the differences that moves into dense weights; depthwise ones take all of it.
    """
    divisor = _divisors(graph, site, maximum, alpha)
    for reader in site.readers:
        weight = graph.constant_input(reader, 1)
        assert weight is not None  # by find_equalizable
        if _group(reader) > 1:
            factor = np.repeat(divisor, len(weight) // len(divisor)).reshape(-1, *[1] * (weight.ndim - 1))
        else:
            factor = divisor.reshape(1, -1, *[1] * (weight.ndim - 2))
        reader.input[1] = graph.add_constant(f"{reader.input[1]}/equalized", (weight * factor).astype("f4"))
    if site.producer is not None:
        for index in range(1, len(site.producer.input)):
            value = graph.constant_input(site.producer, index)
            assert value is not None
            divided = value / divisor.reshape(-1, *[1] * (value.ndim - 1))
            name = f"{site.producer.input[index]}/equalized"
            site.producer.input[index] = graph.add_constant(name, divided.astype("f4"))
        return
    _insert_mul(graph, site, divisor)


def _insert_mul(graph: Graph, site: Site, divisor: Vector) -> None:
    from onnx import helper

    rank = len(graph.constant_input(site.readers[0], 1).shape)  # type: ignore[union-attr]
    factor = (1.0 / divisor).astype(np.float32).reshape(1, -1, *[1] * (rank - 2))
    constant = graph.add_constant(f"{site.tensor}/divisor", factor)
    divided = graph.new_name(f"{site.tensor}/equalized")
    mul = helper.make_node("Mul", [site.tensor, constant], [divided], name=divided)
    graph.insert_before(site.readers[0], [mul])
    for reader in site.readers:
        reader.input[0] = divided


def _divisors(graph: Graph, site: Site, maximum: Vector, alpha: float) -> Vector:
    """Return s_c of the module's formula, (channels,)."""
    maximum = np.maximum(maximum, _MIN_SHARE * maximum.max())
    if all(_group(reader) > 1 for reader in site.readers):
        divisor = maximum
    else:
        largest = np.zeros_like(maximum)
        for reader in site.readers:
            weight = graph.constant_input(reader, 1)
            assert weight is not None
            largest = np.maximum(largest, _weight_maxima(reader, weight, len(maximum)))
        largest = np.maximum(largest, max(_MIN_SHARE * float(largest.max()), 1e-12))
        divisor = maximum**alpha / largest ** (1.0 - alpha)
    result: Vector = divisor / np.exp(np.log(divisor).mean())
    return result


def _group(node: NodeProto) -> int:
    return int(attribute(node, "group", 1))


def _weight_maxima(node: NodeProto, weight: NDArray[Any], channels: int) -> Vector:
    """Return max |W| of the weights of each input channel, (channels,)."""
    if _group(node) == 1:
        return np.abs(weight).max(axis=(0, *range(2, weight.ndim))).astype(np.float64)
    return np.abs(weight).reshape(channels, -1).max(axis=1).astype(np.float64)
