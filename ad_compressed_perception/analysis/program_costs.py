# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Multiply-accumulates and parameters of an ExecuTorch program (.pte) or a program of torch.export (.pt2).

With numel the number of elements, of an output y, an input x and a weight w:
    convolution, matrix product: numel(y) * numel(w) / outputs
    transposed convolution:      numel(x) * numel(w) / inputs
XNNPACK lays weights out as (out, height, width, in / groups), and (1, height, width, out) for a depthwise
convolution; torch as (out, in / groups, height, width), and (in, out / groups, height, width) transposed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any

from ad_compressed_perception.backends.executorch_program import ProgramNode, read_program
from ad_compressed_perception.backends.torch_archive import refuse_code
from ad_compressed_perception.backends.torch_layers import COMPUTE, operator_name
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.model_files import read_checked
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.onnx_graph.costs import LayerCost, ModelCosts

_TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


def executorch_costs(path: Path) -> ModelCosts:
    """Count a .pte file; raise BackendError where it is missing, damaged or no such file."""
    facts = read_program(read_checked(path, None, BackendError), path)
    layers = [_node_cost(node) for node in facts.nodes if node.record.is_compute]
    operators = (node.record.operator for node in facts.nodes)
    return _costs(path, operators, layers, facts.parameters, facts.inputs, facts.outputs)


def _node_cost(node: ProgramNode) -> LayerCost:
    record, macs = node.record, None
    if node.input is not None and node.weight is not None and node.output is not None:
        weight, output = node.weight.shape, node.output.shape
        if record.kernel != "XNNPACK" or record.operator not in _OUTPUTS_AXIS:
            macs = None
        elif record.operator == "conv_transpose2d":
            macs = prod(node.input.shape) * prod(weight) // max(1, node.input.shape[-1])
        else:
            macs = prod(output) * prod(weight) // max(1, weight[_OUTPUTS_AXIS[record.operator]])
    shape = () if node.output is None else node.output.shape
    return LayerCost(record.name, record.operator, record.name, shape, macs, node.parameters)


_OUTPUTS_AXIS = {"conv2d": 0, "fully_connected": 0, "depthwise_conv2d": 3, "conv_transpose2d": 0}


def torch_costs(path: Path) -> ModelCosts:
    """Count a .pt2 file.

    Raises:
        BackendError: torch or the file is missing.
        ModelFileError: the file holds code, or is damaged.
    """
    import io

    try:
        import torch
    except ImportError as error:
        raise BackendError("reading a .pt2 file needs torch: pip install torch") from error
    content = read_checked(path, None, BackendError)
    refuse_code(torch, content, path)
    program = torch.export.load(io.BytesIO(content))
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    layers = [_torch_cost(node) for node in nodes if operator_name(node) in COMPUTE]
    stored = [*program.state_dict.values(), *program.constants.values()]
    parameters = sum(
        one.numel() for one in stored if isinstance(one, torch.Tensor) and one.is_floating_point()
    )
    expected = set(program.graph_signature.user_inputs)
    inputs = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in expected]
    outputs = [node for node in program.graph.nodes if node.name in program.graph_signature.user_outputs]
    return _costs(
        path, map(operator_name, nodes), layers, parameters, [*map(_spec, inputs)], [*map(_spec, outputs)]
    )


def _torch_cost(node: Any) -> LayerCost:
    tensors = [one.meta["val"] for one in node.all_input_nodes if hasattr(one.meta.get("val"), "shape")]
    output, operator = node.meta["val"], operator_name(node)
    macs, parameters = None, 0
    if len(tensors) > 1:
        first, weight = tensors[:2]
        parameters = sum(one.numel() for one in tensors[1:])
        if operator in _TRANSPOSED:
            macs = first.numel() * weight.numel() // weight.shape[0]
        elif operator.startswith("conv") or operator == "linear":
            macs = output.numel() * weight.numel() // weight.shape[0]
        elif operator in ("matmul", "mm", "bmm"):
            macs, parameters = output.numel() * first.shape[-1], 0
    return LayerCost(node.name, operator, node.name, tuple(map(int, output.shape)), macs, parameters)


def _spec(node: Any) -> TensorSpec:
    value = node.meta["val"]
    return TensorSpec(node.name, tuple(map(int, value.shape)), str(value.dtype).removeprefix("torch."))


def _costs(
    path: Path,
    operators: Iterable[str],
    layers: list[LayerCost],
    parameters: int,
    inputs: Iterable[TensorSpec],
    outputs: Iterable[TensorSpec],
) -> ModelCosts:
    counted = Counter(operators)
    return ModelCosts(
        file=path,
        size_bytes=path.stat().st_size,
        opset=0,
        ir_version=0,
        nodes=counted.total(),
        operators=dict(counted),
        macs=sum(layer.macs or 0 for layer in layers),
        layers_without_macs=sum(layer.macs is None for layer in layers),
        parameters=parameters,
        denormal_weights=0,
        layers=tuple(layers),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
    )
