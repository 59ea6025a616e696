# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sparsity masks: pruned weights stay zero during fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ad_compressed_perception.training.graph_module.module import GraphModule


def trainable_weights(module: GraphModule, names: Sequence[str]) -> dict[str, nn.Parameter]:
    """Return the trainable parameters of weight tensors of the graph by name, in order."""
    layers = {
        step.inputs[1]: cast(nn.Parameter, module.layers[str(index)].weight)
        for index, step in enumerate(module.steps)
        if str(index) in module.layers
    }
    found = {name: layers.get(name, module.parameter_of(name)) for name in names}
    return {name: parameter for name, parameter in found.items() if parameter is not None}


@torch.no_grad()
def apply_sparsity_mask(parameter: nn.Parameter, drop: Tensor) -> None:
    """Set pruned weights to zero and mask their gradients.

    A zero weight whose gradient is always zero stays exactly zero under AdamW: both moments and the weight
    decay are zero. The optimizer needs no change.

    Args:
        parameter: of any shape; it is changed, and its later gradients are masked.
        drop: of the same shape, true where the weight is pruned.
    """
    parameter.masked_fill_(drop, 0.0)
    keep = (~drop).to(parameter.dtype)
    parameter.register_hook(lambda gradient: gradient * keep.to(gradient.device))
