# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the rules of a target ask of a graph: types, shapes, and where tensors are quantized."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.onnx_graph.graph import Graph, Shape, attribute, tensor_shapes
from ad_compressed_perception.onnx_graph.inferred_types import runtime_types
from ad_compressed_perception.onnx_graph.io import DEFAULT_DOMAINS
from ad_compressed_perception.onnx_graph.layers import element_types
from ad_compressed_perception.onnx_graph.walk import all_graphs

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
BIAS_INPUT = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2}
"""Input of an operator that is its bias."""
Role = Literal["activation", "weights", "bias"]
State = Literal["quantized", "mixed", "float"]


@dataclass(frozen=True)
class Fault:
    """Where a graph breaks a rule.

    Attributes:
        node: the node's name, its first output where it has none, or the input's name.
        operator: its type; "input" for an input of the graph.
        detail: what is wrong there; "" where the rule says it all.
    """

    node: str
    operator: str
    detail: str = ""


@dataclass(frozen=True)
class Quantization:
    """Parameters of a QuantizeLinear or DequantizeLinear; None where they are computed, not stored.

    Attributes:
        scale: one number, or one for each channel.
        zero_point: likewise; zeros where the node has none.
        axis: that of the channels, as the node gives it.
        kind: name of the quantized type, such as "uint8".
    """

    scale: NDArray[Any] | None
    zero_point: NDArray[Any] | None
    axis: int
    kind: str

    @property
    def per_tensor(self) -> bool:
        """Whether one scale holds for the whole tensor."""
        return self.scale is None or self.scale.size == 1

    def same_as(self, other: Quantization) -> bool:
        """Whether both have the same numbers, of one type."""
        pairs = ((self.scale, other.scale), (self.zero_point, other.zero_point))
        return self.kind == other.kind and all(
            a is not None and b is not None and np.array_equal(a.reshape(-1), b.reshape(-1)) for a, b in pairs
        )


