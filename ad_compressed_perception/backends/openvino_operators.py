# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Operators that OpenVINO computes otherwise than ONNX defines them, without a word: they are refused."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ad_compressed_perception.core.errors import BackendError

if TYPE_CHECKING:
    from onnx import ModelProto

_ONE_AXIS: Final = 13
"""From this operator set on, Softmax runs over one axis; before, over all from its axis on."""


def refuse_old_softmax(model: ModelProto, path: Path) -> None:
    """Raise BackendError where a Softmax before operator set 13 runs over several axes.

    OpenVINO 2026.4 takes its first one only: results are off by up to 1.

    Args:
        model: the graph; its shapes are inferred only where it has such an operator.
        path: of the file, for the error.
    """
    opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), _ONE_AXIS)
    nodes = [node for node in model.graph.node if node.op_type == "Softmax" and not node.domain]
    if opset >= _ONE_AXIS or not nodes:
        return
    from onnx.shape_inference import infer_shapes

    graph = infer_shapes(model).graph
    shapes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    for node in nodes:
        shape = shapes.get(node.output[0], [])
        axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
        behind = shape[axis + 1 :] if axis >= 0 else shape[len(shape) + axis + 1 :]
        if prod(behind) != 1:
            raise BackendError(
                f"openvino computes Softmax {node.name or node.output[0]!r} of {path} over one axis, "
                f"operator set {opset} means all from axis {axis} on: compress the model with the "
                "recipe optimize, which writes it in a newer set, or run it on onnxruntime"
            )
