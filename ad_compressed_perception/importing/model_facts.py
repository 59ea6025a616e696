# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is known of a model file without running it: tensors, metadata, beginning and end of its graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.importing.exporter_metadata import ExporterMetadata, read_metadata
from ad_compressed_perception.onnx_graph.graph import Graph

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

# Between a graph's last computing operator and its output these only move numbers.
_MOVING = frozenset(
    ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast", "Slice", "Gather")
)
_PRODUCTS = frozenset(("Conv", "MatMul", "Gemm", "ConvTranspose", "ConvInteger", "QLinearConv"))
_ARITHMETIC = frozenset(("Mul", "Div", "Sub", "Add", "BatchNormalization"))
_SUPPRESSION = ("NonMaxSuppression", "EfficientNMS", "BatchedNMS", "NMS")
_MOST_STEPS = 64


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model before it runs.

    Attributes:
        inputs: its input tensors.
        outputs: its output tensors.
        metadata: what its exporter wrote.
        ends_in: output's name to the operators that make it, the last computing ones; several behind a
            concatenation.
        normalizes: whether the graph scales plain pixels itself before its first product.
        suppression: name of the operator that suppresses boxes; empty where there is none.
        operators: kinds of operators.
        network: name of a network whose layers are recognized; empty for others.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metadata: ExporterMetadata = field(default_factory=ExporterMetadata)
    ends_in: Mapping[str, frozenset[str]] = field(default_factory=dict)
    normalizes: bool = False
    suppression: str = ""
    operators: frozenset[str] = frozenset()
    network: str = ""

    def has_probabilities(self, output: str) -> bool:
        """Return whether the graph ends this output in a sigmoid or a softmax."""
        return bool(self.ends_in.get(output, frozenset()) & {"Sigmoid", "Softmax", "HardSigmoid"})


def facts_of(
    model: ModelProto | None, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> ModelFacts:
    """Return the facts of a model; of its tensors only where it is no ONNX model (None)."""
    if model is None:
        return ModelFacts(inputs, outputs)
    graph = Graph(model)
    kinds = frozenset(node.op_type for node in graph.nodes)
    suppressing = [kind for kind in kinds if any(word in kind for word in _SUPPRESSION)]
    return ModelFacts(
        inputs,
        outputs,
        read_metadata(model),
        {output.name: _last_operators(graph, output.name) for output in outputs},
        _normalizes(graph, inputs[0].name if inputs else ""),
        min(suppressing, default=""),
        kinds,
        "yolox" if _is_yolox(graph) else "",
    )


def _is_yolox(graph: Graph) -> bool:
    """Return whether a graph has YOLOX's layers: a Focus stem, and heads of 4 and of 1 channels per stride.

    A Focus stem puts every second pixel of every second row into channels of its own, four slices that are
    joined (Ge et al., YOLOX, 2021; models/network_blocks.py). Its box and objectness heads are
    convolutions of their own.
    """
    channels = {name: tensor.dims[0] for name, tensor in graph.weights.items() if len(tensor.dims) == 4}
    first = next((index for index, node in enumerate(graph.nodes) if node.op_type == "Conv"), 0)
    slices = sum(node.op_type == "Slice" for node in graph.nodes[:first])
    heads = [channels.get(node.input[1], 0) for node in graph.nodes if node.op_type == "Conv"]
    return slices >= 4 and heads.count(4) >= 3 and heads.count(4) == heads.count(1)


def _last_operators(graph: Graph, output: str) -> frozenset[str]:
    found: set[str] = set()
    waiting, steps = [output], 0
    while waiting and steps < _MOST_STEPS:
        node = graph.producers.get(waiting.pop())
        steps += 1
        if node is None:
            continue
        if node.op_type in _MOVING:
            waiting.extend(node.input[:1])
        elif node.op_type == "Concat":
            waiting.extend(node.input)
        else:
            found.add(node.op_type)
    return frozenset(found)


def _normalizes(graph: Graph, image: str) -> bool:
    """Return whether the graph scales plain pixels itself: by a factor below 0.1, or a mean above 10."""
    name = image
    for _ in range(_MOST_STEPS):
        following = graph.consumers.get(name, [])
        if len(following) != 1 or following[0].op_type in _PRODUCTS:
            return False
        node = following[0]
        if node.op_type in _ARITHMETIC:
            return _takes_pixels(node, graph)
        name = node.output[0]
    return False


def _takes_pixels(node: NodeProto, graph: Graph) -> bool:
    known = [values for name in node.input if (values := graph.constant(name)) is not None]
    if not known or known[0].size > 16 or not known[0].size:
        return False
    size = float(np.abs(known[0].astype(np.float64)).max())
    if node.op_type == "Mul":
        return 0.0 < size < 0.1
    return node.op_type in ("Div", "Sub", "Add") and size > 10.0