class GraphFacts:
    """A model's graph with types, shapes and quantization of its tensors, those in bodies too."""

    def __init__(self, model: ModelProto) -> None:
        """Index the model; raise ModelFileError where its shapes contradict each other."""
        self.model = model
        self.graph = Graph(model, with_bodies=True)
        for body in list(all_graphs(model.graph))[1:]:
            self.graph.weights.update({tensor.name: tensor for tensor in body.initializer})
        self.shapes: dict[str, Shape] = tensor_shapes(model)
        self.types = element_types(model)

    @property
    def nodes(self) -> list[NodeProto]:
        """All nodes, those of branches and loops too."""
        return self.graph.nodes

    def fault(self, node: NodeProto, detail: str = "") -> Fault:
        """Return a fault at a node."""
        return Fault(node.name or next((name for name in node.output if name), "?"), node.op_type, detail)

    def inputs(self) -> Iterator[tuple[str, Shape | None]]:
        """Yield name and declared shape of each input of the graph."""
        for value in self.model.graph.input:
            if value.name in self.graph.inputs:
                yield value.name, self.shapes.get(value.name)

    def kind(self, name: str) -> str:
        """Return a tensor's type as numpy names it ("bfloat16" and others by ONNX's name); "" if unknown."""
        return type_name(self.types.get(name, 0))

    def quantization(self, node: NodeProto) -> Quantization:
        """Return the parameters of a QuantizeLinear or DequantizeLinear."""
        zero_given = len(node.input) > 2 and bool(node.input[2])
        quantizes = node.op_type == QUANTIZE
        kind = self.kind(node.output[0] if quantizes else node.input[0])
        if zero_given:
            kind = self.kind(node.input[2]) or kind
        zero = self.graph.constant_input(node, 2) if zero_given else np.zeros(1, np.int64)
        return Quantization(self.graph.constant_input(node, 1), zero, int(attribute(node, "axis", 1)), kind)

    def is_stored(self, name: str) -> bool:
        """Whether a tensor is a weight or constant, or one quantized in the graph."""
        quantize = self.graph.producer(name, QUANTIZE)
        return self.graph.tensor(quantize.input[0] if quantize is not None else name) is not None

    def role(self, node: NodeProto) -> Role:
        """Return what a QuantizeLinear or DequantizeLinear is on: an activation, weights or a bias."""
        source = node.input[0]
        if node.op_type == QUANTIZE and self.graph.tensor(source) is None:
            return "activation"
        if node.op_type == DEQUANTIZE and not self.is_stored(source):
            return "activation"
        ends = [reader for reader, _ in self.readers_of_pair(node)]
        places = [index for _, index in self.readers_of_pair(node)]
        is_bias = bool(ends) and all(
            BIAS_INPUT.get(reader.op_type) == index for reader, index in zip(ends, places, strict=True)
        )
        return "bias" if is_bias else "weights"

    def readers_of_pair(self, node: NodeProto) -> list[tuple[NodeProto, int]]:
        """Return who reads what a Q/DQ pair gives, with the place of the input."""
        names = [node.output[0]]
        if node.op_type == QUANTIZE:
            names = [
                one.output[0]
                for one in self.graph.consumers.get(node.output[0], [])
                if one.op_type == DEQUANTIZE
            ]
        found = []
        for name in names:
            for reader in {id(one): one for one in self.graph.consumers.get(name, [])}.values():
                found += [(reader, index) for index, read in enumerate(reader.input) if read == name]
        return found

    def dequantized(
        self, name: str, through: Collection[str] = (), *, stops_at_pairs: bool = False
    ) -> NodeProto | None:
        """Return the DequantizeLinear that a tensor comes from, directly or through such operators.

        Args:
            name: of the tensor.
            through: operators that one may look through.
            stops_at_pairs: but not where a QuantizeLinear reads what they give.
        """
        node = self.graph.producers.get(name)
        while node is not None and node.op_type in through and node.input:
            readers = self.graph.consumers.get(node.output[0], [])
            if stops_at_pairs and any(one.op_type == QUANTIZE for one in readers):
                return None
            node = self.graph.producers.get(node.input[0])
        return node if node is not None and node.op_type == DEQUANTIZE else None

    def quantized_output(
        self, node: NodeProto, through: Collection[str] = (), clipping: Collection[str] = ()
    ) -> tuple[State, NodeProto | None]:
        """Return whether all, some or no readers of a node's first output quantize it, and the first one.

        Args:
            node: the node.
            through: operators that one may look through, where nothing else reads what they read.
            clipping: likewise, where the quantized range clips as they do.
        """
        name = node.output[0]
        while True:
            readers = self.graph.consumers.get(name, [])
            quantizers = [one for one in readers if one.op_type == QUANTIZE]
            alone = len(readers) == 1 and name not in self.graph.outputs
            if (
                alone
                and readers[0].op_type in through
                or alone
                and readers[0].op_type in clipping
                and self.clips_as_quantized(readers[0])
            ):
                name = readers[0].output[0]
            elif quantizers:
                every = len(quantizers) == len(readers) and name not in self.graph.outputs
                return ("quantized" if every else "mixed"), quantizers[0]
            else:
                return "float", None

    def clips_as_quantized(self, node: NodeProto) -> bool:
        """Whether a Relu or Clip changes nothing: its only reader quantizes to a range within its own."""
        reader = self.graph.only_consumer(node.output[0])
        if reader is None or reader.op_type != QUANTIZE:
            return False
        found = self.quantization(reader)
        if found.scale is None or found.zero_point is None or not found.per_tensor or not found.kind:
            return False
        zero, scale = int(found.zero_point.reshape(-1)[0]), float(found.scale.reshape(-1)[0])
        low, high = _limits(found.kind)
        if node.op_type == "Relu":
            return zero == low
        least, most = (_clip_end(self.graph, node, index) for index in (1, 2))
        if scale <= 0.0 or least is None or most is None:
            return False
        first, last = (np.rint(np.clip(end / scale, -1e9, 1e9)) + zero for end in (least, most))
        return bool(first <= low and last >= high)

    @cached_property
    def data_dependent(self) -> dict[str, str]:
        """First output to operator, of nodes with inputs of known sizes and an output of unknown ones."""
        found = {}
        for node in self.graph.nodes:
            outputs = [name for name in node.output if name and None in (self.shapes.get(name) or ())]
            inputs = [self.shapes.get(name) for name in node.input if name]
            if outputs and all(shape is not None and None not in shape for shape in inputs):
                found[outputs[0]] = node.op_type
        if not found:
            return {}
        known = runtime_types(self.model, list(found))  # ONNX Runtime knows some that onnx does not
        return {name: kind for name, kind in found.items() if None in known.get(name, ("", (None,)))[1]}


def type_name(element_type: int) -> str:
    """Return numpy's name of an ONNX element type, ONNX's in small letters where numpy has none."""
    from onnx import TensorProto

    names = {int(TensorProto.FLOAT): "float32", int(TensorProto.DOUBLE): "float64"}
    if not element_type:
        return ""
    try:
        return names.get(element_type) or str(TensorProto.DataType.Name(element_type)).lower()
    except ValueError:  # a type of a later version
        return "unknown"


def domain_of(node: NodeProto) -> str:
    """Return a node's domain, "" for ONNX's own."""
    return "" if node.domain in DEFAULT_DOMAINS else str(node.domain)


def _limits(kind: str) -> tuple[int, int]:
    try:
        info = np.iinfo(kind)
    except (TypeError, ValueError):  # int4 and others that numpy does not have
        return (0, 0)
    return int(info.min), int(info.max)


def _clip_end(graph: Graph, node: NodeProto, index: int) -> float | None:
    name = ("", "min", "max")[index]
    value = attribute(node, name)
    if value is None and index < len(node.input) and node.input[index]:
        stored = graph.constant_input(node, index)
        return None if stored is None else float(np.asarray(stored).reshape(-1)[0])
    missing = -np.inf if index == 1 else np.inf
    return float(missing if value is None else value)
