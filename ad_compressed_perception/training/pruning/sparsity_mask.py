# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Weights that are zero and stay zero while the others learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ad_compressed_perception.training.graph_module.module import GraphModule


def learning_weights(module: GraphModule, names: Sequence[str]) -> dict[str, nn.Parameter]:
    """Return the parameters that stand for weight tensors of the graph, those that learn, in order."""
    layers = {
        step.inputs[1]: cast(nn.Parameter, module.layers[str(index)].weight)
        for index, step in enumerate(module.steps)
        if str(index) in module.layers
    }
    found = {name: layers.get(name, module.parameter_of(name)) for name in names}
    return {name: parameter for name, parameter in found.items() if parameter is not None}


@torch.no_grad()
def apply_sparsity_mask(parameter: nn.Parameter, drop: Tensor) -> None:
    """Set marked weights to zero and hold them there.

    A weight of zero whose gradient is always zero stays exactly zero under AdamW: its two moments are
    zero, and so is what decays. No optimizer has to know.

    Args:
        parameter: of any shape; it is changed, and its later gradients are masked.
        drop: of the same shape, true where the weight goes.
    """
    parameter.masked_fill_(drop, 0.0)
    keep = (~drop).to(parameter.dtype)
    parameter.register_hook(lambda gradient: gradient * keep.to(gradient.device))
