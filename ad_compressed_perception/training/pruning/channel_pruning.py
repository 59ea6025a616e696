# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Structured pruning: removal of whole channels together with everything that depends on them.

torch-pruning finds the dependencies (Fang et al., DepGraph, CVPR 2023). A group's importance is
either its weights' L2 norm or the Taylor term ``sum w^2 E[(dL/dw)^2]``: the second-order one with the
diagonal of the Fisher matrix for the Hessian (LeCun et al., Optimal Brain Damage, NeurIPS 1989; Theis
et al., arXiv:1801.05787), since a student that still equals its teacher has no first-order one. The
smaller weights and group counts are then written into the graph, and its shapes are inferred again.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, cast

import onnx
import torch
from onnx import ModelProto, numpy_helper
from torch import Tensor

from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.core.one_line import one_line, shorten
from ad_compressed_perception.onnx_graph.graph import Graph
from ad_compressed_perception.training.graph_module.layers import Convolution, WeightLayer
from ad_compressed_perception.training.graph_module.module import GraphModule


def prune_channels(
    module: GraphModule,
    example: Tensor,
    ratio: float,
    *,
    round_to: int = 8,
    max_ratio: float = 0.8,
    global_ranking: bool = True,
    losses: Iterable[Tensor] | None = None,
) -> ModelProto:
    """Remove channels from a module; return the pruned graph.

    Args:
        module: the float module; it is changed.
        example: one prepared input, for finding dependencies.
        ratio: share of the channels to remove, 0..1.
        round_to: kept channels are a multiple of this, rounded down; integer kernels process 16 to 64 at
            once, and remainders cost as much as full vectors.
        max_ratio: no layer loses more than this share.
        global_ranking: rank channels over all layers, else each layer by itself.
        losses: losses of single images, computed lazily, for the Taylor importance; None for the weights'
            norm.

    Raises:
        ModelFileError: the graph cannot be pruned; the message names the first inconsistency.
        RecipeError: a graph with unfolded normalizations, or a quantized one.
    """
    _check_prunable(module)
    if losses is not None:
        square_gradients(module.eval(), losses)
    with _refusals():
        open_pruner(
            module,
            example,
            importance=lambda group: importance(group, losses is not None),
            global_pruning=global_ranking,
            pruning_ratio=ratio,
            max_pruning_ratio=max_ratio,
            round_to=round_to,
        ).step()
        module.zero_grad()
        return shrunk(module, example)


def open_pruner(module: GraphModule, example: Tensor, **options: Any) -> Any:
    """Return torch-pruning's pruner of a module, which finds what depends on each channel.

    It is shown the last products, so that arithmetic behind them is not searched for channels.

    Raises:
        RecipeError: a graph with unfolded normalizations, or a quantized one.
    """
    import torch_pruning as tp

    _check_prunable(module)
    outputs, products = module.output_names, module.last_products()
    module.output_names = [module.steps[index].outputs[0] for index in products] or outputs
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about parameters outside of layers, which are not pruned
            return tp.pruner.BasePruner(module.eval(), example, ignored_layers=last_layers(module), **options)
    finally:
        module.output_names = outputs


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Raise a one-line error with a remedy where a graph's channels cannot be removed."""
    try:
        yield
    # From torch-pruning's dependency search, and from running the graph with fewer channels.
    except (ModelFileError, RuntimeError, ArithmeticError, LookupError, ValueError) as error:
        raise ModelFileError(
            f"the graph's channels cannot be removed ({shorten(one_line(error), 160)}): "
            "a constant (of a Reshape, a Gather, a DepthToSpace) or the groups of a convolution behind a "
            "Concat fix their number; use prune_unstructured, palettize or a student instead"
        ) from error


def _check_prunable(module: GraphModule) -> None:
    """Raise RecipeError for a graph with unfolded normalizations, or a quantized one."""
    for step in module.steps:
        if step.operator in ("BatchNormalization", "QuantizeLinear"):
            earlier = "put simplify before" if step.operator[0] == "B" else "quantize after"
            raise RecipeError(f"channels cannot be pruned around {step.operator} {step.name!r}: {earlier} it")


