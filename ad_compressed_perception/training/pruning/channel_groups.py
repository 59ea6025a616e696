# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The groups of channels that can only leave together, and the graph with some of each gone.

torch-pruning finds them (Fang et al., DepGraph, CVPR 2023): residual sums, concatenations, depthwise
convolutions, flattened features.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from onnx import ModelProto
from torch import Tensor

from ad_compressed_perception.training.graph_module.module import GraphModule
from ad_compressed_perception.training.pruning.channel_pruning import (
    check_prunable,
    importance,
    last_layers,
    shrunk,
)


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that leave together.

    Attributes:
        name: the node that makes them.
        channels: how many; of each part where a grouped convolution cuts them into parts.
        parts: how many parts.
        layers: indices of the steps whose weights the channels belong to, sorted.
        makers: those among them that make the channels; the others take them.
        handle: torch-pruning's group.
    """

    name: str
    channels: int
    parts: int
    layers: tuple[int, ...]
    makers: tuple[int, ...]
    handle: Any


class ChannelGroups:
    """All groups of a float module; narrowing them changes the module, so it is done once."""

    def __init__(self, module: GraphModule, example: Tensor) -> None:
        """Find the groups.

        Args:
            module: the module, which ``narrow`` changes.
            example: one prepared (1, ...) input.

        Raises:
            RecipeError: a graph whose normalizations are not folded yet, or a quantized one.
        """
        import torch_pruning as tp

        check_prunable(module)
        self._module, self._example = module.eval(), example
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about parameters outside of layers, which stay
            self._pruner = tp.pruner.BasePruner(
                module, example, importance=lambda group: None, ignored_layers=last_layers(module)
            )
        index_of = {id(module.layers[key]): int(key) for key in module.layers}
        graph = self._pruner.DG
        handles = list(graph.get_all_groups(self._pruner.ignored_layers, self._pruner.root_module_types))
        self.groups: list[ChannelGroup] = []
        for handle in handles:
            members = [(index_of.get(id(m.dep.target.module)), m.dep.handler) for m in handle]
            layers = sorted({index for index, _ in members if index is not None})
            makers = {i for i, how in members if i is not None and graph.is_out_channel_pruning_fn(how)}
            step = module.steps[index_of[id(handle[0].dep.target.module)]]
            name = step.name or step.outputs[0]
            if any(group.name == name for group in self.groups):
                name = step.outputs[0]
            parts = int(self._pruner._get_channel_groups(handle))
            channels = len(handle[0].idxs) // parts
            self.groups.append(
                ChannelGroup(name, channels, parts, tuple(layers), tuple(sorted(makers)), handle)
            )

    def worths(self, taylor: bool) -> dict[str, Tensor]:
        """Return each group's importances, (channels,), in shares of the group's mean; none where unknown.

        Args:
            taylor: whether the parameters' ``grad`` holds mean squared gradients.
        """
        found = {}
        for group in self.groups:
            worth = importance(group.handle, taylor)
            if worth is not None:
                found[group.name] = worth.view(group.parts, -1).sum(0)
        return found

    @torch.no_grad()
    def narrow(self, kept: Mapping[str, int], worths: Mapping[str, Tensor] | None = None) -> ModelProto:
        """Take channels out, the least important first; return the graph that is left.

        Args:
            kept: how many channels of a group stay; groups not named keep theirs.
            worths: importances; None takes the last channels, for timing.

        Raises:
            ModelFileError: the graph does not fit together afterwards.
        """
        graph = self._pruner.DG
        for group in self.groups:
            gone = group.channels - kept.get(group.name, group.channels)
            if gone <= 0:
                continue
            order = (
                torch.arange(group.channels).flip(0)
                if worths is None
                else torch.argsort(worths[group.name], stable=True)
            )
            indices = torch.cat([order[:gone] + part * group.channels for part in range(group.parts)])
            root = group.handle[0].dep
            chosen = graph.get_pruning_group(root.target.module, root.handler, sorted(indices.tolist()))
            if graph.check_pruning_group(chosen):
                chosen.prune()
        self._module.zero_grad()
        return shrunk(self._module, self._example)
