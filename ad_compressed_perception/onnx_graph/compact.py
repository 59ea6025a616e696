# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Short names inside a graph, and equal constants stored once: a smaller file with the same values.

In a small quantized network the names of tensors, which exporters make long and the quantizer longer,
can take more bytes than the weights, and the zero points of its channels repeat the same zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ad_compressed_perception.onnx_graph.graph import remove_dead
from ad_compressed_perception.onnx_graph.layers import is_compute
from ad_compressed_perception.onnx_graph.subgraphs import rename_tensors
from ad_compressed_perception.onnx_graph.walk import all_graphs

if TYPE_CHECKING:
    from onnx import ModelProto

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def share_constants(model: ModelProto) -> int:
    """Let all users of equal weights take the first of them; return how many were removed."""
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    outputs = {value.name for value in model.graph.output}
    renamed: dict[str, str] = {}
    for tensor in model.graph.initializer:
        if tensor.name in outputs or not tensor.raw_data:
            continue
        kept = first.setdefault((tensor.data_type, tuple(tensor.dims), tensor.raw_data), tensor.name)
        if kept != tensor.name:
            renamed[tensor.name] = kept
    kept_tensors = [tensor for tensor in model.graph.initializer if tensor.name not in renamed]
    if renamed:
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept_tensors)
        rename_tensors(model.graph, renamed)
    remove_dead(model)
    return len(renamed)


def shorten_names(model: ModelProto) -> None:
    """Shorten the names inside a graph, in place; inputs and outputs keep theirs."""
    graph = model.graph
    kept = {value.name for value in (*graph.input, *graph.output)}
    # Generated names must not collide with one that is kept.
    taken = set(kept)
    short: dict[str, str] = {name: name for name in kept}
    count = compute_ops = 0

    def shorten(name: str) -> str:
        nonlocal count
        while name not in short:
            candidate = _base36(count)
            count += 1
            if candidate not in taken:
                short[name] = candidate
        return short[name]

    for one in all_graphs(graph):
        for node in one.node:
            # Compute ops keep a unique name, by which a runtime's layers are matched to nodes of the file.
            node.name = _base36(compute_ops)[1:] if is_compute(node) else ""
            compute_ops += is_compute(node)
            node.doc_string = ""
        for tensor in one.initializer:
            tensor.doc_string = ""
        del one.value_info[:]
    rename_tensors(graph, shorten)


def _base36(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
        if not number:
            return f"_{digits}"
