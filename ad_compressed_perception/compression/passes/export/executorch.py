# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a graph as an ExecuTorch program (.pte), convolutions and matrix products for XNNPACK.

int8 is post-training quantization in the graph of torch.export (PyTorch 2 Export quantization, torchao):
symmetric weights per output channel, affine activations per tensor, ``scale = (max - min) / 255`` over the
calibration frames. What follows the last products stays in float where values of different meaning meet in
it, boxes and scores for example, and so do products whose own output holds them (onnx_graph/heads.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.backends.program_names import METHOD
from ad_compressed_perception.backends.torch_layers import operator_name
from ad_compressed_perception.compression.passes.export.base import (
    ExportPass,
    Precision,
    converting,
    needed_frames,
)
from ad_compressed_perception.core.tensors import Feeds
from ad_compressed_perception.workspace.atomic_file import write_file

if TYPE_CHECKING:
    from onnx import ModelProto

    from ad_compressed_perception.compression.passes.export.torch_graph import TorchGraph

PRODUCTS = ("conv2d", "convolution", "conv_transpose2d", "linear", "matmul", "addmm", "mm", "bmm")
"""ATen operators that multiply."""
_LEAST_SCALE = 2.0**-12
"""Of XNNPACK's quantizer."""


class ExportExecuTorch(ExportPass):
    """Writes the graph for the backend ``executorch``."""

    name = "export_executorch"
    writes = "executorch"
    suffix = ".pte"
    packages = {"torch": "torch", "executorch": "executorch", "torchao": "torchao"}

    def write(
        self, model: ModelProto, out: Path, precision: Precision, frames: Iterable[Feeds]
    ) -> dict[str, Any]:
        """Write the file; see write_executorch."""
        return write_executorch(model, out, precision, frames)


def write_executorch(
    model: ModelProto | Path,
    out: Path,
    precision: Precision = "fp32",
    frames: Iterable[Feeds] = (),
) -> dict[str, Any]:
    """Write a float ONNX graph as an ExecuTorch program; return notes.

    Args:
        model: the graph or its file.
        out: the .pte file to write.
        precision: fp16 stores weights and computes in half precision, between float inputs and outputs.
        frames: inputs by name to calibrate int8 on.

    Raises:
        RecipeError: int8 without frames.
        ModelFileError: the graph has no equivalent, or ExecuTorch refuses it; the line names the operator.
    """
    from ad_compressed_perception.compression.passes.export.torch_graph import torch_graph

    given = needed_frames(precision, frames)
    made = torch_graph(model, precision)
    notes: dict[str, Any] = {"precision": precision}
    with converting("ExecuTorch"):
        from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS, SoftmaxConfig
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

        program = made.exported()
        if precision == "int8":
            program, kept = _quantized(made, program, given)
            notes["float_nodes"] = kept
        # XNNPACK's softmax behind a permutation to NHWC sums over another axis (ExecuTorch 1.5.1).
        right = [config for config in ALL_PARTITIONER_CONFIGS if config is not SoftmaxConfig]
        edge = to_edge_transform_and_lower(
            program,
            partitioner=[XnnpackPartitioner(configs=right)],
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
            constant_methods={METHOD: made.names.text()},
        )
        write_file(out, edge.to_executorch().buffer)
    return notes


def _quantized(made: TorchGraph, program: Any, frames: list[Feeds]) -> tuple[Any, list[str]]:
    """Return the program with Q/DQ pairs, and the ONNX nodes that stay in float."""
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    graph_module = program.module()
    quantizer = XNNPACKQuantizer().set_global(_config())
    chosen, kept = float_filter(made, graph_module, frames)
    quantizer.set_filter_function(chosen)
    prepared = prepare_pt2e(graph_module, quantizer)
    with torch.no_grad():
        for feeds in frames:
            prepared(*made.tensors(feeds))
    converted = convert_pt2e(prepared)
    with torch.no_grad():
        return torch.export.export(converted, made.example, strict=False), kept


def _config() -> Any:
    """Return XNNPACK's settings with the range of all frames, in place of a histogram's with clipped ends."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import get_symmetric_quantization_config
    from torchao.quantization.pt2e import MinMaxObserver

    config = get_symmetric_quantization_config(is_per_channel=True)
    activation = replace(
        config.input_activation, observer_or_fake_quant_ctr=MinMaxObserver.with_args(eps=_LEAST_SCALE)
    )
    return replace(config, input_activation=activation, output_activation=activation)


def float_filter(
    made: TorchGraph, graph_module: Any, frames: list[Feeds]
) -> tuple[Callable[[Any], bool], list[str]]:
    """Return which nodes of a torch graph may be quantized, and the names of the ONNX nodes that may not.

    The n-th product of the torch graph is the n-th of the ONNX graph: it was recorded in that order.
    """
    from ad_compressed_perception.onnx_graph.heads import find_heads

    heads = find_heads(made.model, made.ranges(frames))
    nodes = list(graph_module.graph.nodes)
    products = [node for node in nodes if operator_name(node) in PRODUCTS]
    feeding = set(products)
    for node in reversed(nodes):
        if feeding.intersection(node.users):
            feeding.add(node)
    shared = set(heads.shared)
    steps = [
        step for step in made.module.steps if step.operator in ("Conv", "ConvTranspose", "Gemm", "MatMul")
    ]
    floats = set()
    if len(steps) == len(products):
        floats = {
            node for node, step in zip(products, steps, strict=True) if shared.intersection(step.outputs)
        }
    elif shared:  # another count of products: all of the last ones stay in float
        floats = {node for node in products if not feeding.intersection(node.users)}
    kept = [*(heads.head if heads.concat_points else ()), *sorted(shared)]

    def chosen(node: Any) -> bool:
        return node not in floats and (node in feeding or not heads.concat_points)

    return chosen, kept
