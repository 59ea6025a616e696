# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detection heads, found in the graph: where values of different meaning share one tensor.

A tensor has one scale. Where a Concat joins boxes in pixels and scores in 0..1, the step that the boxes
need leaves the scores only the values 0 and 1. The same holds for a Split, Slice or Gather that takes
values of different meaning from the output of one compute op (Conv or MatMul), and for a Mul or Div by
constants that differ from channel to channel (pixels for the boxes, 1 for the scores). Arithmetic that
decodes boxes (an exponential, a grid's cells added, a selection of the strongest) leaves pixels of which 8
bits keep every second or third. The operators after the last compute ops are cheap, so they stay in float.
Heads that decode boxes by a convolution (distribution focal loss: Li et al., "Generalized Focal Loss",
NeurIPS 2020) concatenate and split before it; those operators stay in float where the ranges differ by more
than four of eight bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.onnx_graph.graph import Graph
from ad_compressed_perception.onnx_graph.qdq import COMPUTE_OPS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

CONCATENATING = ("Concat",)
SPLITTING = ("Split", "Slice", "Gather")
SCALING = ("Mul", "Div")
DECODING = ("Exp", "TopK", "NonMaxSuppression")
_ARITHMETIC = ("Add", "Sub", "Mul", "Div")
_FEWEST_CELLS = 16
MAX_RANGE_RATIO = 4.0
_MAX_INNER_RANGE_RATIO = 16.0
# Operators that change neither values nor the meaning of a scale.
_LAYOUT = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast")


@dataclass(frozen=True)
class Heads:
    """The head of a graph: the operators after its last compute ops.

    Attributes:
        head: names of the operators after the last compute ops, in order of execution.
        concat_points: names of those that concatenate, split or make values of different meaning, or decode.
        shared: outputs of compute ops that hold values of different meaning.
        head_inputs: tensors that the head reads: outputs of compute ops or their inputs.
        inner: names of the operators before a compute op that join values of different meaning and split
            them again: from the Concat to the Split.
    """

    head: tuple[str, ...]
    concat_points: tuple[str, ...]
    shared: tuple[str, ...]
    head_inputs: tuple[str, ...]
    inner: tuple[str, ...] = ()

    @property
    def need_protection(self) -> bool:
        """Whether a shared scale could destroy an output."""
        return bool(self.concat_points or self.inner)

    @property
    def float_nodes(self) -> tuple[str, ...]:
        """Names of the operators to leave in float where protection is needed."""
        return (*(self.head if self.concat_points else ()), *self.inner)


def find_heads(
    model: ModelProto,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    split_ratio: float = MAX_RANGE_RATIO,
) -> Heads:
    """Find the head of a graph whose nodes have names.

    Args:
        model: the float graph.
        ranges: least and largest value of tensors, where known. Outputs of equal operators whose
            ranges are within a factor of 4 (two of eight bits) count as one meaning.
        split_ratio: that factor for parts split from the output of one compute op, which then cannot run on
            integers.
    """
    graph = Graph(model)
    head = _head(graph)
    names = {node.name for node in head}
    concat_points: list[str] = []
    shared: list[str] = []
    for node in head:
        if node.op_type in CONCATENATING:
            parts = [name for name in node.input if name in graph.producers]
            kinds = {graph.producers[_origin(name, graph)].op_type for name in parts}
            if len(parts) > 1 and (len(kinds) > 1 or _ranges_differ(parts, ranges)):
                concat_points.append(node.name)
        elif (
            node.op_type in DECODING
            or _adds_cells(node, graph)
            or node.op_type in SCALING
            and _scales_unequally(node, graph)
        ):
            concat_points.append(node.name)
        elif node.op_type in SPLITTING and node.input[0] in graph.producers:
            parts = _parts_of(_origin(node.input[0], graph), graph)
            # Without ranges assume that the parts differ in meaning.
            if len(parts) > 1 and (ranges is None or _ranges_differ(parts, ranges, split_ratio)):
                concat_points.append(node.name)
                shared += [n for n in _compute_ops_behind(node.input[0], graph) if n not in shared]
    head_inputs = []
    for node in head:
        for name in node.input:
            source = graph.producers.get(name)
            inside = source is not None and source.name in names
            if name and name not in graph.weights and not inside and name not in head_inputs:
                head_inputs.append(name)
    inner = _inner_joints(graph, names, ranges)
    return Heads(
        tuple(node.name for node in head), tuple(concat_points), tuple(shared), tuple(head_inputs), inner
    )


def _inner_joints(
    graph: Graph, head: set[str], ranges: Mapping[str, tuple[float, float]] | None
) -> tuple[str, ...]:
    """Return the nodes from a Concat of very different ranges to the Split behind it, outside the head.

    A Concat that anything else than a Split, a Slice or the head reads joins features: they stay integers.
    """
    found: list[str] = []
    for node in graph.nodes:
        if node.op_type not in CONCATENATING or node.name in head:
            continue
        parts = [name for name in node.input if name in graph.producers]
        if len(parts) < 2 or not _ranges_differ(parts, ranges, _MAX_INNER_RANGE_RATIO):
            continue
        way = _way_to_splits(node, graph, head)
        found += [name for name in way if name not in found]
    return tuple(found)


def _way_to_splits(node: NodeProto, graph: Graph, head: set[str]) -> list[str]:
    """Return a Concat and the nodes behind it up to splitting ones; nothing where others read it."""
    way, waiting = [node.name], [node.output[0]]
    splits = False
    while waiting:
        for reader in graph.consumers.get(waiting.pop(), []):
            if reader.name in head or reader.name in way:
                continue
            if reader.op_type in SPLITTING:
                splits = True
            elif reader.op_type in (*_LAYOUT, *CONCATENATING):
                waiting.append(reader.output[0])
            else:
                return []
            way.append(reader.name)
    return way if splits else []


def _head(graph: Graph) -> list[NodeProto]:
    """Return the computing nodes that no compute op depends on."""
    feeding: set[str] = set()
    head = []
    for node in reversed(graph.nodes):
        if node.op_type in COMPUTE_OPS or feeding & set(node.output):
            feeding.update(node.input)
        elif node.op_type != "Constant":
            head.append(node)
    return head[::-1]


def _adds_cells(node: NodeProto, graph: Graph) -> bool:
    """Whether a node computes with a constant that has several numbers for each of many cells.

    A bias or a scale of channels has one axis of more than one number.
    """
    return node.op_type in _ARITHMETIC and any(
        values.size >= _FEWEST_CELLS and sum(size > 1 for size in values.shape) > 1
        for values in _constant_inputs(node, graph)
    )


def _scales_unequally(node: NodeProto, graph: Graph) -> bool:
    """Whether a node multiplies by constants that differ by more than four of eight bits."""
    import numpy as np

    for values in _constant_inputs(node, graph):
        sizes = np.abs(values.astype(np.float64))
        sizes = sizes[sizes > 0.0]
        if sizes.size > 1 and sizes.max() > _MAX_INNER_RANGE_RATIO * sizes.min():
            return True
    return False


def _constant_inputs(node: NodeProto, graph: Graph) -> list[NDArray[Any]]:
    """Return the constant inputs of a node, initializers and outputs of Constant nodes."""
    return [values for name in node.input if (values := graph.constant(name)) is not None]


def _origin(tensor: str, graph: Graph) -> str:
    """Follow a tensor back through operators that only rearrange values."""
    while (node := graph.producer(tensor, *_LAYOUT)) is not None and node.input[0] in graph.producers:
        tensor = node.input[0]
    return tensor


def _parts_of(tensor: str, graph: Graph) -> list[str]:
    """Return the tensors split from a tensor, through operators that only rearrange values."""
    reached, parts = {tensor}, []
    for node in graph.nodes:
        if node.input and node.input[0] in reached:
            if node.op_type in _LAYOUT:
                reached.add(node.output[0])
            elif node.op_type in SPLITTING:
                parts.extend(node.output)
    return parts


def _compute_ops_behind(tensor: str, graph: Graph) -> list[str]:
    """Return the compute ops whose outputs reach a tensor through nothing but layout operators and Concat."""
    source = _origin(tensor, graph)
    node = graph.producers[source]
    if node.op_type in COMPUTE_OPS:
        return [source]
    if node.op_type in CONCATENATING:
        parts = [name for name in node.input if name in graph.producers]
        return [found for name in parts for found in _compute_ops_behind(name, graph)]
    return []


def _ranges_differ(
    tensors: list[str],
    ranges: Mapping[str, tuple[float, float]] | None,
    ratio: float = MAX_RANGE_RATIO,
) -> bool:
    """Whether known ranges differ by more than a ratio: by default by more than two of eight bits."""
    if ranges is None or not all(name in ranges for name in tensors):
        return False
    spans = [max(abs(low), abs(high)) for low, high in (ranges[name] for name in tensors)]
    return max(spans) > ratio * min(spans)
