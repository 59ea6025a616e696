# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Names under which tools that make up names of their own cannot meet a name of the graph.

ONNX Runtime's quantizer calls a scale after its tensor (``x_scale``) and the copies of a bias by a number
(``b2`` becomes ``b20``), without a look at the names that the graph has; its calibrators and its converter to
half precision do likewise. They are therefore given a graph whose tensors are called ``_t0.``, ``_t1.``, ...:
none of these names begins another one. Afterwards each tensor gets its own name back, and what was made from
one is called after it where that name is free, else by a number more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.onnx_graph.subgraphs import all_tensor_names, free_name, rename_tensors
from ad_compressed_perception.onnx_graph.walk import all_graphs

if TYPE_CHECKING:
    from onnx import ModelProto


class ReservedNames:
    """Renames the tensors of one model and gives them their names back.

    Outputs that are inputs themselves, which such tools take for a cycle, are left out in between.

    Attributes:
        new: the reserved name of each of the model's tensors.
    """

    def __init__(self, model: ModelProto) -> None:
        """Rename all tensors of the model, in its subgraphs too, in place."""
        nodes = {node.name for graph in all_graphs(model.graph) for node in graph.node}
        self._mark = "_t"
        while any(self._mark in name for name in nodes):
            self._mark += "t"
        self._nodes = nodes
        self._own = sorted(all_tensor_names(model))
        self.new = {name: f"{self._mark}{number}." for number, name in enumerate(self._own)}
        self._old = {new: old for old, new in self.new.items()}
        self._pattern = re.compile(re.escape(self._mark) + r"(\d+)\.")
        inputs = {value.name for value in model.graph.input}
        self._passed = [
            (place, type(value).FromString(value.SerializeToString()))
            for place, value in enumerate(model.graph.output)
            if value.name in inputs
        ]
        for place, _ in reversed(self._passed):
            del model.graph.output[place]
        rename_tensors(model.graph, self.new)

    def original(self, name: str) -> str:
        """Return the own name of a tensor."""
        return self._old.get(name, name)

    def renamed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a table by own names as one by reserved names."""
        return {self.new[name]: value for name, value in values.items() if name in self.new}

    def readable(self, text: str) -> str:
        """Return a text, such as an error, with the tensors' own names in it."""
        return self._pattern.sub(lambda match: self._own[int(match[1])], text)

    def restore(self, model: ModelProto) -> ModelProto:
        """Give the tensors of a changed model, and what was made from them, their names, in place."""
        taken = set(self._own)
        table = dict(self._old)
        for name in sorted(all_tensor_names(model) - table.keys()):
            table[name] = free_name(self.readable(name), taken)
        rename_tensors(model.graph, table)
        for place, value in self._passed:
            model.graph.output.insert(place, value)
        taken = set(self._nodes)
        for graph in all_graphs(model.graph):
            for node in graph.node:
                if node.name and node.name not in self._nodes:
                    node.name = free_name(self.readable(node.name), taken)
        return model
