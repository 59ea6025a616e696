# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Per-layer SQNR of a variant of lower precision, and which layers stay in float.

The SQNR of a compute op (convolution or matrix product) compares its output in the rounded graph with its
output in the graph before rounding, on the same frames: ``10 log10(sum(y^2) / sum((y - y')^2))``, see
sensitivity.py. It includes the noise of earlier layers, but not the rounding of the output itself (that
is in the next layer's). After quantization-aware training it includes the changes by training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ad_compressed_perception.compression.quantization.sensitivity import session_with_outputs, sqnr_db
from ad_compressed_perception.onnx_graph.graph import Graph
from ad_compressed_perception.onnx_graph.layers import INTEGER_COMPUTE, is_compute
from ad_compressed_perception.pass_api.passes import Feeds
from ad_compressed_perception.report.schemas.compression import Layer

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

QUANTIZED, WEIGHTS, FLOAT = "quantized", "weights only", "float"
_CLIPPING = ("Relu", "Clip")
_NO_REASON = "the pass left it in float"


def measure_layers(
    exact: ModelProto, rounded: ModelProto, frames: Iterable[Feeds], notes: Sequence[Mapping[str, Any]] = ()
) -> list[Layer]:
    """Return every compute op of a rounded graph in the order of execution.

    Args:
        exact: the graph before rounding.
        rounded: the graph after it.
        frames: inputs that fit both.
        notes: the notes of the passes.

    Raises:
        ModelFileError: ONNX Runtime cannot run one of the graphs.
    """
    compute_ops = [node for node in rounded.graph.node if is_compute(node)]
    references = _references(exact, compute_ops)
    kinds = layer_kinds(exact, rounded)
    noise = _measure(exact, rounded, references, frames)
    any_quantized = any(kind == QUANTIZED for kind in kinds)
    return [
        Layer(
            name=node.name or node.output[0],
            operator=node.op_type,
            kind=kind,
            sqnr_db=noise.get(node.output[0]),
            why_float=why_float(node, rounded, notes) if kind == FLOAT and any_quantized else None,
        )
        for node, kind in zip(compute_ops, kinds, strict=True)
    ]


def _references(exact: ModelProto, compute_ops: Sequence[NodeProto]) -> dict[str, str]:
    """Map each compute op's output to its reference: that of the node of its name, else itself."""
    by_node = {node.name: node for node in exact.graph.node if node.name and is_compute(node)}
    produced = Graph(exact).producers
    found = {}
    for node in compute_ops:
        output = node.output[0]
        other = by_node.get(node.name)
        if other is not None:
            found[output] = other.output[0]
        elif output in produced:
            found[output] = output
    return found


def layer_kinds(exact: ModelProto, rounded: ModelProto) -> list[str]:
    """Return the kind (see Layer) of every compute op of the rounded graph, from its structure."""
    before, after = Graph(exact), Graph(rounded)

    def expanded(name: str) -> bool:
        return after.producer(name, "DequantizeLinear") is not None

    kinds = []
    for node in after.nodes:
        if not is_compute(node):
            continue
        weight = node.input[1] if len(node.input) > 1 else ""
        # Older files store weights as Constant operators.
        stored, earlier = after.tensor(weight), before.tensor(weight)
        changed = stored is not None and (earlier is None or _differ(earlier, stored))
        if node.op_type in INTEGER_COMPUTE or (expanded(node.input[0]) and expanded(weight)):
            kinds.append(QUANTIZED)
        elif expanded(weight) or changed:
            kinds.append(WEIGHTS)
        else:
            kinds.append(FLOAT)
    return kinds


def _differ(one: TensorProto, other: TensorProto) -> bool:
    """Whether two weights differ in value or type, whatever field stores the values."""
    from onnx import numpy_helper

    if one.data_type != other.data_type:
        return True
    return not np.array_equal(numpy_helper.to_array(one), numpy_helper.to_array(other))


def why_float(node: NodeProto, rounded: ModelProto, notes: Sequence[Mapping[str, Any]]) -> str:
    """Return why a compute op stays in float, as far as the passes' notes state it."""
    reasons = {entry["tensor"]: entry for one in notes for entry in one.get("float_tensors") or ()}
    excluded = {name for one in notes for name in one.get("excluded_nodes") or ()}
    if node.name in excluded:
        return "excluded by the recipe"
    graph = Graph(rounded)
    results = list(node.output)
    for other in graph.consumers.get(node.output[0], ()):
        if other.op_type in _CLIPPING:
            results += other.output
    operands = dict(zip(node.input[:2], ("its input", "its weights"), strict=False))
    for tensor in (*operands, *results):
        if tensor in reasons:
            return f"{operands.get(tensor, 'its output')}: {reasons[tensor]['why']}"
    if any(reasons) and node.input and graph.producer(node.input[0], "DequantizeLinear") is None:
        return "its input is left in float"
    return "its output is left in float" if any(reasons) else _NO_REASON


def _measure(
    exact: ModelProto, rounded: ModelProto, references: Mapping[str, str], frames: Iterable[Feeds]
) -> dict[str, float]:
    if not references:
        return {}
    reference_session = session_with_outputs(exact, list(dict.fromkeys(references.values())))
    variant_session = session_with_outputs(rounded, list(references))
    names = [output.name for output in reference_session.get_outputs()]
    signal = dict.fromkeys(references, 0.0)
    noise = dict.fromkeys(references, 0.0)
    for feeds in frames:
        expected = dict(zip(names, reference_session.run(None, feeds), strict=True))
        for output, found in zip(references, variant_session.run(None, feeds), strict=True):
            reference = expected[references[output]]
            if reference.shape != found.shape:
                signal[output] = np.nan
                continue
            # Single precision: the relative error of a sum is about 1e-5, negligible in decibels.
            wide = reference.astype(np.float32, copy=False)
            difference = wide - found
            signal[output] += float(np.vdot(wide, wide))
            noise[output] += float(np.vdot(difference, difference))
    return {name: sqnr_db(signal[name], noise[name]) for name in references if not np.isnan(signal[name])}
