# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Splits a network into frozen and trainable layers, so that outputs of the frozen ones can be cached."""

from __future__ import annotations

import torch
from torch import Tensor

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.training.graph_module.module import GraphModule


class FrozenBackboneCache:
    """Splits a network before its first trainable layer.

    Attributes:
        tensor: name of the one tensor between the frozen layers and the rest.
    """

    def __init__(self, network: GraphModule) -> None:
        """Find the split.

        Raises:
            RecipeError: no frozen layer, or more than one tensor between the parts.
        """
        self._network = network
        split = next(index for index in range(len(network.steps)) if _is_trainable(network, index))
        made = {name for step in network.steps[:split] for name in step.outputs}
        read = {name for step in network.steps[split:] for name in step.inputs if name in made}
        if len(read) != 1:
            raise RecipeError(
                f"{len(read)} tensors connect the frozen layers to the others, and only one can be cached: "
                "set network.frozen_stride to the end of an encoder stage"
            )
        self.tensor = read.pop()

    @torch.no_grad()
    def front(self, x: Tensor) -> Tensor:
        """Return the outputs of the frozen layers for (B, C, H, W) network inputs."""
        return self._network.run({self._network.input_names[0]: x}, [self.tensor])[0]

    def rest(self, features: Tensor) -> Tensor:
        """Return the network's first output for the outputs of the frozen layers."""
        return self._network.run({self.tensor: features}, self._network.output_names[:1])[0]


def _is_trainable(network: GraphModule, index: int) -> bool:
    key = str(index)
    return key in network.layers and any(p.requires_grad for p in network.layers[key].parameters())
