# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mixed-precision graphs: single tensors of a quantized graph back in float.

A QDQ graph is the float graph with a QuantizeLinear and a DequantizeLinear on some of its edges. Both
are compared node by node, independent of the quantizer's tensor names.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.graph import Graph, remove_dead
from ad_compressed_perception.onnx_graph.normal_form import sort_nodes
from ad_compressed_perception.onnx_graph.subgraphs import (
    all_names,
    copied,
    free_name,
    with_placeholders,
    without_placeholders,
)

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

COMPUTE_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Compute ops: operators that multiply by weights, which take most of the run time."""

Kind = Literal["activation", "weights"]
_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True)
class QuantizedTensor:
    """A tensor of the float graph that is quantized in the quantized graph.

    Attributes:
        name: its name in the float graph.
        kind: "activation" (computed) or "weights" (stored).
        node: name of the operator that computes it or, for weights, first uses it; "" for an input.
        operator: that operator's type; "input" for an input.
    """

    name: str
    kind: Kind
    node: str
    operator: str


@dataclass(frozen=True)
class _Edge:
    node: str
    index: int
    tensor: str


class QdqGraph:
    """A float graph and its quantized form, from which mixed-precision graphs are built."""

    def __init__(
        self, floating: ModelProto, quantized: ModelProto, *, merged_activations: bool = False
    ) -> None:
        """Compare the two; the float graph's nodes must have names, which the quantized graph kept.

        Args:
            floating: the float graph.
            quantized: the same with Q/DQ pairs.
            merged_activations: the runtime runs a compute op on integers without a pair on its output.

        Raises:
            ModelFileError: the graphs are not the same but for Q/DQ pairs and removed ReLU or Clip.
        """
        # Bodies of branches and loops read tensors like any other node's inputs.
        self.floating, self._bodies = _lifted(floating)
        self.quantized, quantized_bodies = _lifted(quantized)
        if self._bodies.keys() != quantized_bodies.keys():
            raise ModelFileError("the quantizer lost a branch or loop of the graph")
        self._taken = all_names(floating) | all_names(quantized)
        floating, quantized = self.floating, self.quantized
        self._merged_activations = merged_activations
        self._nodes = {node.name: node for node in floating.graph.node}
        graph = Graph(floating)
        self._producer, self._weights = graph.producers, graph.weights
        self._pairs = pairs = Graph(quantized)
        kept = {
            node.name: node
            for node in quantized.graph.node
            if node.name in self._nodes and node.op_type not in (_QUANTIZE, _DEQUANTIZE)
        }
        # The quantizer removes an activation whose clipping the range of its output already does.
        self._removed = {node.name: node for node in floating.graph.node if node.name not in kept}
        # A dequantized bias keeps its name.
        self._edges = [
            _Edge(name, index, tensor)
            for name, node in kept.items()
            for index, tensor in enumerate(self._nodes[name].input)
            if pairs.producer(node.input[index], _DEQUANTIZE)
        ]
        for node in self._removed.values():
            if node.op_type not in ("Relu", "Clip"):
                raise ModelFileError(f"the quantizer lost operator {node.op_type} ({node.name})")
        # Float name of each quantized graph output; its Q/DQ pair produces the output itself.
        self._output_pairs = {
            name: first.input[0]
            for name in graph.outputs
            if (last := pairs.producer(name, _DEQUANTIZE))
            and (first := pairs.producer(last.input[0], _QUANTIZE))
        }
        self._edge_set = set(self._edges)

    def _is_bias(self, edge: _Edge) -> bool:
        return self._nodes[edge.node].op_type in COMPUTE_OPS and edge.index == 2

    def tensors(self) -> list[QuantizedTensor]:
        """Return the quantized tensors in the order of execution; biases count with their weights."""
        found: dict[str, QuantizedTensor] = {}
        for name in self._output_pairs:
            node = self._producer[name]
            found[name] = QuantizedTensor(name, "activation", node.name, node.op_type)
        for edge in self._edges:
            if edge.tensor in found or self._is_bias(edge):
                continue
            if edge.tensor in self._weights:
                user = self._nodes[edge.node]
                found[edge.tensor] = QuantizedTensor(edge.tensor, "weights", user.name, user.op_type)
            elif edge.tensor in self._producer:
                node = self._producer[edge.tensor]
                found[edge.tensor] = QuantizedTensor(edge.tensor, "activation", node.name, node.op_type)
            else:
                found[edge.tensor] = QuantizedTensor(edge.tensor, "activation", "", "input")
        order = {node.name: place for place, node in enumerate(self.floating.graph.node)}
        return sorted(found.values(), key=lambda tensor: (order.get(tensor.node, -1), tensor.kind))

    def with_float(self, tensors: Collection[str]) -> ModelProto:
        """Return the quantized graph with these tensors in float.

        Pairs that are then useless are removed too: those between operators that run in float anyway, and
        integer weights and biases of such compute ops.

        Args:
            tensors: names in the float graph, activations or weights.
        """
        return self._build(self.all_floats(tensors))

    def only(self, tensor: str) -> ModelProto:
        """Return the float graph with this one tensor quantized, for all of its consumers."""
        chain, weights = self._chain(tensor)
        model = copied(self.floating)
        graph = model.graph
        inner = free_name(f"{tensor}/before", set(self._taken))
        if tensor in self._weights:
            chain[-1].output[0] = tensor
            kept = [weight for weight in graph.initializer if weight.name != tensor]
            del graph.initializer[:]
            graph.initializer.extend(kept)
        elif tensor in self._producer:
            for node in graph.node:
                _rename(node.output, tensor, inner)
            chain[0].input[0], chain[-1].output[0] = inner, tensor
        else:
            for node in graph.node:
                _rename(node.input, tensor, inner)
            chain[0].input[0], chain[-1].output[0] = tensor, inner
        graph.initializer.extend(weights)
        graph.node.extend(chain)
        sort_nodes(model)
        return without_placeholders(model, self._bodies)

    def after(self, model: ModelProto, tensor: str) -> str:
        """Return the name of the tensor that consumers read in a mixed graph: after its Q/DQ pair, if any."""
        for node in model.graph.node:
            if node.op_type == _QUANTIZE and node.input[0] == tensor:
                pair = (
                    n for n in model.graph.node if n.op_type == _DEQUANTIZE and n.input[0] == node.output[0]
                )
                return str(next(pair).output[0])
        return tensor

    def _chain(self, tensor: str) -> tuple[list[NodeProto], list[TensorProto]]:
        """Return copies of the Q and DQ nodes of a tensor, in order, and of their weights."""
        if tensor in self._output_pairs:
            end = tensor
        else:
            edge = next(edge for edge in self._edges if edge.tensor == tensor)
            node = next(node for node in self.quantized.graph.node if node.name == edge.node)
            end = node.input[edge.index]
        last = self._pairs.producers[end]
        first = self._pairs.producer(last.input[0], _QUANTIZE)
        nodes = [first, last] if first is not None else [last]
        names = {name for node in nodes for name in node.input}
        weights = [weight for weight in self.quantized.graph.initializer if weight.name in names]
        return [copied(node) for node in nodes], weights

    def all_floats(self, tensors: Collection[str]) -> set[str]:
        """Return these tensors and those whose quantization is then useless."""
        floats = set(tensors)
        while True:
            integer = self.integer_nodes(floats)
            useless = {name for name in self._activations() - floats if not self._touches(name, integer)} | {
                edge.tensor
                for edge in self._edges
                if edge.tensor in self._weights and not self._is_bias(edge) and edge.node not in integer
            }
            if useless <= floats:
                return floats
            floats |= useless

    def integer_nodes(self, floats: Collection[str]) -> set[str]:
        """Return the names of the operators that can run on integers when these tensors are float.

        An operator can when all of its inputs and outputs are quantized; a compute op with a fused
        activation, when all of its inputs are.
        """
        quantized_edges = {(edge.node, edge.index) for edge in self._edges if edge.tensor not in floats}
        integer_out = self._activations() - set(floats)
        integer_names = set()
        for node in self.floating.graph.node:
            if node.name in self._removed:
                continue
            outputs = [self._after_removed(name) for name in node.output if name]
            merged = self._merged_activations and node.op_type in COMPUTE_OPS
            if not outputs or not (merged or all(name in integer_out for name in outputs)):
                continue
            needed = self._float_inputs(node)
            if needed and all((node.name, index) in quantized_edges for index in needed):
                integer_names.add(node.name)
        return integer_names

    def float_compute_ops(self, floats: Collection[str]) -> list[str]:
        """Return the names of the compute ops that would not run on integers, in order of execution."""
        integer = self.integer_nodes(floats)
        return [
            node.name
            for node in self.floating.graph.node
            if node.op_type in COMPUTE_OPS and node.name not in integer
        ]

    def _activations(self) -> set[str]:
        return {e.tensor for e in self._edges if e.tensor not in self._weights} | set(self._output_pairs)

    def _after_removed(self, tensor: str) -> str:
        for node in self._removed.values():
            if node.input[0] == tensor:
                return node.output[0]
        return tensor

    def _float_inputs(self, node: NodeProto) -> list[int]:
        """Return the indices of the inputs that the quantizer quantizes: activations and weights."""
        if node.op_type in COMPUTE_OPS:
            return list(range(min(2, len(node.input))))
        return [
            index
            for index, name in enumerate(node.input)
            if name and (name not in self._weights or _Edge(node.name, index, name) in self._edge_set)
        ]

    def _touches(self, tensor: str, nodes: Collection[str]) -> bool:
        """Whether one of the nodes computes or uses the tensor as integers."""
        producer = self._producer.get(tensor)
        if producer is not None and producer.name in self._removed:
            producer = self._producer.get(producer.input[0])
        if producer is not None and producer.name in nodes:
            return True
        return any(edge.tensor == tensor and edge.node in nodes for edge in self._edges)

    def _build(self, floats: Collection[str]) -> ModelProto:
        model = copied(self.quantized)
        nodes = {node.name: node for node in model.graph.node}
        integer = self.integer_nodes(floats)
        restored = set(floats)
        for edge in self._edges:
            if self._is_bias(edge):
                # Its unit is input scale times weight scale, which exists for integer operands only.
                if edge.node not in integer:
                    nodes[edge.node].input[edge.index] = self._add_float(model, edge.tensor)
            elif edge.tensor in floats:
                nodes[edge.node].input[edge.index] = edge.tensor
        self._restore_removed(model, nodes, floats)
        for name in set(self._output_pairs) & set(floats):
            inner = self._output_pairs[name]
            pair = next(node for node in model.graph.node if name in node.output)
            model.graph.node.remove(pair)
            for node in model.graph.node:
                _rename(node.input, inner, name)
                _rename(node.output, inner, name)
        restored.update(*(self._nodes[name].input for name in self._removed))
        present = {tensor.name for tensor in model.graph.initializer}
        model.graph.initializer.extend(
            self._weights[name] for name in sorted(restored & set(self._weights)) if name not in present
        )
        remove_dead(model, keep_shapes=True)
        sort_nodes(model)
        return without_placeholders(model, self._bodies)

    def _add_float(self, model: ModelProto, weight: str) -> str:
        """Add the float weight beside its quantized form of the same name; return the new name."""
        name = free_name(f"{weight}/float", set(self._taken))
        if all(tensor.name != name for tensor in model.graph.initializer):
            copy = model.graph.initializer.add()
            copy.CopyFrom(self._weights[weight])
            copy.name = name
        return name

    def _restore_removed(
        self, model: ModelProto, nodes: dict[str, NodeProto], floats: Collection[str]
    ) -> None:
        for node in self._removed.values():
            if node.output[0] not in floats:
                continue
            producer = self._producer[node.input[0]]
            inner = self._output_pairs.get(node.output[0], node.output[0])
            _rename(nodes[producer.name].output, inner, node.input[0])
            copy = copied(node)
            _rename(copy.output, node.output[0], inner)
            model.graph.node.append(copy)


def _lifted(model: ModelProto) -> tuple[ModelProto, dict[str, NodeProto]]:
    """Return a copy whose branches and loops are placeholders, and these."""
    copy = copied(model)
    return copy, with_placeholders(copy)


def _rename(names: object, old: str, new: str) -> None:
    for index, name in enumerate(names):  # type: ignore[arg-type, var-annotated]
        if name == old:
            names[index] = new  # type: ignore[index]
