# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which part of a graph is trained: all but the operators at its end that have no gradient.

Behind the last products (Conv, ConvTranspose, Gemm, MatMul with weights) a graph may decode, select and
suppress: TopK, NonMaxSuppression, ArgMax, branches, operators of other domains. Training ends before the
first of them, and its targets are the tensors that they read. They stay in the file as they are and read the
trained tensors there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.graph import attribute, label
from ad_compressed_perception.onnx_graph.walk import read_names

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
# They read their input's shape only.
_OF_SHAPE = ("Shape", "Size")
_DOMAINS = ("", "ai.onnx", "com.microsoft")
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class TrainedPart:
    """The part of a graph that is trained.

    Attributes:
        nodes: it runs, in order.
        outputs: it gives: those of the graph, then what the nodes left out read.
    """

    nodes: tuple[NodeProto, ...]
    outputs: tuple[str, ...]


def trained_part(model: ModelProto, known: Collection[str]) -> TrainedPart:
    """Return the part of a graph before the operators that training cannot run.

    Args:
        model: without Constant nodes; nodes in topological order.
        known: operators that training can run.

    Raises:
        ModelFileError: weights are behind such an operator, or none before it.
    """
    graph = model.graph
    arrays = {tensor.name: tensor for tensor in graph.initializer}
    computed = {value.name for value in graph.input} - arrays.keys()
    left_out: dict[str, NodeProto] = {}  # the first operator that a tensor is left out for
    trained: set[str] = set()
    nodes: list[NodeProto] = []
    targets: list[str] = []
    for node in graph.node:
        cause = next((left_out[name] for name in read_names(node) if name in left_out), None)
        if cause is None and not _is_known(node, known, computed):
            cause = node
        if not computed.isdisjoint(read_names(node)):
            computed.update(node.output)
        if cause is None:
            nodes.append(node)
            if _has_weights(node, arrays, computed) or not trained.isdisjoint(node.input):
                trained.update(node.output)
        else:
            if _has_weights(node, arrays, computed):
                raise _refusal(cause, known, f", which {label(node)} depends on")
            left_out.update(dict.fromkeys(node.output, cause))
            if node.op_type not in _OF_SHAPE:
                targets += read_names(node)
    outputs = [value.name for value in graph.output if value.name not in left_out]
    read = [name for name in dict.fromkeys(targets) if name in trained and name not in outputs]
    outputs += _not_derived(read, nodes, arrays, computed)
    if left_out and not any(name in trained for name in outputs):
        raise _refusal(next(iter(left_out.values())), known, "")
    return TrainedPart(tuple(nodes), tuple(outputs))


def _not_derived(
    names: list[str], nodes: list[NodeProto], arrays: Mapping[str, TensorProto], computed: set[str]
) -> list[str]:
    """Return the names without those computed from others of them alone, which need no target."""
    derived: set[str] = set()
    for node in nodes:
        given = computed.intersection(node.input)
        if given and given <= derived.union(names) and not _has_weights(node, arrays, computed):
            derived.update(node.output)
    return [name for name in names if name not in derived]


def _is_known(node: NodeProto, known: Collection[str], computed: set[str]) -> bool:
    if node.domain not in _DOMAINS or node.op_type not in known:
        return False
    # What an integer is computed to has no gradient; casts of constants are arithmetic of shapes.
    return node.op_type != "Cast" or attribute(node, "to") in _FLOATS or computed.isdisjoint(node.input)


def _has_weights(node: NodeProto, arrays: Mapping[str, TensorProto], computed: set[str]) -> bool:
    """Return whether a node is a product with constants, quantized ones too, that are not arithmetic."""
    if node.op_type not in _PRODUCTS or computed.issuperset(filter(None, node.input)):
        return False
    constant = next((arrays[name] for name in node.input if name in arrays), None)
    return constant is None or not is_arithmetic(node.op_type, numpy_helper.to_array(constant))


def is_arithmetic(operator: str, values: NDArray[Any]) -> bool:
    """Return whether the constants of a product are arithmetic of decoding, which training leaves as it is.

    The mean of a distribution over equidistant bins, a single output (Li et al., Generalized Focal Loss,
    NeurIPS 2020), and matrices that convert boxes from centers and sizes to corners.
    """
    flat = values.reshape(-1).astype(np.float64)
    columns = (
        values.shape[-1] if operator == "MatMul" and values.ndim > 1 else len(values) if values.ndim else 0
    )
    if flat.size >= 4 and (columns == 1 or values.ndim == 1):
        steps = np.diff(flat)
        if abs(steps[0]) > 0.0 and np.allclose(steps, steps[0], rtol=1e-4, atol=0.0):
            return True
    return (
        operator == "MatMul" and values.shape == (4, 4) and bool(np.isin(np.abs(flat), (0.0, 0.5, 1.0)).all())
    )


def _refusal(node: NodeProto, known: Collection[str], why: str) -> ModelFileError:
    return ModelFileError(
        f"training cannot run operator {node.op_type} of node {node.name or node.output[0]!r}{why}: "
        "leave the passes that train out, or keep that operator out of the exported network; "
        f"known are {', '.join(sorted(known))}"
    )
