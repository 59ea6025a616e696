# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trace an output's channels back to the convolutions that compute them, and remove some of them.

Each tensor on the way has a list of kept indices along one axis. Elementwise operators propagate the list
to their input, a Concat along the axis splits it among its inputs, a Split merges its outputs' lists, a
Reshape or Transpose changes the axis, and a convolution loses rows of its weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.graph import (
    Graph,
    Shape,
    attribute,
    label,
    remove_dead,
    tensor_shapes,
)

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_ELEMENTWISE = frozenset(
    ("Sigmoid", "Identity", "Relu", "LeakyRelu", "HardSigmoid", "HardSwish", "Clip", "Exp", "Tanh", "Cast")
)


@dataclass(frozen=True)
class Kept:
    """Kept indices along an axis, ascending."""

    axis: int
    indices: tuple[int, ...]


def keep_output_channels(model: ModelProto, output: str, axis: int, indices: Sequence[int]) -> list[str]:
    """Remove all but the given channels of an output, in the convolutions that compute them; in place.

    Args:
        model: the float graph, shapes fixed.
        output: the output's name.
        axis: the channels' axis.
        indices: the channels to keep, ascending.

    Returns:
        Labels of the convolutions that lost channels.

    Raises:
        ModelFileError: an operator through which channels cannot be traced; it is named.
    """
    graph = Graph(model)
    shapes = tensor_shapes(model)
    propagation = _Propagation(graph, shapes, {output: Kept(axis, tuple(indices))}, [])
    for node in reversed(list(model.graph.node)):
        if any(name in propagation.kept for name in node.output):
            propagation.visit(node)
    remove_dead(model)
    return propagation.edited


def _refuse(node: NodeProto, why: str) -> ModelFileError:
    return ModelFileError(f"channels cannot be removed: {label(node)} {why}")


@dataclass
class _Propagation:
    graph: Graph
    shapes: dict[str, Shape]
    kept: dict[str, Kept]
    edited: list[str]

    def visit(self, node: NodeProto) -> None:
        """Propagate the kept indices of a node's outputs to its inputs."""
        kind = node.op_type
        if kind == "Split":
            self._split(node)
            return
        kept = self.kept[node.output[0]]
        if kind in _ELEMENTWISE:
            self._propagate(node, node.input[0], kept)
        elif kind == "Concat":
            self._concat(node, kept)
        elif kind == "Transpose":
            rank = len(self._shape(node, node.input[0]))
            order = attribute(node, "perm", list(range(rank))[::-1])
            self._propagate(node, node.input[0], Kept(order[kept.axis], kept.indices))
        elif kind in ("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
            self._reshape(node, kept)
        elif kind == "Conv":
            self._convolution(node, kept)
        else:
            raise _refuse(node, "stands between the output and the convolution: put simplify before")

    def _shape(self, node: NodeProto, name: str) -> list[int]:
        shape = self.shapes.get(name)
        if shape is None or any(size is None for size in shape):
            raise _refuse(node, "reads a tensor of unknown size: put simplify and infer_shapes before")
        return [int(size) for size in shape if size is not None]

    def _propagate(self, node: NodeProto, name: str, kept: Kept) -> None:
        """Record the kept indices of an input; refuse where another consumer needs other channels."""
        whole = kept.indices == tuple(range(self._shape(node, name)[kept.axis]))
        others = [other for other in self.graph.consumers.get(name, []) if other is not node]
        if name not in self.graph.producers:
            if not whole:
                raise _refuse(node, "reads an input or constant whose channels would have to be removed")
            return
        agreed = self.kept.setdefault(name, kept) == kept
        if whole and agreed and name not in self.graph.outputs:
            del self.kept[name]
        elif not agreed or others or name in self.graph.outputs:
            raise _refuse(node, "reads a tensor that something else needs whole")

    def _concat(self, node: NodeProto, kept: Kept) -> None:
        rank = len(self._shape(node, node.output[0]))
        if attribute(node, "axis", 0) % rank != kept.axis:
            for name in node.input:
                self._propagate(node, name, kept)
            return
        start, left = 0, []
        for name in node.input:
            size = self._shape(node, name)[kept.axis]
            own = tuple(index - start for index in kept.indices if start <= index < start + size)
            start += size
            if own:
                left.append(name)
                self._propagate(node, name, Kept(kept.axis, own))
        del node.input[:]
        node.input.extend(left)

    def _split(self, node: NodeProto) -> None:
        rank = len(self._shape(node, node.input[0]))
        axis = attribute(node, "axis", 0) % rank
        start, indices, sizes = 0, [], []
        for name in node.output:
            size = self._shape(node, name)[axis]
            kept = self.kept.get(name, Kept(axis, tuple(range(size))))
            if kept.axis != axis:
                raise _refuse(node, "splits another axis than the channels'")
            indices += [start + index for index in kept.indices]
            sizes.append(len(kept.indices))
            start += size
        if attribute(node, "split") is not None:
            raise _refuse(node, "has its sizes as an attribute: put upgrade_opset before")
        others = [entry for entry in node.attribute if entry.name != "num_outputs"]
        del node.attribute[:]
        node.attribute.extend(others)
        name = self.graph.add_constant(f"{node.name or node.output[0]}_kept", np.array(sizes, np.int64))
        del node.input[1:]
        node.input.append(name)
        self._propagate(node, node.input[0], Kept(axis, tuple(indices)))

    def _reshape(self, node: NodeProto, kept: Kept) -> None:
        before, after = self._shape(node, node.input[0]), self._shape(node, node.output[0])
        size, earlier = after[kept.axis], prod(after[: kept.axis])
        axes = [a for a, have in enumerate(before) if have == size and prod(before[:a]) == earlier]
        if not axes:
            raise _refuse(node, f"mixes channels with other axes: {before} becomes {after}")
        if node.op_type == "Reshape":
            fixed = self.graph.constant_input(node, 1)
            if fixed is None:
                raise _refuse(node, "computes its shape: put simplify and infer_shapes before")
            target = [int(entry) for entry in fixed]
            if target[kept.axis] > 0:
                target[kept.axis] = len(kept.indices)
                name = f"{node.name or node.output[0]}_kept"
                node.input[1] = self.graph.add_constant(name, np.array(target, np.int64))
        self._propagate(node, node.input[0], Kept(axes[-1], kept.indices))

    def _convolution(self, node: NodeProto, kept: Kept) -> None:
        weight = self.graph.constant_input(node, 1)
        bias = self.graph.constant_input(node, 2)
        if weight is None or (bias is None and len(node.input) > 2 and node.input[2]):
            raise _refuse(node, "has computed weights")
        if kept.axis != 1 or attribute(node, "group", 1) != 1:
            raise _refuse(node, "computes its channels in groups, or they are not its channels")
        rows = list(kept.indices)
        node.input[1] = self.graph.add_constant(f"{node.input[1]}_kept", weight[rows])
        if bias is not None:
            node.input[2] = self.graph.add_constant(f"{node.input[2]}_kept", bias[rows])
        self.edited.append(label(node))
