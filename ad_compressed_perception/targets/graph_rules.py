# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rules on operators, their attributes, inputs and types, and on the sizes of tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, NonNegativeInt

from ad_compressed_perception.onnx_graph.graph import attribute
from ad_compressed_perception.onnx_graph.io import DEFAULT_DOMAINS, opset_of
from ad_compressed_perception.targets.facts import Fault, GraphFacts, domain_of
from ad_compressed_perception.targets.rule import Rule

Value = int | float | str
_PIXELWISE = ("QuantizeLinear", "DequantizeLinear", "Cast", "Mul", "Sub", "Add", "Div")


class OperatorsRule(Rule):
    """Operators that a target has; every other one breaks the rule."""

    check: Literal["operators"]
    operators: dict[str, list[str]] = Field(
        min_length=1, description="domain ('' or ai.onnx is that of ONNX) to its operators"
    )

    def find(self, facts: GraphFacts) -> Iterator[Fault]:
        """Yield each node whose operator is not listed."""
        known: dict[str, set[str]] = {}
        for domain, names in self.operators.items():
            known.setdefault("" if domain in DEFAULT_DOMAINS else domain, set()).update(names)
        for node in facts.nodes:
            domain = domain_of(node)
            if node.op_type not in known.get(domain, ()):
                yield facts.fault(node, f"operator {node.op_type} of {domain}" if domain else "")


class OpsetRule(Rule):
    """Versions of ONNX's operators that a target reads."""

    check: Literal["opset"]
    least: int = Field(ge=1)
    most: int = Field(ge=1)

    def find(self, facts: GraphFacts) -> Iterator[Fault]:
        """Yield one fault, at the first node, where the model's version is another."""
        version = opset_of(facts.model)
        if not self.least <= version <= self.most and facts.nodes:
            yield facts.fault(facts.nodes[0], f"the model has opset {version}, not {self.least}..{self.most}")


class AttributeRule(Rule):
    """Values that an operator's attribute may have."""

    check: Literal["attribute"]
    operators: list[str] = Field(min_length=1)
    attribute: str
    allowed: list[Value] = Field(min_length=1, description="values; of a list, those of its elements")
    default: Value | None = Field(None, description="value where it is absent; null: absent is allowed")

    def find(self, facts: GraphFacts) -> Iterator[Fault]:
        """Yield each node with another value."""
        for node in facts.nodes:
            if node.op_type not in self.operators:
                continue
            value = attribute(node, self.attribute, self.default)
            values: list[Any] = list(value) if isinstance(value, (list, tuple)) else [value]
            wrong = [one for one in values if one is not None and one not in self.allowed]
            if wrong:
                yield facts.fault(node, f"{self.attribute} is {wrong[0]}")


class RankRule(Rule):
    """Numbers of dimensions that an operator's input may have."""

    check: Literal["rank"]
    operators: list[str] = Field(min_length=1)
    input: int = Field(0, ge=0, description="which input")
    allowed: list[int] = Field(min_length=1)

    def find(self, facts: GraphFacts) -> Iterator[Fault]:
        """Yield each node whose input has another rank; one of unknown rank is passed over."""
        for node in facts.nodes:
            if node.op_type in self.operators and self.input < len(node.input):
                shape = facts.shapes.get(node.input[self.input])
                if shape is not None and len(shape) not in self.allowed:
                    yield facts.fault(node, f"input {self.input} has {len(shape)} dimensions")


class ConstantInputsRule(Rule):
    """Inputs that must be stored, not computed."""

    check: Literal["constant_inputs"]
    inputs: dict[str, list[NonNegativeInt]] = Field(
        min_length=1, description="operator to the places of the inputs"
    )

    def find(self, facts: GraphFacts) -> Iterator[Fault]:
        """Yield each node that computes one of them."""
        for node in facts.nodes:
            for index in self.inputs.get(node.op_type, ()):
                given = index < len(node.input) and node.input[index]
                if given and not facts.is_stored(_source(facts, node.input[index])):
                    yield facts.fault(node, f"input {index} ({node.input[index]}) is computed")


class OutputsRule(Rule):
    """Outputs of an operator that a target has; the others must not be used."""

    check: Literal["outputs"]
    outputs: dict[str, NonNegativeInt] = Field(
        min_length=1, description="operator to how many of its outputs there are"
    )

    def find(self, facts: GraphFacts) -> Iterator[Fault]:
        """Yield each node of which a further output is used."""
        for node in facts.nodes:
            most = self.outputs.get(node.op_type)
            further = [] if most is None else [name for name in node.output[most:] if name]
            if any(facts.graph.uses(name) for name in further):
                yield facts.fault(node, f"its output {further[0]} is used")


class TypesRule(Rule):
    """Types that tensors between operators may have."""

    check: Literal["types"]
    allowed: list[str] = Field(min_length=1, description="as numpy names them, such as float32")
    operators: list[str] = Field(default_factory=list, description="only of these; all where it is empty")
    leave_out: list[str] = Field(
        default_factory=lambda: ["Cast", "CastLike", "QuantizeLinear", "DequantizeLinear", "Constant"],
        description="operators that change types or hold them",
    )

    def find(self, facts: GraphFacts) -> Iterator[Fault]:
        """Yield each node whose first input or output has another type."""
        for node in facts.nodes:
            if node.op_type in self.leave_out or (self.operators and node.op_type not in self.operators):
                continue
            kinds = [facts.kind(name) for name in (*node.input[:1], *node.output[:1]) if name]
            wrong = [kind for kind in kinds if kind and kind not in self.allowed]
            if wrong:
                yield facts.fault(node, f"it computes with {wrong[0]}")


class StaticShapesRule(Rule):
    """All sizes are known before the model runs."""

    check: Literal["static_shapes"]
    inputs_only: bool = Field(False, description="sizes that follow from values are allowed")

    def find(self, facts: GraphFacts) -> Iterator[Fault]:
        """Yield each input of open size, and each node whose output's sizes follow from values."""
        for name, shape in facts.inputs():
            if shape is None or None in shape:
                shown = "unknown" if shape is None else [size or "?" for size in shape]
                yield Fault(name, "input", f"its shape is {shown}")
        if self.inputs_only:
            return
        for node in facts.nodes:
            if any(name in facts.data_dependent for name in node.output):
                yield facts.fault(node, "the sizes of its output follow from values")


class LayoutRule(Rule):
    """Layout of the images that convolutions read straight from an input."""

    check: Literal["layout"]
    image: Literal["NHWC"]

    def find(self, facts: GraphFacts) -> Iterator[Fault]:
        """Yield each input of four dimensions that a convolution reads as it is, which is NCHW in ONNX."""
        for name, shape in facts.inputs():
            if shape is not None and len(shape) == 4 and _read_by_convolution(facts, name):
                yield Fault(name, "input", "it is NCHW")


def _source(facts: GraphFacts, name: str) -> str:
    """Return where a tensor comes from, through operators that leave a constant one."""
    node = facts.graph.producers.get(name)
    while node is not None and node.op_type in ("DequantizeLinear", "Identity", "Cast"):
        name = node.input[0]
        node = facts.graph.producers.get(name)
    return name


def _read_by_convolution(facts: GraphFacts, name: str) -> bool:
    """Whether a convolution reads a tensor as its image, directly or behind operators of single pixels."""
    for node in facts.graph.consumers.get(name, []):
        if node.op_type in ("Conv", "ConvTranspose"):
            return True
        if node.op_type in _PIXELWISE and _read_by_convolution(facts, node.output[0]):
            return True
    return False