@torch.no_grad()
def importance(group: Any, taylor: bool) -> Tensor | None:
    """Return the importance of each channel of a group, relative to the group's mean; None if unknown."""
    from torch_pruning.pruner import function

    rows = (
        function.prune_conv_out_channels,
        function.prune_linear_out_channels,
        function.prune_depthwise_conv_out_channels,
    )
    columns = (function.prune_conv_in_channels, function.prune_linear_in_channels)
    score = torch.zeros(len(group[0].idxs))
    found = False
    for member in group:
        layer, handler = member.dep.target.module, member.dep.handler
        if not isinstance(layer, WeightLayer) or handler not in rows + columns:
            continue
        if handler in columns and getattr(layer, "groups", 1) > 1:
            continue  # a row of such a weight belongs to one group of inputs only
        weight = layer.weight.detach() ** 2
        if taylor and layer.weight.grad is not None:
            weight = weight * layer.weight.grad
        values = (weight if handler in rows else weight.transpose(0, 1)).flatten(1).sum(1)
        score.index_add_(0, torch.tensor(member.root_idxs), values[member.idxs])
        found = True
    # Breaks ties: equal channels (mostly inactive ones) would otherwise all be removed at once.
    order = torch.arange(len(score)) * 1e-6
    return score / score.mean().clamp_min(1e-20) + order if found else None


def square_gradients(module: GraphModule, losses: Iterable[Tensor]) -> None:
    """Leave the mean of the squared gradients in the parameters' ``grad``."""
    sums: dict[str, Tensor] = {}
    count = 0
    for loss in losses:
        module.zero_grad()
        loss.backward()
        count += 1
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                square = parameter.grad.detach() ** 2
                sums[name] = sums[name] + square if name in sums else square
    for name, parameter in module.named_parameters():
        parameter.grad = sums[name] / count if name in sums else None


def last_layers(module: GraphModule) -> list[Any]:
    """Return the layers whose channels are the graph's outputs, which must not be pruned."""
    return [module.layers[str(index)] for index in module.last_products() if str(index) in module.layers]


def shrunk(module: GraphModule, example: Tensor) -> ModelProto:
    """Return the graph of a pruned module; raise ModelFileError where it is inconsistent."""
    model = module.write_back()
    producers = Graph(model).producers
    for index, step in enumerate(module.steps):
        if step.operator != "Conv":
            continue
        groups = cast(Convolution, module.layers[str(index)]).groups
        for attribute in producers[step.outputs[0]].attribute:
            if attribute.name == "group":
                attribute.i = groups
    _fit_resize_sizes(model, module, example)
    del model.graph.value_info[:]
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
        onnx.checker.check_model(inferred)
    except Exception as error:
        raise ModelFileError(f"the pruned graph is inconsistent: {one_line(error)}") from error
    return inferred


def _fit_resize_sizes(model: ModelProto, module: GraphModule, example: Tensor) -> None:
    """Update the channel count in constant sizes of Resize nodes, which cover all four axes."""
    run = {name for step in module.steps for name in step.outputs}
    resized = [
        n for n in model.graph.node if n.op_type == "Resize" and len(n.input) > 3 and n.output[0] in run
    ]
    with torch.no_grad():
        # The outputs too: a constant that fixes the number of channels is found here, by its node.
        names = [*(node.input[0] for node in resized), *module.output_names]
        sources = module.run({module.input_names[0]: example}, names)[: len(resized)]
    graph = Graph(model)
    for node, source in zip(resized, sources, strict=True):
        sizes = graph.constant(node.input[3])
        if sizes is None or sizes.size != 4 or int(sizes[1]) == source.shape[1]:
            continue
        fresh = sizes.copy()
        fresh[1] = source.shape[1]
        node.input[3] = graph.add_constant(f"{node.output[0]}_sizes", fresh)


def parameter_count(model: ModelProto) -> int:
    """Return the number of floating-point weights of a graph."""
    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16}
    return sum(
        int(numpy_helper.to_array(tensor).size)
        for tensor in model.graph.initializer
        if tensor.data_type in floats
    )


def channel_count(model: ModelProto) -> int:
    """Return the number of prunable channels: those of all layers but the last ones."""
    module = GraphModule(model)
    last = {id(layer) for layer in last_layers(module)}
    return sum(len(cast(WeightLayer, v).weight) for v in module.layers.values() if id(v) not in last)
