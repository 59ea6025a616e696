# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rules on Q/DQ pairs: types, zero points, channels, and which inputs and outputs of an operator have them.

A unit is an operator with the DequantizeLinear before it and the QuantizeLinear behind it; a runtime replaces
it by one integer kernel where it is complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.onnx_graph.graph import attribute
from ad_compressed_perception.targets.facts import (
    BIAS_INPUT,
    DEQUANTIZE,
    QUANTIZE,
    Fault,
    GraphFacts,
    Role,
)
from ad_compressed_perception.targets.rule import Rule

if TYPE_CHECKING:
    from onnx import NodeProto

_BOTH = (QUANTIZE, DEQUANTIZE)


def _ends(facts: GraphFacts, role: Role) -> Iterator[NodeProto]:
    """Yield the first node of each Q/DQ pair on tensors of a role."""
    for node in facts.nodes:
        if node.op_type not in _BOTH or facts.role(node) != role:
            continue
        if node.op_type == DEQUANTIZE and facts.graph.producer(node.input[0], QUANTIZE) is not None:
            continue
        yield node


class SymmetricRule(Rule):
    """Zero points are zero."""

    check: Literal["symmetric"]
    of: list[Role] = Field(min_length=1)

    def find(self, facts: GraphFacts) -> Iterator[Fault]:
        """Yield the first node of each pair with another zero point."""
        for role in self.of:
            for node in _ends(facts, role):
                zero = facts.quantization(node).zero_point
                if zero is not None and np.any(zero):
                    yield facts.fault(node, f"zero point {int(zero.reshape(-1)[np.argmax(zero != 0)])}")


class QuantizedTypesRule(Rule):
    """Types that the quantized tensors of a role have."""

    check: Literal["quantized_types"]
    of: list[Role] = Field(min_length=1)
    allowed: list[str] = Field(description="as numpy names them; empty: such tensors stay in float")

    def find(self, facts: GraphFacts) -> Iterator[Fault]:
        """Yield the first node of each pair with another type."""
        for role in self.of:
            for node in _ends(facts, role):
                kind = facts.quantization(node).kind
                if kind and kind not in self.allowed:
                    yield facts.fault(node, f"quantized to {kind}")


class PerTensorRule(Rule):
    """Tensors of a role have one scale, not one for each channel."""

    check: Literal["per_tensor"]
    of: list[Role] = Field(min_length=1)

    def find(self, facts: GraphFacts) -> Iterator[Fault]:
        """Yield the first node of each pair with several scales."""
        for role in self.of:
            for node in _ends(facts, role):
                found = facts.quantization(node)
                if not found.per_tensor and found.scale is not None:
                    yield facts.fault(node, f"{found.scale.size} scales along axis {found.axis}")


class ChannelAxisRule(Rule):
    """Weights with a scale for each channel have it along the output channels of the operator."""

    check: Literal["channel_axis"]
    operators: list[str] = Field(min_length=1, description="that may have several scales; others have one")

    def find(self, facts: GraphFacts) -> Iterator[Fault]:
        """Yield each operator that reads weights with scales along another axis, or must not have several."""
        for node in facts.nodes:
            dequantize = facts.graph.producer(node.input[1], DEQUANTIZE) if len(node.input) > 1 else None
            if dequantize is None or facts.role(dequantize) != "weights":
                continue
            found, shape = facts.quantization(dequantize), facts.shapes.get(dequantize.input[0])
            if found.per_tensor or shape is None:
                continue
            axis = found.axis + (len(shape) if found.axis < 0 else 0)
            if node.op_type not in self.operators:
                yield facts.fault(node, "its weights have several scales")
            elif axis != _output_axis(node, len(shape)):
                yield facts.fault(node, f"the scales of its weights are along axis {found.axis}")


def _output_axis(node: NodeProto, rank: int) -> int:
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return {"Conv": 0, "ConvTranspose": 1}.get(node.op_type, rank - 1)


class PairsRule(Rule):
    """Every QuantizeLinear is followed by DequantizeLinear, and that follows one or a weight."""

    check: Literal["pairs"]
    at_ends: bool = Field(
        True, description="a model may end in QuantizeLinear or begin with DequantizeLinear"
    )

    def find(self, facts: GraphFacts) -> Iterator[Fault]:
        """Yield each of the two without the other."""
        graph = facts.graph
        for node in facts.nodes:
            if node.op_type == QUANTIZE:
                name = node.output[0]
                others = [one for one in graph.consumers.get(name, []) if one.op_type != DEQUANTIZE]
                if others or (name in graph.outputs and not self.at_ends):
                    reader = f"{others[0].op_type} {others[0].name}" if others else "an output of the model"
                    yield facts.fault(node, f"{reader.strip()} reads it as integers")
            elif node.op_type == DEQUANTIZE:
                source = node.input[0]
                known = facts.is_stored(source) or graph.producer(source, QUANTIZE) is not None
                if not known and not (source in graph.inputs and self.at_ends):
                    yield facts.fault(node, "nothing quantizes what it reads")


class Unit(StrictModel):
    """When an operator with Q/DQ pairs becomes an integer kernel."""

    inputs: list[int] | Literal["all"] = Field("all", description="inputs that must be dequantized")
    stored_float: list[int] = Field(
        default_factory=list,
        description="inputs that the runtime quantizes itself where they are stored floats and the output is "
        "quantized",
    )
    weights_only: bool = Field(
        False, description="stored quantized weights are enough where nothing else is quantized"
    )
    bias: Literal["int32", "any", "int32_or_stored"] = Field(
        "any", description="of a bias: quantized to int32; anything; int32 or a stored float"
    )
    output: Literal["required", "optional"] = Field("required", description="whether it must be quantized")
    types: list[str] = Field(default_factory=lambda: ["uint8", "int8"], description="of activations")
    same_type: bool = Field(True, description="data inputs and output have one type")
    same_scale: bool = Field(False, description="input and output have the same scale and zero point")
    per_tensor: bool = Field(False, description="its quantized inputs have one scale each")


