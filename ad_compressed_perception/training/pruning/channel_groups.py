# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Groups of channels that can only be removed together, and the removal of some of each.

torch-pruning finds the groups (Fang et al., DepGraph, CVPR 2023): residual sums, concatenations, depthwise
convolutions, flattened features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from onnx import ModelProto
from torch import Tensor

from ad_compressed_perception.training.graph_module.module import GraphModule
from ad_compressed_perception.training.pruning.channel_pruning import (
    importance,
    open_pruner,
    shrunk,
)


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that can only be removed together.

    Attributes:
        name: the node that produces them.
        channels: their number; per part where a grouped convolution splits them into parts.
        parts: number of parts.
        layers: indices of the steps whose weights the channels belong to, sorted.
        producers: those among them that produce the channels; the others consume them.
        handle: torch-pruning's group.
    """

    name: str
    channels: int
    parts: int
    layers: tuple[int, ...]
    producers: tuple[int, ...]
    handle: Any


class ChannelGroups:
    """All groups of a float module; ``narrow`` changes the module and may be called once only."""

    def __init__(self, module: GraphModule, example: Tensor) -> None:
        """Find the groups.

        Args:
            module: the module, which ``narrow`` changes.
            example: one prepared (1, ...) input.

        Raises:
            RecipeError: a graph with unfolded normalizations, or a quantized one.
        """
        self._module, self._example = module, example
        self._pruner = open_pruner(module, example, importance=lambda group: None)
        index_of = {id(module.layers[key]): int(key) for key in module.layers}
        graph = self._pruner.DG
        handles = list(graph.get_all_groups(self._pruner.ignored_layers, self._pruner.root_module_types))
        self.groups: list[ChannelGroup] = []
        for handle in handles:
            members = [(index_of.get(id(m.dep.target.module)), m.dep.handler) for m in handle]
            layers = sorted({index for index, _ in members if index is not None})
            producers = {i for i, how in members if i is not None and graph.is_out_channel_pruning_fn(how)}
            step = module.steps[index_of[id(handle[0].dep.target.module)]]
            name = step.name or step.outputs[0]
            if any(group.name == name for group in self.groups):
                name = step.outputs[0]
            parts = int(self._pruner._get_channel_groups(handle))
            channels = len(handle[0].idxs) // parts
            self.groups.append(
                ChannelGroup(name, channels, parts, tuple(layers), tuple(sorted(producers)), handle)
            )

    def importances(self, taylor: bool) -> dict[str, Tensor]:
        """Return each group's importances, (channels,), relative to the group's mean; without unknown groups.

        Args:
            taylor: whether the parameters' ``grad`` holds mean squared gradients.
        """
        found = {}
        for group in self.groups:
            values = importance(group.handle, taylor)
            if values is not None:
                found[group.name] = values.view(group.parts, -1).sum(0)
        return found

    @torch.no_grad()
    def narrow(self, kept: Mapping[str, int], importances: Mapping[str, Tensor] | None = None) -> ModelProto:
        """Remove channels, the least important first; return the pruned graph.

        Args:
            kept: number of channels to keep by group; groups not named keep all.
            importances: by group; None removes the last channels, for timing.

        Raises:
            ModelFileError: the pruned graph is inconsistent.
        """
        graph = self._pruner.DG
        for group in self.groups:
            removed = group.channels - kept.get(group.name, group.channels)
            if removed <= 0:
                continue
            order = (
                torch.arange(group.channels).flip(0)
                if importances is None
                else torch.argsort(importances[group.name], stable=True)
            )
            indices = torch.cat([order[:removed] + part * group.channels for part in range(group.parts)])
            root = group.handle[0].dep
            chosen = graph.get_pruning_group(root.target.module, root.handler, sorted(indices.tolist()))
            if graph.check_pruning_group(chosen):
                chosen.prune()
        self._module.zero_grad()
        return shrunk(self._module, self._example)
