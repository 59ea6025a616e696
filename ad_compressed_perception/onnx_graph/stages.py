# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cuts a graph into models that compute the same one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.tensors import Feeds
from ad_compressed_perception.onnx_graph.cuts import Cut, CutGraph
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.io import check_model, finish_model
from ad_compressed_perception.onnx_graph.subgraphs import copied
from ad_compressed_perception.onnx_graph.walk import read_names

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto


@dataclass(frozen=True)
class StageModel:
    """A sub-model, and the tensors that it reads and computes, in the order of computation."""

    model: ModelProto
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def split(graph: CutGraph, cuts: Sequence[Cut]) -> list[StageModel]:
    """Return the stages between cuts; constants and repeated nodes are copied into each that reads them.

    Raises:
        ModelFileError: a stage is no valid graph.
    """
    ends = [0, *(cut.place for cut in cuts), len(graph.nodes)]
    results = [value.name for value in graph.graph.model.graph.output]
    # An output that a repeated node computes belongs to the stage in which it can be computed first.
    homes = {name: _stage_at(graph.made_at(name), ends) for name in results}
    needed: set[str] = set()
    stages: list[StageModel] = []
    for number in reversed(range(len(ends) - 1)):
        nodes = graph.nodes[ends[number] : ends[number + 1]]
        dequantized = [name for name in results if homes[name] == number and name in graph.repeated]
        own = [name for node in nodes for name in node.output if name]
        outputs = [name for name in own if name in needed or name in results] + dequantized
        read = {name for node in nodes for name in graph.reads(node)} - set(own)
        read |= {base for name in dequantized for base in graph.bases(name)} - set(own)
        inputs = sorted(read, key=lambda name: (graph.made_at(name), name))
        needed |= set(inputs)
        model = _model_of(graph, nodes, inputs, outputs)
        check_model(model, f"stage {number + 1}")
        stages.append(StageModel(model, tuple(inputs), tuple(outputs)))
    return stages[::-1]


def run_stages(stages: Sequence[StageModel], feeds: Feeds) -> dict[str, NDArray[Any]]:
    """Return all tensors that stages compute, one after the other; raise ModelFileError as run_model."""
    tensors = dict(feeds)
    for stage in stages:
        tensors |= run_model(stage.model, {name: tensors[name] for name in stage.inputs})
    return tensors


def _stage_at(place: int, ends: Sequence[int]) -> int:
    if place < 0:  # of constants alone
        return len(ends) - 2
    return next(number for number in range(len(ends) - 1) if place < ends[number + 1])


def _model_of(
    graph: CutGraph, nodes: Sequence[NodeProto], inputs: Sequence[str], outputs: Sequence[str]
) -> ModelProto:
    from onnx import helper

    whole = graph.graph.model
    values = {value.name: value for value in (*whole.graph.input, *whole.graph.output)}

    def value(name: str) -> ValueInfoProto:
        spec = graph.specs.get(name)
        if spec is None:
            return values[name]
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
        return helper.make_tensor_value_info(name, kind, list(spec.shape))

    needed_nodes = {id(node) for node in (*nodes, *_repeated(graph, nodes, outputs))}
    chosen = [node for node in graph.graph.nodes if id(node) in needed_nodes]
    read = {name for node in chosen for name in read_names(node)}
    model = copied(whole)
    for part in (model.graph.node, model.graph.initializer, model.graph.input, model.graph.output):
        del part[:]
    model.graph.node.extend(chosen)
    model.graph.initializer.extend(tensor for tensor in whole.graph.initializer if tensor.name in read)
    model.graph.input.extend(value(name) for name in inputs)
    model.graph.output.extend(value(name) for name in outputs)
    finish_model(model, {})
    return model


def _repeated(graph: CutGraph, nodes: Sequence[NodeProto], outputs: Sequence[str]) -> list[NodeProto]:
    """Return the repeated nodes that nodes and outputs need, directly and through others."""
    waiting = [*outputs, *(name for node in nodes for name in read_names(node))]
    found: dict[int, NodeProto] = {}
    while waiting:
        node = graph.repeated.get(waiting.pop())
        if node is not None and id(node) not in found:
            found[id(node)] = node
            waiting += read_names(node)
    return list(found.values())
