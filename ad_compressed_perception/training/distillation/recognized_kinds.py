# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the numbers of outputs are that no decoder declares, recognized by the operators around them.

An output that joins parts is trained part by part, each where it is computed. A Sigmoid computes
probabilities, a Softmax a distribution. What a product computes is read as logits where a Sigmoid follows, as
a distribution where ArgMax or Softmax does, as logarithms where Exp does. Arithmetic with an exponential, a
mean of bins or cells of a grid gives boxes; products, means and extremes of probabilities alone that are
within 0..1 are probabilities. All else are values.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ad_compressed_perception.onnx_graph.graph import Graph, attribute
from ad_compressed_perception.onnx_graph.qdq import COMPUTE_OPS
from ad_compressed_perception.tasks.output_kinds import Columns, Kind, OutputKinds
from ad_compressed_perception.training.graph_module.tail import is_arithmetic

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_SAME = ("Identity", "Cast", "QuantizeLinear", "DequantizeLinear", "Clip")
_LAYOUT = ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand")
_SELECTION = ("Split", "Slice", "Gather", "GatherElements", "GatherND", "TopK", "Resize")
_GATES = ("Sigmoid", "HardSigmoid")
_READ_AS: dict[str, Kind] = {
    **dict.fromkeys(_GATES, "logits"),
    **dict.fromkeys(("Softmax", "LogSoftmax", "ArgMax"), "distribution"),
    "Exp": "log_size",
}
_WITHIN = (
    *(*_SAME, *_LAYOUT, *_SELECTION, *_GATES, "Concat", "Mul", "Sqrt", "Where"),
    *("Min", "Max", "ReduceMin", "ReduceMax", "ReduceMean", "MaxPool", "AveragePool", "GlobalMaxPool"),
    *("GlobalAveragePool", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or"),
)
"""Of probabilities they make probabilities; a depth or a sum of scores would be cut off at 1."""
_FEWEST_CELLS = 16
_READERS = 8
"""Operators behind a product that are searched for how it is read."""


def recognized_kinds(
    model: ModelProto, name: str, in_teacher: Collection[str], shares: Collection[str]
) -> dict[str, OutputKinds]:
    """Return the tensors that an output, or what operators left out read, consists of, and their kinds.

    Args:
        model: the graph.
        name: of the output.
        in_teacher: names of the teacher's tensors; of those that differ in layout one of them is taken, since
            Q/DQ pairs rename what is before them.
        shares: names of tensors whose values are within 0..1: such columns of an output that joins boxes with
            results of a Sigmoid are those of the Sigmoid.
    """
    graph = Graph(model)
    found: dict[str, OutputKinds] = {}
    waiting = [name]
    while waiting:
        chosen = tensor = waiting.pop(0)
        node, is_known, has_moved = graph.producers.get(tensor), tensor in in_teacher, False
        while node is not None and node.op_type in (*_SAME, *_LAYOUT):
            tensor = node.input[0]
            if node.op_type in _LAYOUT:
                is_known, has_moved = False, True
            if tensor in in_teacher and not is_known:
                chosen, is_known, has_moved = tensor, True, False
            node = graph.producers.get(tensor)
        if node is not None and node.op_type == "Concat":
            waiting = [*node.input, *waiting]
        elif node is not None:
            kinds = _kinds(graph, tensor, node, shares)
            found[chosen] = OutputKinds(kinds.columns) if has_moved else kinds
    return found


def is_softmax(model: ModelProto, name: str) -> bool:
    """Return whether a tensor comes from a Softmax, layout changes and Q/DQ pairs aside."""
    graph = Graph(model)
    node = graph.producers.get(name)
    while node is not None and node.op_type in (*_SAME, *_LAYOUT):
        node = graph.producers.get(node.input[0])
    return node is not None and node.op_type == "Softmax"


def _kinds(graph: Graph, tensor: str, node: NodeProto, shares: Collection[str]) -> OutputKinds:
    if node.op_type in _GATES or (tensor in shares and _selects_gates(graph, node)):
        return OutputKinds((Columns("probability"),))
    if node.op_type == "Softmax":
        return OutputKinds((Columns("distribution"),), int(attribute(node, "axis", -1)))
    source: NodeProto | None = node
    while source is not None and source.op_type in (*_SAME, *_LAYOUT, *_SELECTION):
        source = graph.producers.get(source.input[0])
    if source is None or source.op_type not in COMPUTE_OPS:
        return OutputKinds((Columns(_arithmetic(graph, tensor, node, shares)),))
    waiting, seen = [tensor], 0
    while waiting and seen < _READERS:
        read = waiting.pop(0)
        for reader in graph.consumers.get(read, []):
            seen += 1
            if reader.op_type in _READ_AS:
                direct = read == tensor and reader.op_type not in (*_GATES, "Exp")
                axis = int(attribute(reader, "axis", 0 if reader.op_type == "ArgMax" else -1))
                return OutputKinds((Columns(_READ_AS[reader.op_type]),), axis if direct else None)
            if reader.op_type in (*_SAME, *_LAYOUT, *_SELECTION):
                waiting += reader.output
    return OutputKinds((Columns("value"),))


def _arithmetic(graph: Graph, tensor: str, node: NodeProto, shares: Collection[str]) -> Kind:
    """Return the kind of a result: of probabilities alone, of boxes, or of values."""
    waiting, seen = [node], {id(node)}
    gates, boxes, others = False, False, tensor not in shares
    while waiting:
        current = waiting.pop()
        boxes |= current.op_type == "Exp"
        others |= current.op_type not in _WITHIN
        for index, name in enumerate(current.input):
            constant = graph.constant_input(current, index)
            producer = graph.producers.get(name)
            if constant is not None:
                boxes |= constant.size >= _FEWEST_CELLS and sum(side > 1 for side in constant.shape) > 1
            elif producer is None or id(producer) in seen:
                continue
            elif producer.op_type in _GATES or (name in shares and _selects_gates(graph, producer)):
                gates = True
            elif producer.op_type in COMPUTE_OPS and not _is_mean_of_bins(graph, producer):
                others = True
            else:
                boxes |= producer.op_type in COMPUTE_OPS
                seen.add(id(producer))
                waiting.append(producer)
    return "pixel_box" if boxes else "probability" if gates and not others else "value"


def _selects_gates(graph: Graph, node: NodeProto) -> bool:
    """Return whether a node selects columns of something that a Sigmoid has a part in."""
    if node.op_type not in _SELECTION:
        return False
    waiting, seen = [node], {id(node)}
    while waiting:
        for name in waiting.pop().input:
            producer = graph.producers.get(name)
            if producer is not None and producer.op_type in _GATES:
                return True
            if producer is not None and producer.op_type not in COMPUTE_OPS and id(producer) not in seen:
                seen.add(id(producer))
                waiting.append(producer)
    return False


def _is_mean_of_bins(graph: Graph, node: NodeProto) -> bool:
    constants = [graph.constant_input(node, index) for index in range(len(node.input))]
    return any(one is not None and is_arithmetic(node.op_type, one) for one in constants)