class UnitsRule(Rule):
    """Operators with Q/DQ pairs that become integer kernels; others with such pairs stay in float."""

    check: Literal["units"]
    units: dict[str, Unit]
    through: list[str] = Field(
        default_factory=list, description="operators over which the runtime moves pairs to the next operator"
    )
    stops_at_pairs: bool = Field(
        False, description="but not where the output of such an operator is quantized again"
    )
    clipping: list[str] = Field(
        default_factory=lambda: ["Relu", "Clip"], description="operators that the quantized range replaces"
    )
    no_kernel: list[str] = Field(
        default_factory=list, description="operators that stay in float with pairs on all sides"
    )
    no_kernel_of: dict[str, dict[str, list[int | float | str]]] = Field(
        default_factory=dict, description="likewise, of an operator with such values of its attributes"
    )

    def find(self, facts: GraphFacts) -> Iterator[Fault]:
        """Yield each operator with Q/DQ pairs that stays in float, with the reason."""
        for node in facts.nodes:
            unit = self.units.get(node.op_type)
            if unit is not None:
                why = self._why_float(facts, node, unit)
                if why:
                    yield facts.fault(node, why)
            elif self.lacks_kernel(node) and self._between_pairs(facts, node):
                yield facts.fault(node, "no integer kernel")

    def lacks_kernel(self, node: NodeProto) -> bool:
        """Whether the runtime has no integer kernel of a node, whatever pairs are around it."""
        values = self.no_kernel_of.get(node.op_type, {})
        return node.op_type in self.no_kernel or any(
            attribute(node, name) in wrong for name, wrong in values.items()
        )

    def dequantized(self, facts: GraphFacts, name: str) -> NodeProto | None:
        """Return the DequantizeLinear that a tensor comes from, as the runtime moves pairs."""
        return facts.dequantized(name, self.through, stops_at_pairs=self.stops_at_pairs)

    def _between_pairs(self, facts: GraphFacts, node: NodeProto) -> bool:
        state, _ = facts.quantized_output(node, self.through)
        before = any(self.dequantized(facts, name) for name in node.input if name)
        if node.op_type in self.clipping and facts.clips_as_quantized(node):
            return False
        return before and state == "quantized"

    def _why_float(self, facts: GraphFacts, node: NodeProto, unit: Unit) -> str:
        """Return why a unit stays in float; "" where it does not, or where nothing of it is quantized."""
        bias = BIAS_INPUT.get(node.op_type)
        given = [index for index, name in enumerate(node.input) if name and index != bias]
        places = given if unit.inputs == "all" else [index for index in unit.inputs if index in given]
        found = {index: self.dequantized(facts, node.input[index]) for index in given}
        ends = {index: found[index] for index in places}
        state, quantizer = facts.quantized_output(node, self.through, self.clipping)
        begun = [end for end in found.values() if end is not None]
        if not begun and state == "float":
            return ""
        if unit.weights_only and state == "float" and list(found.values()) == [None, *begun]:
            return ""
        float_places = [
            index
            for index, end in ends.items()
            if end is None
            and not (
                state == "quantized" and index in unit.stored_float and facts.is_stored(node.input[index])
            )
        ]
        if float_places:
            return f"input {float_places[0]} ({node.input[float_places[0]]}) is not quantized"
        if unit.output == "required" and state != "quantized":
            mixed = "its output is read as integers and as floats"
            return mixed if state == "mixed" else "its output is not quantized"
        return _parameters(facts, unit, begun, quantizer) or self._bias(facts, node, unit, bias)

    def _bias(self, facts: GraphFacts, node: NodeProto, unit: Unit, bias: int | None) -> str:
        if bias is None or bias >= len(node.input) or not node.input[bias] or unit.bias == "any":
            return ""
        end = facts.dequantized(node.input[bias])
        if end is None:
            stored = unit.bias == "int32_or_stored" and facts.is_stored(node.input[bias])
            return "" if stored else "its bias is not quantized"
        kind = facts.quantization(end).kind
        return "" if kind == "int32" else f"its bias is quantized to {kind}, not to int32"


def _parameters(facts: GraphFacts, unit: Unit, ends: list[NodeProto], quantizer: NodeProto | None) -> str:
    """Return what is wrong with types and scales of a complete unit; "" where nothing is."""
    found = [facts.quantization(end) for end in ends]
    activations = [one for one, end in zip(found, ends, strict=True) if facts.role(end) == "activation"]
    closing = None if quantizer is None else facts.quantization(quantizer)
    shown = [*activations, *([closing] if closing is not None else [])]
    kinds = [one.kind for one in shown if one.kind]
    wrong = [kind for kind in kinds if kind not in unit.types]
    if wrong:
        return f"no integer kernel for {wrong[0]}"
    if unit.same_type and len(set(kinds)) > 1:
        return f"its tensors have different types: {', '.join(sorted(set(kinds)))}"
    if unit.per_tensor and not all(one.per_tensor for one in found):
        return "an input has several scales"
    if unit.same_scale and closing is not None and not all(one.same_as(closing) for one in activations):
        return "input and output have different scales"
    return ""
