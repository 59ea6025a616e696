# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where a graph can be cut into stages, and which tensors cross there.

A cut lies between two nodes of the order of computation. All tensors that are alive there cross it: computed
before, or inputs of the graph, and read afterwards, those of skip connections too. Two kinds of nodes belong
to no stage: what is computed from constants only, and DequantizeLinear. Each stage that reads their results
has a copy of them, so that weights stay constants and a quantized tensor crosses in 8 bits. QuantizeLinear
follows the node that it quantizes at once.

No cut divides what a runtime computes as one: a convolution or matrix product with the elementwise operators
that follow it alone, and in a quantized graph all that lies between DequantizeLinear and QuantizeLinear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.onnx_graph.costs import FUSIBLE
from ad_compressed_perception.onnx_graph.graph import Graph, remove_dead
from ad_compressed_perception.onnx_graph.inferred_types import infer_types
from ad_compressed_perception.onnx_graph.layers import is_compute
from ad_compressed_perception.onnx_graph.subgraphs import copied
from ad_compressed_perception.onnx_graph.walk import read_names

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_RANDOM = ("Random", "Bernoulli", "Multinomial")


@dataclass(frozen=True)
class Cut:
    """A place between two nodes.

    Attributes:
        place: number of nodes before it, see CutGraph.nodes.
        tensors: those that are alive there, in the order in which they are computed.
        bytes: their size.
    """

    place: int
    tensors: tuple[str, ...]
    bytes: int


class CutGraph:
    """A graph in the order in which it is cut.

    Attributes:
        graph: the model, indexed.
        nodes: nodes that belong to a stage, in the order of computation.
        repeated: the other ones, by each of their outputs; every stage that reads them has a copy.
        specs: shape and data type of every tensor whose sizes are all known.
    """

    def __init__(self, model: ModelProto) -> None:
        """Order the nodes of a model in normal form (onnx_graph/normal_form.py); it is not changed."""
        model = copied(model)
        remove_dead(model, keep_shapes=True)
        self.graph = graph = Graph(model)
        self.repeated: dict[str, NodeProto] = {}
        constant = set(graph.weights)
        for node in graph.nodes:
            is_constant = constant.issuperset(read_names(node)) and not node.op_type.startswith(_RANDOM)
            if is_constant or node.op_type == "DequantizeLinear":
                self.repeated |= dict.fromkeys(filter(None, node.output), node)
            if is_constant:
                constant.update(node.output)
        self._bases: dict[str, frozenset[str]] = {}
        self.nodes = self._ordered()
        self.specs = _specs(model)
        self._made = dict.fromkeys(graph.inputs, -1)
        self._made |= {name: place for place, node in enumerate(self.nodes) for name in node.output if name}
        self._last_read = {name: place for place, node in enumerate(self.nodes) for name in self.reads(node)}

    def bases(self, name: str) -> frozenset[str]:
        """Return the inputs and results of ``nodes`` that a tensor is, or that repeated nodes make it of."""
        if name not in self._bases:
            node = self.repeated.get(name)
            if node is not None:
                found = frozenset[str]().union(*(self.bases(read) for read in read_names(node)))
            else:
                found = frozenset() if name in self.graph.weights else frozenset({name})
            self._bases[name] = found
        return self._bases[name]

    def reads(self, node: NodeProto) -> frozenset[str]:
        """Return the tensors that a node reads, itself and through repeated nodes."""
        return frozenset[str]().union(*(self.bases(name) for name in read_names(node)))

    def made_at(self, name: str) -> int:
        """Return the place of the node that computes a tensor; of a repeated one's, of what it is made of.

        -1 for an input of the graph and for constants.
        """
        return max((self._made[base] for base in self.bases(name)), default=-1)

    def _ordered(self) -> list[NodeProto]:
        order: list[tuple[int, bool, int]] = []
        places = dict.fromkeys(self.graph.inputs, -1)
        for index, node in enumerate(self.graph.nodes):
            if set(node.output) & self.repeated.keys():
                continue
            is_quantize = node.op_type == "QuantizeLinear"
            place = max((places[name] for name in self.reads(node)), default=-1) if is_quantize else index
            places |= dict.fromkeys(node.output, place)
            order.append((place, is_quantize, index))
        return [self.graph.nodes[index] for _, _, index in sorted(order)]

    def cuts(self) -> list[Cut]:
        """Return all places at which the graph may be cut and whose tensors have known sizes, in order."""
        closed = self._closed_places()
        found = []
        for place in range(1, len(self.nodes)):
            alive = sorted(
                (name for name, last in self._last_read.items() if self._made[name] < place <= last),
                key=lambda name: (self._made[name], name),
            )
            specs = [self.specs.get(name) for name in alive]
            if place in closed or not alive or None in specs:
                continue
            size = sum(bytes_of(spec) for spec in specs if spec is not None)
            found.append(Cut(place, tuple(alive), size))
        return found

    def cut_after(self, tensor: str) -> Cut:
        """Return the cut behind the node that computes a tensor.

        Raises:
            ModelFileError: there is no such tensor, or no cut behind it; the message names the next ones.
        """
        if tensor not in self._made and tensor not in self.repeated:
            raise ModelFileError(f"no tensor {tensor!r} in the graph to cut at")
        cuts, place = self.cuts(), self.made_at(tensor) + 1
        chosen = next((cut for cut in cuts if cut.place == place), None)
        if chosen is None:
            near = sorted(cuts, key=lambda cut: abs(cut.place - place))[:3]
            names = ", ".join(self.nodes[cut.place - 1].output[0] for cut in near) or "none"
            raise ModelFileError(f"the graph cannot be cut behind {tensor!r}; the nearest cuts are: {names}")
        return chosen

    def _closed_places(self) -> set[int]:
        """Return the places that lie inside of what a runtime computes as one."""
        closed: set[int] = set()
        places = {id(node): place for place, node in enumerate(self.nodes)}
        for first, node in enumerate(self.nodes):
            if is_compute(node):
                last = places[id(self._last_fused(node))]
            elif node.op_type == "QuantizeLinear":
                start = self._unit_start(node)
                first, last = first if start is None else places[id(start)], first
            else:
                continue
            closed.update(range(first + 1, last + 1))
        return closed

    def _last_fused(self, node: NodeProto) -> NodeProto:
        while True:
            follower = self.graph.only_consumer(node.output[0])
            if follower is None or follower.op_type not in FUSIBLE or follower.output[0] in self.repeated:
                return node
            if self.reads(follower) != {node.output[0]}:
                return node
            node = follower

    def _unit_start(self, quantize: NodeProto) -> NodeProto | None:
        """Return the node that reads dequantized tensors and whose result reaches a QuantizeLinear alone."""
        node = quantize
        while True:
            before = [self.graph.producers.get(name) for name in self.reads(node)]
            (single,) = before if len(before) == 1 else (None,)
            if single is None or single.op_type == "QuantizeLinear":
                return None
            if any(self.graph.producer(name, "DequantizeLinear") for name in single.input):
                return single
            node = single


