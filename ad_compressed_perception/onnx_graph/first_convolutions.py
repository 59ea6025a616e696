# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The first convolutions of a network: those that read its input, and by which channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ad_compressed_perception.onnx_graph.graph import Graph, attribute

if TYPE_CHECKING:
    from onnx import NodeProto

Position = tuple[tuple[int, ...], int]
"""Path of concatenated parts of a channel, and its channel index in the network's input."""


@dataclass(frozen=True)
class FirstConvolution:
    """A convolution over channels of the input.

    Attributes:
        node: the convolution.
        positions: the origin of each of its input channels.
        is_padded: whether the image is zero-padded before or by the convolution.
    """

    node: NodeProto
    positions: tuple[Position, ...]
    is_padded: bool

    def mirrored(self, index: int) -> int:
        """Return the channel index, in the same part, after reversing the color order."""
        part, channel = self.positions[index]
        colors = max(position[1] for position in self.positions) + 1
        return self.positions.index((part, colors - 1 - channel))


@dataclass(frozen=True)
class _Carrier:
    """A tensor with pixels of the input, rearranged but not changed."""

    axis: int
    positions: tuple[Position, ...]
    is_padded: bool


def find_first_convolutions(
    graph: Graph, name: str, axis: int, channels: int
) -> list[FirstConvolution] | None:
    """Follow the input through nodes that only rearrange pixels, up to convolutions.

    Args:
        graph: the graph.
        name: its input.
        axis: where the input's channels are.
        channels: how many.

    Returns:
        The convolutions, or None where another operator reads pixels as well, so that normalization
        cannot be folded into weights.
    """
    carriers = {name: _Carrier(axis, tuple(((), channel) for channel in range(channels)), False)}
    sites: list[FirstConvolution] = []
    for node in graph.model.graph.node:
        taken = [index for index, source in enumerate(node.input) if source in carriers]
        if not taken:
            continue
        if node.op_type == "Conv" and taken == [0]:
            site = _site(graph, node, carriers[node.input[0]])
            if site is None:
                return None
            sites.append(site)
            continue
        moved = _join(node, carriers) if node.op_type == "Concat" else None
        if moved is None and taken == [0]:
            moved = _move(graph, node, carriers[node.input[0]])
        if moved is None or not graph.outputs.isdisjoint(node.output):
            return None
        carriers[node.output[0]] = moved
    return sites or None


def _site(graph: Graph, node: NodeProto, carrier: _Carrier) -> FirstConvolution | None:
    weight = graph.constant_input(node, 1)
    has_constant_bias = len(node.input) < 3 or graph.constant_input(node, 2) is not None
    if carrier.axis != 1 or weight is None or weight.ndim != 4 or not has_constant_bias:
        return None
    if attribute(node, "group", 1) != 1 or weight.shape[1] != len(carrier.positions):
        return None
    pads = any(attribute(node, "pads", [])) or attribute(node, "auto_pad", "NOTSET").startswith("SAME")
    return FirstConvolution(node, carrier.positions, carrier.is_padded or pads)


def _join(node: NodeProto, carriers: dict[str, _Carrier]) -> _Carrier | None:
    parts = [carriers.get(name) for name in node.input]
    known = [part for part in parts if part is not None]
    axes = {part.axis for part in known}
    if len(known) != len(parts) or axes != {attribute(node, "axis")}:
        return None
    positions = tuple(
        ((number, *path), channel) for number, part in enumerate(known) for path, channel in part.positions
    )
    return _Carrier(axes.pop(), positions, any(part.is_padded for part in known))


def _move(graph: Graph, node: NodeProto, carrier: _Carrier) -> _Carrier | None:
    if node.op_type == "Identity":
        return carrier
    if node.op_type == "Transpose":
        permutation = attribute(node, "perm") or [3, 2, 1, 0]
        return _Carrier(permutation.index(carrier.axis), carrier.positions, carrier.is_padded)
    if node.op_type == "Slice":
        axes = graph.constant_input(node, 3)
        if axes is None or carrier.axis in [int(axis) % 4 for axis in axes]:
            return None
        return carrier
    if node.op_type == "Pad":
        pads, value = graph.constant_input(node, 1), graph.constant_input(node, 2)
        zeros = attribute(node, "mode", "constant") == "constant" and (value is None or not np.any(value))
        computed = len(node.input) > 2 and node.input[2] and value is None
        if (
            pads is None
            or len(pads) != 8
            or not zeros
            or computed
            or pads[carrier.axis]
            or pads[carrier.axis + 4]
        ):
            return None
        return _Carrier(carrier.axis, carrier.positions, True)
    return None
