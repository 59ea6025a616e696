# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Channels whose bias does not fit into the 32-bit integer that a quantizer stores it in.

The scale of an integer bias is its operator's input scale times the channel's weight scale (Jacob et al.,
CVPR 2018, section 2.4). A channel with weights of nearly 0 has a scale of nearly 0, so its bias is clipped: a
network that gives one class a constant score loses that class. A weight just large enough for the bias keeps
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from ad_compressed_perception.onnx_graph.graph import Graph, attribute

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_WEIGHT, _BIAS = 1, 2
_LARGEST: Final = 2.0**30
"""Half of what 32 bits hold: the accumulator has the products beside the bias."""
_WEIGHT_STEPS, _INPUT_STEPS = 127, 255


def keep_biases(model: ModelProto, ranges: Mapping[str, tuple[float, float]]) -> list[str]:
    """Raise one weight of each channel whose bias would be clipped, in place; return the operators' names.

    An output changes by less than 1e-4 of the channel's bias: the weight times the largest input.

    Args:
        model: a float graph.
        ranges: least and largest value of tensors; an operator whose input is missing stays as it is.
    """
    graph = Graph(model)
    changed = []
    for node in graph.nodes:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm") or len(node.input) <= _BIAS:
            continue
        weights, bias = (graph.constant(node.input[place]) for place in (_WEIGHT, _BIAS))
        axis = _channel_axis(node)
        if node.input[0] not in ranges or weights is None or bias is None or axis is None:
            continue
        low, high = ranges[node.input[0]]
        input_scale = (max(high, 0.0) - min(low, 0.0)) / _INPUT_STEPS
        channels = np.moveaxis(weights, axis, 0).copy()
        if not input_scale or bias.size != len(channels):
            continue
        least = np.abs(bias.ravel()) * _WEIGHT_STEPS / (input_scale * _LARGEST)
        clipped = np.flatnonzero(np.abs(channels).reshape(len(channels), -1).max(axis=1) < least)
        if not len(clipped):
            continue
        for channel in clipped:
            channels[channel].flat[np.abs(channels[channel]).argmax()] = least[channel]
        kept = np.moveaxis(channels, 0, axis)
        node.input[_WEIGHT] = graph.add_constant(f"{node.input[_WEIGHT]}/{node.name}", kept)
        changed.append(node.name)
    return changed


def _channel_axis(node: NodeProto) -> int | None:
    """Return the axis of the weights that counts output channels; None where groups share it."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1 if attribute(node, "group", 1) == 1 else None
    return 0 if attribute(node, "transB", 0) else 1
