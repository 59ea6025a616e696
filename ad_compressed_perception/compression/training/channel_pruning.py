# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Structured pruning: whole channels leave, together with all that depends on them.

torch-pruning finds what depends on what (Fang et al., DepGraph, CVPR 2023); importance is a group's
first-order Taylor term |w * dL/dw| (Molchanov et al., Importance Estimation for Neural Network
Pruning, CVPR 2019) under the distillation loss, or the weights' L2 norm without one. The graph then
gets its smaller weights, and group counts, and has its shapes inferred anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import torch
from onnx import ModelProto, numpy_helper
from torch import Tensor

from ad_compressed_perception.compression.onnx_file import one_line
from ad_compressed_perception.compression.training.graph_module import GraphModule
from ad_compressed_perception.errors import ModelFileError


def prune_channels(
    module: GraphModule,
    example: Tensor,
    ratio: float,
    *,
    round_to: int = 8,
    max_ratio: float = 0.8,
    global_ranking: bool = True,
    learn: Callable[[], None] | None = None,
) -> ModelProto:
    """Remove channels from a module; return the graph that is left.

    Args:
        module: the float module; it is changed.
        example: one prepared input, for finding dependencies.
        ratio: share of the channels to remove, 0..1.
        round_to: channels that stay are a multiple of this; the SIMD width of int8 kernels is 16 to 64,
            and remainders cost as much as whole vectors.
        max_ratio: no layer loses more than this share.
        global_ranking: rank channels over all layers, else each layer by itself.
        learn: leaves gradients of a loss in the module, for the Taylor importance.

    Raises:
        ModelFileError: the graph cannot be pruned; the line names the first contradiction.
    """
    import torch_pruning as tp

    module.train()
    if learn is not None:
        module.zero_grad()
        learn()
    importance = tp.importance.GroupTaylorImportance() if learn else tp.importance.GroupMagnitudeImportance(p=2)
    module.eval()
    pruner = tp.pruner.BasePruner(
        module,
        example,
        importance=importance,
        global_pruning=global_ranking,
        pruning_ratio=ratio,
        max_pruning_ratio=max_ratio,
        ignored_layers=_last_layers(module),
        round_to=round_to,
    )
    pruner.step()
    module.zero_grad()
    return _shrunk(module, example)


def _last_layers(module: GraphModule) -> list[Any]:
    """Convolutions and products whose channels are the outputs' own: they mean something and stay."""
    producers = {name: step for step in module.steps for name in step.outputs}
    index_of = {id(step): str(index) for index, step in enumerate(module.steps)}
    waiting, seen, last = list(module.output_names), set(), []
    while waiting:
        name = waiting.pop()
        step = producers.get(name)
        if step is None or id(step) in seen:
            continue
        seen.add(id(step))
        if step.operator == "Conv":
            last.append(module.convolutions[index_of[id(step)]])
        elif step.operator not in ("Gemm", "MatMul", "ConvTranspose"):
            waiting += step.inputs
    return last


def _shrunk(module: GraphModule, example: Tensor) -> ModelProto:
    model = module.write_back()
    nodes = {node.output[0]: node for node in model.graph.node}
    for index, step in enumerate(module.steps):
        if step.operator != "Conv":
            continue
        groups = module.convolutions[str(index)].groups
        for attribute in nodes[step.outputs[0]].attribute:
            if attribute.name == "group":
                attribute.i = groups
    _fit_resize_sizes(model, module, example)
    del model.graph.value_info[:]
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
        onnx.checker.check_model(inferred)
    except Exception as error:
        raise ModelFileError(f"the graph does not fit together once pruned: {one_line(error)}") from error
    return inferred


def _fit_resize_sizes(model: ModelProto, module: GraphModule, example: Tensor) -> None:
    """Give Resize nodes with constant sizes the channels that are left: sizes name all four axes."""
    resized = [
        node for node in model.graph.node if node.op_type == "Resize" and len(node.input) > 3
    ]
    with torch.no_grad():
        sources = module.run({module.input_names[0]: example}, [node.input[0] for node in resized])
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node, source in zip(resized, sources, strict=True):
        sizes = constants.get(node.input[3])
        if sizes is None or sizes.size != 4 or int(sizes[1]) == source.shape[1]:
            continue
        fresh = sizes.copy()
        fresh[1] = source.shape[1]
        name = f"{node.output[0]}_sizes"
        model.graph.initializer.append(numpy_helper.from_array(fresh, name))
        node.input[3] = name


def parameter_count(model: ModelProto) -> int:
    """Number of floating-point weights of a graph."""
    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16}
    return sum(
        int(numpy_helper.to_array(tensor).size)
        for tensor in model.graph.initializer
        if tensor.data_type in floats
    )
