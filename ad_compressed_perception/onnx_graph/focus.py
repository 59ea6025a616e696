# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rewrite a space-to-depth stem (four strided slices, Concat, Conv) as one convolution.

A slice with step 2 that starts at (dy, dx) holds the pixels (2 i + dy, 2 j + dx). A convolution with a
k x k kernel, stride s and padding p over the concatenated slices is therefore identical to one over
the image with a 2k x 2k kernel, stride 2 s and padding 2 p:

    W'[o, c, 2 y + dy, 2 x + dx] = W[o, n C + c, y, x]    for slice n = (dy, dx) and C color channels

and 0 where no slice has that start. The multiplications are the same; the copies of the slices are saved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.onnx_graph.graph import Graph, Shape, attribute, remove_dead, tensor_shapes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_STEP = 2
_TO_THE_END = 2**31 - 1


def rewrite_focus_stems(model: ModelProto) -> list[str]:
    """Replace the space-to-depth stems of a graph, in place; return the names of their convolutions."""
    graph = Graph(model)
    stems = find_focus_stems(graph)
    for stem in stems:
        _rewrite(graph, stem)
    remove_dead(model)
    return [stem.convolution.name or stem.convolution.output[0] for stem in stems]


@dataclass(frozen=True)
class FocusStem:
    """A space-to-depth stem found in a graph.

    Attributes:
        source: the tensor that is sliced, (1, C, H, W).
        offsets: (dy, dx) of each slice, in the order of concatenation.
        concat: the node that concatenates them.
        convolution: the only consumer of the result.
    """

    source: str
    offsets: tuple[tuple[int, int], ...]
    concat: NodeProto
    convolution: NodeProto


def find_focus_stems(graph: Graph) -> list[FocusStem]:
    """Return the space-to-depth stems whose result has one plain convolution as its only consumer."""
    stems = []
    shapes = tensor_shapes(graph.model)
    for node in graph.model.graph.node:
        if node.op_type != "Concat" or attribute(node, "axis") != 1:
            continue
        convolution = graph.only_consumer(node.output[0])
        if convolution is None or not _is_plain(graph, convolution, node.output[0]):
            continue
        found = [_offsets(graph, shapes, name) for name in node.input]
        if len(found) != _STEP * _STEP or any(part is None for part in found):
            continue
        sources = {part[0] for part in found if part}
        offsets = tuple(part[1] for part in found if part)
        if len(sources) == 1 and len(set(offsets)) == len(found):
            stems.append(FocusStem(sources.pop(), offsets, node, convolution))
    return stems


def _is_plain(graph: Graph, node: NodeProto, data: str) -> bool:
    weight = graph.constant_input(node, 1)
    return (
        node.op_type == "Conv"
        and node.input[0] == data
        and weight is not None
        and weight.ndim == 4
        and weight.shape[1] % (_STEP * _STEP) == 0
        and attribute(node, "group", 1) == 1
        and set(attribute(node, "dilations", [1])) == {1}
        and attribute(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")
    )


def _offsets(graph: Graph, shapes: dict[str, Shape], name: str) -> tuple[str, tuple[int, int]] | None:
    """Follow slices with step 2 upwards; return their source tensor and the row and column they start at."""
    starts: dict[int, int] = {}
    while (node := graph.producers.get(name)) is not None and node.op_type == "Slice" and len(starts) < 2:
        values = [graph.constant_input(node, index) for index in range(1, 5)]
        if any(value is None for value in values):
            return None
        begins, ends, axes, steps = (value.tolist() for value in values if value is not None)
        for begin, end, axis, step in zip(begins, ends, axes, steps, strict=True):
            place = axis + 4 if axis < 0 else axis
            if place not in (2, 3) or place in starts or step != _STEP or begin not in (0, 1):
                return None
            shape = shapes.get(node.input[0], ())
            size = shape[place] if place < len(shape) else None
            if end < (_TO_THE_END if size is None else size):
                return None
            starts[place] = begin
        name = node.input[0]
    return (name, (starts[2], starts[3])) if len(starts) == 2 else None


def spread_weight(weight: NDArray[Any], offsets: tuple[tuple[int, int], ...]) -> NDArray[Any]:
    """Return the (O, C, 2k, 2k) kernel over the image for an (O, 4C, k, k) one over slices."""
    outputs, joined, height, width = weight.shape
    colors = joined // len(offsets)
    spread = np.zeros((outputs, colors, _STEP * height, _STEP * width), weight.dtype)
    for index, (row, column) in enumerate(offsets):
        part = weight[:, index * colors : (index + 1) * colors]
        spread[:, :, row::_STEP, column::_STEP] = part
    return spread


def _rewrite(graph: Graph, stem: FocusStem) -> None:
    from onnx import helper

    node = stem.convolution
    weight = graph.constant_input(node, 1)
    assert weight is not None  # find_focus_stems saw it
    strides = [_STEP * stride for stride in attribute(node, "strides", [1, 1])]
    pads = [_STEP * pad for pad in attribute(node, "pads", [0, 0, 0, 0])]
    spread = spread_weight(weight, stem.offsets)
    name = graph.add_constant(f"{node.input[1]}_spread", spread)
    kept = [
        entry for entry in node.attribute if entry.name not in ("strides", "pads", "kernel_shape", "auto_pad")
    ]
    replaced = {"strides": strides, "pads": pads, "kernel_shape": list(spread.shape[2:])}
    attributes = [*kept, *(helper.make_attribute(key, value) for key, value in replaced.items())]
    del node.attribute[:]
    node.attribute.extend(attributes)
    node.input[0], node.input[1] = stem.source, name
