# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Initialization of a network from the encoder of a trained model (transfer learning)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.training.graph_module.layers import Convolution, Normalization, WeightLayer
from ad_compressed_perception.training.graph_module.module import GraphModule


def initialize_from(network: GraphModule, start: str, frozen_stride: int) -> int:
    """Copy the weights of a trained model into a fresh network; return the number of initialized layers.

    Layers are copied in order as long as the trained model has one of the same name and shape. Its
    normalizations are folded, so the fresh ones become the identity with the folded shift until the first
    training batch sets mean and variance.

    Args:
        network: fresh, of the same encoder and width.
        start: folder of the model.
        frozen_stride: layers up to this stride are frozen; 1: none.

    Raises:
        RecipeError: not even the first layer matches.
    """
    manifest = load_manifest(Path(os.path.expandvars(start)).expanduser())
    path = manifest.checked_path(manifest.baseline)
    model = onnx.load(str(path))
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    biases = {node.input[1]: node.input[2] for node in model.graph.node if len(node.input) == 3}
    stride, copied = 1, 0
    for index, step in enumerate(network.steps):
        following = str(index + 1)
        if step.operator != "Conv" or following not in network.norms:
            continue
        # A folded weight is named after its normalization.
        name = f"{network.steps[index + 1].name}_weight"
        weight, bias = arrays.get(name), arrays.get(biases.get(name, ""))
        layer, norm = (
            cast(Convolution, network.layers[str(index)]),
            cast(Normalization, network.norms[following]),
        )
        if weight is None or bias is None or weight.shape != tuple(layer.weight.shape):
            break
        stride *= int(layer.stride[0])
        _copy(layer, norm, weight, bias)
        if 1 < stride <= frozen_stride:
            _freeze(layer, norm)
        norm.unsettled = not norm.frozen
        copied += 1
    copied += _copy_head(network, arrays)
    if copied == 0:
        raise RecipeError(
            f"network.initialize_from: the encoder of {manifest.name} is another one than this network's; "
            "name a model of the same network.encoder and width"
        )
    return copied


def _copy_head(network: GraphModule, arrays: Mapping[str, NDArray[Any]]) -> int:
    """Copy head layers without normalization whose names and shapes match; return their number."""
    copied = 0
    for index, layer in network.layers.items():
        is_normalized = str(int(index) + 1) in network.norms
        if not isinstance(layer, WeightLayer) or is_normalized or layer.bias is None:
            continue
        step = network.steps[int(index)]
        weight, bias = (arrays.get(name) for name in step.inputs[1:3])
        if weight is None or bias is None or weight.shape != tuple(layer.weight.shape):
            continue
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(np.array(weight)))
            layer.bias.copy_(torch.from_numpy(np.array(bias)))
        copied += 1
    return copied


@torch.no_grad()
def _copy(layer: Convolution, norm: Normalization, weight: NDArray[Any], bias: NDArray[Any]) -> None:
    layer.weight.copy_(torch.from_numpy(np.array(weight)))
    assert norm.running_mean is not None and norm.running_var is not None
    norm.weight.fill_(1.0)
    norm.bias.copy_(torch.from_numpy(np.array(bias)))
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0 - norm.eps)


def _freeze(layer: Convolution, norm: Normalization) -> None:
    for parameter in (*layer.parameters(), *norm.parameters()):
        parameter.requires_grad_(False)
    norm.frozen = True
