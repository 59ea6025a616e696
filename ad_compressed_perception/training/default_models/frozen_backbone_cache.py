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
        self._split = next(index for index in range(len(network.steps)) if _is_trainable(network, index))
        made = {name for step in network.steps[: self._split] for name in step.outputs}
        read = {name for step in network.steps[self._split :] for name in step.inputs if name in made}
        if len(read) != 1:
            raise RecipeError(
                f"{len(read)} tensors connect the frozen layers to the others, and only one can be cached: "
                "set network.frozen_stride to the end of an encoder stage"
            )
        self.tensor = read.pop()

    @torch.no_grad()
    def front(self, x: Tensor) -> Tensor:
        """Return the outputs of the frozen layers for (B, C, H, W) network inputs."""
        values = {self._network.input_names[0]: x}
        return self._run(range(self._split), values, self.tensor)

    def rest(self, features: Tensor) -> Tensor:
        """Return the network's first output for the outputs of the frozen layers."""
        steps = range(self._split, len(self._network.steps))
        return self._run(steps, {self.tensor: features}, self._network.output_names[0])

    def _run(self, steps: range, values: dict[str, Tensor], output: str) -> Tensor:
        for index in steps:
            outputs = self._network.execute(index, values)
            values.update(zip(self._network.steps[index].outputs, outputs, strict=False))
            for name in self._network.spent_after(index):
                if name != output:
                    values.pop(name, None)
        return values[output]


def _is_trainable(network: GraphModule, index: int) -> bool:
    key = str(index)
    return key in network.layers and any(p.requires_grad for p in network.layers[key].parameters())
