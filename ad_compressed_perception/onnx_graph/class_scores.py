# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Remove the operators after the class scores that do not change the decoder's argmax.

The strongest class of a pixel is the same before and after any function that keeps the order of the
classes, so a final softmax or sigmoid has no effect:
``argmax_c exp(s_c) / sum_k exp(s_k) = argmax_c s_c``. A change of layout is done by the decoder instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ad_compressed_perception.onnx_graph.graph import Graph, attribute, label, remove_dead
from ad_compressed_perception.onnx_graph.io import opset_of

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

# Softmax normalizes along its axis alone from this opset on; before, it flattened all axes from that one on.
_SOFTMAXES = ("Softmax", "LogSoftmax")
_SOFTMAX_ONE_AXIS = 13
CLASS_AXIS = {"NCHW": 1, "NHWC": 3}


def drop_tail(model: ModelProto, name: str, layout: str, *, upsampling: bool) -> tuple[list[str], str]:
    """Remove final nodes that do not change the argmax; return their labels and the new layout."""
    dropped: list[str] = []
    while True:
        graph = Graph(model)
        node = graph.producers.get(name)
        if node is None or graph.consumers.get(name) or len(node.output) != 1:
            return dropped, layout
        transposed = _transposed_softmax(graph, node, layout)
        source = (transposed[-1] if transposed else node).input[0]
        producer = graph.producers.get(source)
        at_end = producer is None or source in graph.outputs
        if at_end or not (transposed or _keeps_argmax(node, layout, opset_of(model), upsampling)):
            return dropped, layout
        if node.op_type == "Transpose" and not transposed:
            layout = "NCHW" if layout == "NHWC" else "NHWC"
        dropped += [label(one) for one in transposed or [node]]
        # The node's input takes the output's name, so the manifest still finds it.
        node.output[0] = graph.new_name(f"{name}_dropped")
        graph.replace_uses(source, name)
        assert producer is not None
        for index, produced in enumerate(producer.output):
            if produced == source:
                producer.output[index] = name
        remove_dead(model)


def _transposed_softmax(graph: Graph, node: NodeProto, layout: str) -> list[NodeProto]:
    """Return Transpose, Softmax over the classes, Transpose back, as exporters write it below opset 13.

    That Softmax flattens all axes from its own on, so exporters transpose the classes to the last axis.
    """
    chain = [node]
    for kinds in (_SOFTMAXES, ("Transpose",)):
        before = graph.producers.get(chain[-1].input[0])
        alone = before is not None and graph.only_consumer(before.output[0]) is not None
        if before is None or not alone or before.op_type not in kinds:
            return []
        chain.append(before)
    last, first = attribute(node, "perm", []), attribute(chain[2], "perm", [])
    along = attribute(chain[1], "axis", -1) % 4
    if node.op_type != "Transpose" or len(last) != 4 or [first[axis] for axis in last] != [0, 1, 2, 3]:
        return []
    return chain if along == 3 and first[along] == CLASS_AXIS[layout] else []


def _keeps_argmax(node: NodeProto, layout: str, opset: int, upsampling: bool) -> bool:
    axis = CLASS_AXIS[layout]
    if node.op_type in _SOFTMAXES:
        newer = opset >= _SOFTMAX_ONE_AXIS
        along = attribute(node, "axis", -1 if newer else 1) % 4
        return bool(along == axis if newer else along <= axis)
    if node.op_type == "Transpose":
        permutation = [0, 3, 1, 2] if layout == "NCHW" else [0, 2, 3, 1]
        return bool(attribute(node, "perm") == permutation)
    if node.op_type == "Resize":
        # Cubic resizes may overshoot and cropping ones cut pixels: neither is removed.
        mode = attribute(node, "mode", "nearest")
        crops = attribute(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
        return upsampling and mode in ("nearest", "linear") and not crops
    return node.op_type in ("Sigmoid", "Identity")


def append_argmax(model: ModelProto, name: str, axis: int) -> None:
    """End an output in label ids, uint8, in place."""
    from onnx import TensorProto, helper

    graph = Graph(model)
    scores, ids = graph.new_name(f"{name}_scores"), graph.new_name(f"{name}_ids")
    producer = graph.producers[name]
    producer.output[list(producer.output).index(name)] = scores
    graph.replace_uses(name, scores)
    model.graph.node.extend(
        [
            helper.make_node("ArgMax", [scores], [ids], graph.new_name("argmax"), axis=axis, keepdims=0),
            helper.make_node("Cast", [ids], [name], graph.new_name("label_ids"), to=TensorProto.UINT8),
        ]
    )
    for value in model.graph.output:
        if value.name == name:
            value.type.tensor_type.elem_type = TensorProto.UINT8
