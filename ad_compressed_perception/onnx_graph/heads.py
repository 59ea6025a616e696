# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detection heads, found from the graph: where values of different meaning share one tensor.

A tensor has one scale. Where a Concat puts boxes in pixels beside scores in 0..1, the step that the
boxes need leaves the scores no values but 0 and 1. Likewise a Split, Slice or Gather that takes
values of different meaning out of one product: they shared that product's output. What follows the
last products is cheap, so it stays in float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ad_compressed_perception.onnx_graph.qdq import PRODUCTS

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

JOINING = ("Concat",)
PARTING = ("Split", "Slice", "Gather")
# These change neither values nor what a scale means.
_UNLIKE = 4.0
_MOVING = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast")


@dataclass(frozen=True)
class Heads:
    """The end of a graph.

    Attributes:
        tail: names of the operators after the last products, in order of execution.
        joints: names of those among them that join or part values of different meaning.
        shared: outputs of products out of which values of different meaning are taken.
        ends: tensors at which the tail begins: what products (or what feeds them) hand to it.
    """

    tail: tuple[str, ...]
    joints: tuple[str, ...]
    shared: tuple[str, ...]
    ends: tuple[str, ...]

    @property
    def need_protection(self) -> bool:
        """Whether a shared scale could destroy an output."""
        return bool(self.joints)


def find_heads(model: ModelProto, ranges: Mapping[str, tuple[float, float]] | None = None) -> Heads:
    """Find the tail of a graph whose nodes have names.

    Args:
        model: the float graph.
        ranges: least and largest value of tensors, where known. Values that the same operators made
            and whose ranges are within a factor of 4 (two of eight bits) are taken for one meaning.
    """
    graph = model.graph
    tail = _tail(graph)
    names = {node.name for node in tail}
    weights = {tensor.name for tensor in graph.initializer}
    producer = {name: node for node in graph.node for name in node.output if name}
    joints: list[str] = []
    shared: list[str] = []
    for node in tail:
        if node.op_type in JOINING:
            parts = [name for name in node.input if name in producer]
            kinds = {producer[_origin(name, producer)].op_type for name in parts}
            if len(parts) > 1 and (len(kinds) > 1 or _unlike(parts, ranges)):
                joints.append(node.name)
        elif node.op_type in PARTING and node.input[0] in producer:
            parts = _parts_of(_origin(node.input[0], producer), graph)
            # Without ranges the careful answer: what is taken apart may mean anything.
            if len(parts) > 1 and (ranges is None or _unlike(parts, ranges)):
                joints.append(node.name)
                shared += [n for n in _products_behind(node.input[0], producer) if n not in shared]
    ends = []
    for node in tail:
        for name in node.input:
            made = producer.get(name)
            inside = made is not None and made.name in names
            if name and name not in weights and not inside and name not in ends:
                ends.append(name)
    return Heads(tuple(node.name for node in tail), tuple(joints), tuple(shared), tuple(ends))


def _tail(graph: GraphProto) -> list[NodeProto]:
    """Return the nodes that compute and that no product depends on."""
    feeding: set[str] = set()
    tail = []
    for node in reversed(graph.node):
        if node.op_type in PRODUCTS or feeding & set(node.output):
            feeding.update(node.input)
        elif node.op_type != "Constant":
            tail.append(node)
    return tail[::-1]


def _origin(tensor: str, producer: Mapping[str, NodeProto]) -> str:
    """Follow a tensor back through operators that only move values."""
    while tensor in producer and producer[tensor].op_type in _MOVING:
        source = producer[tensor].input[0]
        if source not in producer:
            break
        tensor = source
    return tensor


def _parts_of(tensor: str, graph: GraphProto) -> list[str]:
    """Return what is taken out of a tensor, through operators that only move values."""
    reached, parts = {tensor}, []
    for node in graph.node:
        if node.input and node.input[0] in reached:
            if node.op_type in _MOVING:
                reached.add(node.output[0])
            elif node.op_type in PARTING:
                parts.extend(node.output)
    return parts


def _products_behind(tensor: str, producer: Mapping[str, NodeProto]) -> list[str]:
    """Return the products whose outputs reach a tensor through nothing but moving and joining."""
    source = _origin(tensor, producer)
    node = producer[source]
    if node.op_type in PRODUCTS:
        return [source]
    if node.op_type in JOINING:
        return [n for name in node.input if name in producer for n in _products_behind(name, producer)]
    return []


def _unlike(tensors: list[str], ranges: Mapping[str, tuple[float, float]] | None) -> bool:
    """Whether known ranges differ by more than two of eight bits."""
    if ranges is None or not all(name in ranges for name in tensors):
        return False
    spans = [max(abs(low), abs(high)) for low, high in (ranges[name] for name in tensors)]
    return max(spans) > _UNLIKE * min(spans)
