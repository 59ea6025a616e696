# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Names in a float graph that ONNX Runtime's quantizer would give to tensors of its own.

It names a scale after its tensor (``x_scale``), and the copies of a bias that several compute ops share by
appending a number (``b2`` becomes ``b20``), without a look at the names that the graph has.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ad_compressed_perception.onnx_graph.qdq import COMPUTE_OPS

if TYPE_CHECKING:
    from onnx import ModelProto

_SUFFIXES = (
    "_scale", "_zero_point", "_quantized", "_quantized_scale", "_quantized_zero_point", "_QuantizeLinear",
    "_QuantizeLinear_Input", "_QuantizeLinear_Output", "_DequantizeLinear", "_DequantizeLinear_Output",
    "_output_quantized", "_output_quantized_cast_output", "_MatMul", "_Transposed",
)  # fmt: skip
_BIAS = 2


def clear_quantizer_names(model: ModelProto) -> None:
    """Give every compute op a bias of its own and rename tensors in the quantizer's way, in place.

    Inputs and outputs of the graph keep their names.
    """
    graph = model.graph
    fixed = {value.name for value in (*graph.input, *graph.output)}
    taken = fixed | {tensor.name for tensor in graph.initializer}
    taken |= {name for node in graph.node for name in (*node.input, *node.output) if name}
    _copy_shared_biases(model, taken)
    renamed = {}
    for name in sorted(taken):
        for other in (name + suffix for suffix in _SUFFIXES):
            if other in taken:
                # Either of the two may move.
                moved = other if other not in fixed else name
                if moved not in fixed and moved not in renamed:
                    renamed[moved] = _free(f"{moved}/float", taken)
    if renamed:
        _rename(model, renamed)


def _copy_shared_biases(model: ModelProto, taken: set[str]) -> None:
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input)
    for node in graph.node:
        if node.op_type not in COMPUTE_OPS or len(node.input) <= _BIAS:
            continue
        bias = node.input[_BIAS]
        if bias in weights and uses[bias] > 1:
            uses[bias] -= 1
            copy = graph.initializer.add()
            copy.CopyFrom(weights[bias])
            copy.name = node.input[_BIAS] = _free(f"{bias}/{node.name}", taken)


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _rename(model: ModelProto, names: dict[str, str]) -> None:
    graph = model.graph
    for node in graph.node:
        for listed in (node.input, node.output):
            for place, name in enumerate(listed):
                if name in names:
                    listed[place] = names[name]
    for named in (*graph.initializer, *graph.value_info):
        named.name = names.get(named.name, named.name)
