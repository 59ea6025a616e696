# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rewrite a segmenter's final linear upsampling as a 3 x 3 convolution and DepthToSpace.

Linear resizing by an integer factor f samples pixel ``f i + p`` at ``i + (p + 0.5) / f - 0.5`` of the coarse
map (half-pixel centers): between two of three neighbors, with the same weights for every i:

    W[(p f + q) C + c, c] = k_p k_q^T,   k_p = max(0, 1 - |(p + 0.5) / f - 0.5 - d|)  for d = -1, 0, 1

is a 3 x 3 convolution from C to f^2 C channels, and DepthToSpace (mode DCR) lays them out. Beyond the border
the convolution sees zeros where the resize repeats the last pixel: there all classes are scaled by the same
positive factor, and their argmax stays the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.graph import (
    Graph,
    Shape,
    attribute,
    label,
    remove_dead,
    tensor_shapes,
)

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

# Above this, the multiplications cost more than any resize.
_MAX_CHANNELS = 256


def upsampling_weight(classes: int, factor: int) -> NDArray[np.float32]:
    """Return the (f^2 C, C, 3, 3) kernel for C classes and factor f."""
    places = (np.arange(factor) + 0.5) / factor - 0.5
    kernels = np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.array([-1.0, 0.0, 1.0])))
    weight = np.zeros((factor, factor, classes, classes, 3, 3))
    for own in range(classes):
        weight[:, :, own, own] = kernels[:, None, :, None] * kernels[None, :, None, :]
    return weight.reshape(factor * factor * classes, classes, 3, 3).astype(np.float32)


def upsample_by_convolution(model: ModelProto, name: str) -> int:
    """Rewrite the upsampling that makes an output, in place; return its factor.

    Raises:
        ModelFileError: the output does not come from a linear upsampling by an integer factor.
    """
    from onnx import helper

    graph = Graph(model)
    resize = graph.producers.get(name)
    classes, factor = _channels_and_factor(resize, name, tensor_shapes(model))
    assert resize is not None
    weight = graph.add_constant(f"{name}_upsampling", upsampling_weight(classes, factor))
    spread = graph.new_name(f"{name}_spread")
    convolution = helper.make_node(
        "Conv", [resize.input[0], weight], [spread], graph.new_name("upsampling"),
        kernel_shape=[3, 3], pads=[1, 1, 1, 1],
    )  # fmt: skip
    lay_out = helper.make_node(
        "DepthToSpace", [spread], [name], graph.new_name("lay_out"), blocksize=factor, mode="DCR"
    )
    graph.insert_before(resize, [convolution, lay_out])
    model.graph.node.remove(resize)
    remove_dead(model)
    return factor


def _channels_and_factor(node: NodeProto | None, name: str, shapes: dict[str, Shape]) -> tuple[int, int]:
    """Return the classes and the factor of a Resize; raise ModelFileError for any other node."""
    producer = label(node) if node is not None else "the input"
    refusal = ModelFileError(
        f"the output {name!r} comes from {producer}, not from a linear upsampling by an integer factor with "
        "half-pixel centers: leave upsample_to_conv out"
    )
    if node is None or node.op_type != "Resize" or attribute(node, "mode", "nearest") != "linear":
        raise refusal
    if attribute(node, "coordinate_transformation_mode", "half_pixel") != "half_pixel":
        raise refusal
    before, after = (shapes.get(one, ()) for one in (node.input[0], name))
    if len(before) != 4 or len(after) != 4 or None in (*before, *after):
        raise refusal
    (_, classes, height, width), (_, _, rows, columns) = before, after
    assert classes and height and width and rows and columns
    factor = rows // height
    is_integer = factor >= 2 and (rows, columns) == (factor * height, factor * width)
    if not is_integer or factor * factor * classes > _MAX_CHANNELS:
        raise refusal
    return classes, factor