def _specs(model: ModelProto) -> dict[str, TensorSpec]:
    from onnx import helper

    inferred = infer_types(model)
    found = {}
    for value in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output):
        tensor = value.type.tensor_type
        sizes = [size.dim_value if size.HasField("dim_value") else -1 for size in tensor.shape.dim]
        if not tensor.HasField("shape") or -1 in sizes or not tensor.elem_type:
            continue
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        if dtype.kind in "fiub" and dtype.name != "bfloat16":
            found[value.name] = TensorSpec(value.name, tuple(sizes), dtype.name)
    return found


def bytes_of(spec: TensorSpec) -> int:
    """Return the size of a tensor whose sizes are all known."""
    return prod(size or 0 for size in spec.shape) * np.dtype(spec.dtype).itemsize


def choose_cuts(cuts: Sequence[Cut], costs: Sequence[float], stages: int, slack: float) -> list[Cut]:
    """Return the cuts into so many stages with the fewest bytes across of all that are nearly the most even.

    Args:
        cuts: the possible ones, in order.
        costs: of each node; the cost of a stage is their sum.
        stages: how many, at least 2.
        slack: share by which the costliest stage may be costlier than at the most even cuts.

    Raises:
        ModelFileError: there are too few places to cut at.
    """
    if len(cuts) < stages - 1:
        raise ModelFileError(
            f"the graph can be cut at {len(cuts)} places, {stages} stages need {stages - 1}: take fewer "
            "stages, or put optimize before, as tensors of unknown size are not cut"
        )
    before = np.concatenate([[0.0], np.cumsum(np.asarray(costs, np.float64))])
    places = np.array([cut.place for cut in cuts])
    done = before[places]
    total = float(before[-1])
    # worst[i]: least cost of the costliest stage before cut i, with one more of them in each step.
    worst = done
    for _ in range(stages - 2):
        reach = np.maximum(worst[:, None], done[None, :] - done[:, None])
        reach[np.tril_indices(len(cuts))] = np.inf
        worst = reach.min(axis=0)
    limit = float(np.maximum(worst, total - done).min()) * (1.0 + slack) + 1e-12
    sizes = np.array([cut.bytes for cut in cuts], np.float64)
    least, origins = np.where(done <= limit, sizes, np.inf), list[np.ndarray]()
    for _ in range(stages - 2):
        steps = done[None, :] - done[:, None]
        reach = np.where(steps <= limit, least[:, None] + sizes[None, :], np.inf)
        reach[np.tril_indices(len(cuts))] = np.inf
        origins.append(reach.argmin(axis=0))
        least = reach.min(axis=0)
    chosen = [int(np.where(total - done <= limit, least, np.inf).argmin())]
    for origin in reversed(origins):
        chosen.append(int(origin[chosen[-1]]))
    return [cuts[index] for index in reversed(chosen)]
