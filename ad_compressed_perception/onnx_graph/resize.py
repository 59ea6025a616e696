# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A graph for another input size, weights untouched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.onnx_graph.graph import Graph, remove_dead, tensor_shapes
from ad_compressed_perception.onnx_graph.grid_constants import stated_size
from ad_compressed_perception.onnx_graph.io import opset_of, pin_input_shape
from ad_compressed_perception.onnx_graph.spatial_constants import Scaling, refuse, scale_node

if TYPE_CHECKING:
    from onnx import ModelProto


def resize_graph(model: ModelProto, old: InputSpec, new: InputSpec) -> list[str]:
    """Give a graph an input of another size, in place; return the labels of the nodes edited.

    Raises:
        ModelFileError: an operator only works at the present size; it is named.
    """
    stating = stated_size(Graph(model), (old.height, old.width))
    if stating is not None:
        raise refuse(stating, f"computes with the sides of the present input, {old.width}x{old.height}")
    pin_input_shape(model, old)
    before = tensor_shapes(model)
    _set_input(model, new)
    heights, widths = (old.height, new.height), (old.width, new.width)
    scaling = Scaling(Graph(model), opset_of(model), before, heights, widths, [])
    for node in list(model.graph.node):
        scale_node(scaling, node)
    remove_dead(model)
    return list(dict.fromkeys(scaling.edited))


def resized_spec(spec: InputSpec, width: int, height: int) -> InputSpec:
    """Return the input of another size; the resize before a crop is scaled by the same factor."""
    update = {"width": width, "height": height}
    if spec.resize == "crop":
        update["resize_width"] = max(width, round((spec.resize_width or spec.width) * width / spec.width))
        update["resize_height"] = max(
            height, round((spec.resize_height or spec.height) * height / spec.height)
        )
    return spec.model_copy(update=update)


def _set_input(model: ModelProto, spec: InputSpec) -> None:
    dimensions = model.graph.input[0].type.tensor_type.shape.dim
    for dimension, size in zip(dimensions, spec.shape, strict=True):
        dimension.dim_value = size
    del model.graph.value_info[:]
