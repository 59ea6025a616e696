# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Graphs in half precision raised to single precision: the passes calibrate, train and round in the latter.

Every number of half precision is one of single precision, so the raised graph computes what the file stands
for, without the rounding (2^-11 of each result) and the overflow beyond 65504 of half precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ad_compressed_perception.onnx_graph.graph import remove_nodes
from ad_compressed_perception.onnx_graph.subgraphs import rename_tensors
from ad_compressed_perception.onnx_graph.walk import all_graphs

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto, TypeProto

_TYPE_ATTRIBUTES = ("to", "dtype", "stash_type")


def raise_to_float32(model: ModelProto) -> int:
    """Raise weights, inputs, outputs and casts of float16 and bfloat16 to float32, in place.

    Returns:
        How many tensors and casts were raised; 0 where the graph has none.
    """
    from onnx import AttributeProto, TensorProto

    halves = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
    count = 0
    for graph in all_graphs(model.graph):
        for tensor in graph.initializer:
            count += _raise_tensor(tensor)
        for value in (*graph.input, *graph.output, *graph.value_info):
            count += _raise_type(value.type)
        for node in graph.node:
            for entry in node.attribute:
                if entry.type == AttributeProto.TENSOR:
                    count += _raise_tensor(entry.t)
                elif (
                    entry.type == AttributeProto.INT and entry.name in _TYPE_ATTRIBUTES and entry.i in halves
                ):
                    entry.i = TensorProto.FLOAT
                    count += 1
    if count:
        _drop_idle_casts(model)
    return count


def _raise_tensor(tensor: TensorProto) -> int:
    from onnx import TensorProto, numpy_helper

    if tensor.data_type not in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        return 0
    values = numpy_helper.to_array(tensor).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return 1


def _raise_type(kind: TypeProto) -> int:
    from onnx import TensorProto

    if kind.HasField("sequence_type"):
        return _raise_type(kind.sequence_type.elem_type)
    if kind.HasField("optional_type"):
        return _raise_type(kind.optional_type.elem_type)
    tensor = kind.tensor_type
    if not kind.HasField("tensor_type") or tensor.elem_type not in (
        TensorProto.FLOAT16,
        TensorProto.BFLOAT16,
    ):
        return 0
    tensor.elem_type = TensorProto.FLOAT
    return 1


def _drop_idle_casts(model: ModelProto) -> None:
    """Remove casts to float32 of what is float32 already, in place; those that make an output stay."""
    import onnx
    from onnx import TensorProto

    inferred = onnx.shape_inference.infer_shapes(model).graph
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        kinds.setdefault(value.name, value.type.tensor_type.elem_type)
    outputs = {value.name for value in model.graph.output}
    idle, same = [], dict[str, str]()
    for node in model.graph.node:
        if node.op_type != "Cast" or node.output[0] in outputs:
            continue
        to = next((entry.i for entry in node.attribute if entry.name == "to"), None)
        if to == kinds.get(node.input[0]) == TensorProto.FLOAT:
            idle.append(node)
            same[node.output[0]] = same.get(node.input[0], node.input[0])
    remove_nodes(model, idle)
    del model.graph.value_info[:]
    rename_tensors(model.graph, same)
