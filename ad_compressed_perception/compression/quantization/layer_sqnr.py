# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Layer by layer: what the fewer bits of a variant do to what each product computes, and which stay float.

A product's signal to noise ratio is that of its output in the rounded graph against its output in the
graph before rounding, both fed with the same frames: ``10 log10(sum(y^2) / sum((y - y')^2))``, see
sensitivity.py. Noise that earlier layers made is in it, the rounding of the output itself is not (it is in
the next layer's). After quantization-aware training it holds what training moved too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ad_compressed_perception.compression.quantization.sensitivity import open_session, sqnr_db, with_outputs
from ad_compressed_perception.onnx_graph.layers import INTEGER_COMPUTE, is_compute
from ad_compressed_perception.pass_api.passes import Feeds

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

QUANTIZED, WEIGHTS, FLOAT = "quantized", "weights only", "float"
_CLIPPING = ("Relu", "Clip")
_NO_REASON = "the pass left it in float"


@dataclass(frozen=True)
class LayerSqnr:
    """One convolution or matrix product of the rounded graph.

    Attributes:
        name: its node's name.
        operator: ONNX operator.
        kind: "quantized" (both of its operands are), "weights only", or "float".
        sqnr_db: of its output, at most 120; None where the graph before rounding has no such layer.
        why_float: why it stays in float; None for the others.
    """

    name: str
    operator: str
    kind: str
    sqnr_db: float | None
    why_float: str | None


def measure_layers(
    exact: ModelProto, rounded: ModelProto, frames: Iterable[Feeds], notes: Sequence[Mapping[str, Any]] = ()
) -> list[LayerSqnr]:
    """Return every product of a rounded graph in the order of execution.

    Args:
        exact: the graph before rounding.
        rounded: the graph after it.
        frames: inputs that fit both.
        notes: what the passes told about themselves.

    Raises:
        ModelFileError: ONNX Runtime cannot run one of the graphs.
    """
    products = [node for node in rounded.graph.node if is_compute(node)]
    partners = _partners(exact, products)
    kinds = layer_kinds(exact, rounded)
    noise = _measure(exact, rounded, {mine: partners[mine] for mine in partners}, frames)
    some_are_not = any(kind == QUANTIZED for kind in kinds)
    return [
        LayerSqnr(
            node.name or node.output[0],
            node.op_type,
            kind,
            noise.get(node.output[0]),
            why_float(node, rounded, notes) if kind == FLOAT and some_are_not else None,
        )
        for node, kind in zip(products, kinds, strict=True)
    ]


def _partners(exact: ModelProto, products: Sequence[NodeProto]) -> dict[str, str]:
    """Return the output of each product with the output it is held against: by node's name, else its own."""
    by_node = {node.name: node for node in exact.graph.node if node.name and is_compute(node)}
    outputs = {name for node in exact.graph.node for name in node.output}
    found = {}
    for node in products:
        mine = node.output[0]
        other = by_node.get(node.name)
        if other is not None:
            found[mine] = other.output[0]
        elif mine in outputs:
            found[mine] = mine
    return found


def layer_kinds(exact: ModelProto, rounded: ModelProto) -> list[str]:
    """Return the kind of every product of the rounded graph, see LayerSqnr, by the graph's structure."""
    makers = {name: node for node in rounded.graph.node for name in node.output}
    before = {tensor.name: tensor for tensor in exact.graph.initializer}
    after = {tensor.name: tensor for tensor in rounded.graph.initializer}
    constants = {node.output[0]: node for node in exact.graph.node if node.op_type == "Constant"}

    def expanded(name: str) -> bool:
        return name in makers and makers[name].op_type == "DequantizeLinear"

    kinds = []
    for node in rounded.graph.node:
        if not is_compute(node):
            continue
        weight = node.input[1] if len(node.input) > 1 else ""
        changed = weight in after and (weight not in before or _differ(before[weight], after[weight]))
        # Older files hold weights as Constant operators.
        changed |= weight in makers and _is_changed_constant(makers[weight], constants)
        if node.op_type in INTEGER_COMPUTE or (expanded(node.input[0]) and expanded(weight)):
            kinds.append(QUANTIZED)
        elif expanded(weight) or changed:
            kinds.append(WEIGHTS)
        else:
            kinds.append(FLOAT)
    return kinds


def _differ(one: TensorProto, other: TensorProto) -> bool:
    """Whether two weights have other values, in whatever form they are written down."""
    from onnx import numpy_helper

    if one.data_type != other.data_type:
        return True
    return not np.array_equal(numpy_helper.to_array(one), numpy_helper.to_array(other))


def _is_changed_constant(node: NodeProto, before: Mapping[str, NodeProto]) -> bool:
    if node.op_type != "Constant":
        return False
    earlier = before.get(node.output[0])
    return earlier is None or earlier.SerializeToString() != node.SerializeToString()


def why_float(node: NodeProto, rounded: ModelProto, notes: Sequence[Mapping[str, Any]]) -> str:
    """Return why a product stays in float, as far as the passes' notes tell."""
    told = {entry["tensor"]: entry for one in notes for entry in one.get("float_tensors") or ()}
    excluded = {name for one in notes for name in one.get("excluded_nodes") or ()}
    if node.name in excluded:
        return "excluded by the recipe"
    results = list(node.output)
    for other in rounded.graph.node:
        if node.output[0] in other.input and other.op_type in _CLIPPING:
            results += other.output
    operands = dict(zip(node.input[:2], ("its input", "its weights"), strict=False))
    for tensor in (*operands, *results):
        if tensor in told:
            return f"{operands.get(tensor, 'its output')}: {told[tensor]['why']}"
    makers = {name for one in rounded.graph.node if one.op_type == "DequantizeLinear" for name in one.output}
    if any(told) and node.input and node.input[0] not in makers:
        return "what it computes from is left in float"
    return "what it gives is left in float" if any(told) else _NO_REASON


def _measure(
    exact: ModelProto, rounded: ModelProto, partners: Mapping[str, str], frames: Iterable[Feeds]
) -> dict[str, float]:
    if not partners:
        return {}
    references = open_session(with_outputs(exact, list(dict.fromkeys(partners.values()))))
    judged = open_session(with_outputs(rounded, list(partners)))
    names = [output.name for output in references.get_outputs()]
    signal = dict.fromkeys(partners, 0.0)
    noise = dict.fromkeys(partners, 0.0)
    for feeds in frames:
        expected = dict(zip(names, references.run(None, feeds), strict=True))
        for mine, found in zip(partners, judged.run(None, feeds), strict=True):
            reference = expected[partners[mine]]
            if reference.shape != found.shape:
                signal[mine] = np.nan
                continue
            # Single precision: a sum is right to some 1e-5 of itself, which no decibel figure shows.
            wide = reference.astype(np.float32, copy=False)
            apart = wide - found
            signal[mine] += float(np.vdot(wide, wide))
            noise[mine] += float(np.vdot(apart, apart))
    return {name: sqnr_db(signal[name], noise[name]) for name in partners if not np.isnan(signal[name])}
