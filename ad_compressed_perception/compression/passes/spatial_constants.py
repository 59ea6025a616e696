# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Constants of a graph that only fit one picture size, and what they become for another one.

A convolution does not care how large its picture is, but exporters write sizes down: the target of a
resize, the product of height and width in a reshape, the end of a slice. Each rule here handles one
kind of operator whose input has changed its size; what no rule can scale with certainty is refused
with the operator's name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ad_compressed_perception.compression.passes.graph_edit import (
    Graph,
    Shape,
    attribute,
    label,
    tensor_shapes,
)
from ad_compressed_perception.errors import ModelFileError

if TYPE_CHECKING:
    from onnx import NodeProto

_TO_THE_END = 2**63 - 1
_SIMPLIFY = "its size is computed in the graph: put simplify and infer_shapes before input_size"
_RESIZE_WITHOUT_ROI = 11


@dataclass
class Scaling:
    """A graph on its way to another picture size.

    Attributes:
        graph: the graph, whose input has the new size already.
        opset: its operator version.
        before: shapes at the old size.
        factor_y: new height / old height.
        factor_x: new width / old width.
        edited: labels of the nodes changed so far.
    """

    graph: Graph
    opset: int
    before: dict[str, Shape]
    factor_y: float
    factor_x: float
    edited: list[str]

    def __post_init__(self) -> None:
        """Work out the shapes at the new size."""
        self.after = tensor_shapes(self.graph.model)

    def changed(self, name: str) -> bool:
        """Whether a tensor's shape is another one now, or no longer known."""
        return self.before.get(name) != self.after.get(name)

    def set_constant(self, node: NodeProto, index: int, value: Sequence[float], dtype: type) -> None:
        """Give a node another constant; shapes behind it are worked out anew."""
        while len(node.input) <= index:
            node.input.append("")
        node.input[index] = self.graph.add_constant(
            f"{node.name or node.output[0]}_scaled", np.array(value, dtype)
        )
        self.note(node)

    def note(self, node: NodeProto) -> None:
        """Remember that a node was changed."""
        self.edited.append(label(node))
        self.after = tensor_shapes(self.graph.model)


def refuse(node: NodeProto, why: str) -> ModelFileError:
    """Return the error that names a node which holds the network to its size."""
    return ModelFileError(f"the picture size cannot be changed: {label(node)} {why}")


def scale_node(scaling: Scaling, node: NodeProto) -> None:
    """Adapt one node; call in the order of computation.

    Raises:
        ModelFileError: the node holds a size that cannot be scaled.
    """
    rule = _RULES.get(node.op_type)
    if rule is not None and any(scaling.changed(name) for name in node.input if name):
        rule(scaling, node)
    elif node.op_type in ("Resize", "Upsample"):
        # A picture shrunk to one pixel and blown up again: the input is the same, the target is not.
        _scale_resize(scaling, node)


def _known(scaling: Scaling, node: NodeProto) -> tuple[list[int], list[int]]:
    """Return the node's data input's shape before and after; refuse what is not known."""
    shapes = []
    for table in (scaling.before, scaling.after):
        shape = table.get(node.input[0])
        if shape is None or any(size is None for size in shape):
            raise refuse(
                node, "takes a tensor of unknown size: put simplify and infer_shapes before input_size"
            )
        shapes.append([size for size in shape if size is not None])
    return shapes[0], shapes[1]


def _factor(scaling: Scaling, axis: int, rank: int) -> float:
    """Return how a picture's axis scales: the last of them is the width, the one before it the height."""
    return {rank - 1: scaling.factor_x, rank - 2: scaling.factor_y}.get(axis, 1.0)


def _whole(node: NodeProto, size: int, factor: float) -> int:
    scaled = round(size * factor)
    if abs(scaled - size * factor) > 1e-6 * size or scaled < 1:
        raise refuse(
            node,
            f"needs {size} x {factor:g} pixels, which is no whole number: choose a multiple of the network's "
            "coarsest step, usually 32 pixels",
        )
    return scaled


def _scale_resize(scaling: Scaling, node: NodeProto) -> None:
    graph = scaling.graph
    has_roi = node.op_type == "Resize" and scaling.opset >= _RESIZE_WITHOUT_ROI
    place = 2 if has_roi else 1
    sizes = graph.constant_input(node, 3) if has_roi else None
    scales = graph.constant_input(node, place)
    fixed = sizes if sizes is not None and sizes.size else scales
    if fixed is None or not fixed.size:
        raise refuse(node, _SIMPLIFY)
    before, after = _known(scaling, node)
    axes = [axis % len(before) for axis in attribute(node, "axes", list(range(len(before))))]
    moving = [axis for axis in axes if before[axis] != after[axis]]
    factors = {axis: after[axis] / before[axis] for axis in moving}
    if not moving:
        factors = {axis: _factor(scaling, axis, len(before)) for axis in axes}
    if fixed is sizes:
        unscaled = [int(size) for size in fixed]
        wanted = [
            _whole(node, size, _picture_factor(scaling, axis, factors, len(before)))
            for size, axis in zip(unscaled, axes, strict=True)
        ]
        if wanted != unscaled:
            scaling.set_constant(node, 3, wanted, np.int64)
    elif not moving and any(scale != 1.0 for scale in fixed):
        targets = [
            _whole(node, round(before[axis] * float(scale)), factors[axis]) if scale != 1.0 else before[axis]
            for scale, axis in zip(fixed, axes, strict=True)
        ]
        scaling.set_constant(
            node,
            place,
            [target / before[axis] for target, axis in zip(targets, axes, strict=True)],
            np.float32,
        )


def _picture_factor(scaling: Scaling, axis: int, factors: dict[int, float], rank: int) -> float:
    """Return an axis's exact factor; the input's own may be rounded, as 13 rows halved become 7."""
    if axis not in factors:
        return 1.0
    exact = (scaling.factor_y, scaling.factor_x)
    if len(factors) == 2:
        return exact[sorted(factors).index(axis)]
    return _factor(scaling, axis, rank)


def regroup(before_in: list[int], before_out: list[int], after_in: list[int]) -> list[int] | None:
    """Return a reshape's target for an input of another size; None where it cannot be told.

    Both old shapes are cut from the left into the smallest groups of equal products. A group whose
    input kept its size keeps its target; one with a single target larger than 1 gives it the new
    product; one that cuts a changed axis into several could mean either of them.
    """
    target: list[int] = []
    i = j = 0
    while i < len(before_in) or j < len(before_out):
        first_i, first_j = i, j
        left = right = 1
        if i < len(before_in):
            left, i = before_in[i], i + 1
        if j < len(before_out):
            right, j = before_out[j], j + 1
        while left != right:
            if left < right and i < len(before_in):
                left, i = left * before_in[i], i + 1
            elif j < len(before_out):
                right, j = right * before_out[j], j + 1
            else:
                return None
        outputs = before_out[first_j:j]
        if before_in[first_i:i] == after_in[first_i:i]:
            target += outputs
            continue
        several = [size for size in outputs if size != 1]
        if len(several) != 1:
            return None
        product = prod(after_in[first_i:i])
        target += [1 if size == 1 else product for size in outputs]
    return target


def _scale_reshape(scaling: Scaling, node: NodeProto) -> None:
    fixed = scaling.graph.constant_input(node, 1)
    if fixed is None:
        raise refuse(node, _SIMPLIFY)
    before, after = _known(scaling, node)
    shape = scaling.before.get(node.output[0], ())
    if not shape or any(size is None for size in shape):
        raise refuse(node, _SIMPLIFY)
    wanted = regroup(before, [size for size in shape if size is not None], after)
    if wanted is None:
        raise refuse(node, f"cuts the picture's axes {before} into {list(shape)}")
    written = [int(entry) if entry in (0, -1) else size for entry, size in zip(fixed, wanted, strict=True)]
    if written != [int(entry) for entry in fixed]:
        scaling.set_constant(node, 1, written, np.int64)


def _scale_slice(scaling: Scaling, node: NodeProto) -> None:
    graph = scaling.graph
    before, after = _known(scaling, node)
    starts, ends, axes, steps = (graph.constant_input(node, index) for index in range(1, 5))
    if starts is None or ends is None:
        raise refuse(node, _SIMPLIFY)
    places = list(range(len(starts))) if axes is None else [int(axis) % len(before) for axis in axes]
    strides = [1] * len(starts) if steps is None else [int(step) for step in steps]
    wanted = [int(end) for end in ends]
    for index, axis in enumerate(places):
        if before[axis] == after[axis]:
            continue
        begin, end, stride = int(starts[index]), wanted[index], strides[index]
        if stride < 1 or not 0 <= begin < stride or (0 <= end < before[axis]):
            raise refuse(node, f"cuts out {begin}:{end} of the picture's {before[axis]} pixels")
        if end >= 0:
            wanted[index] = _TO_THE_END
    if wanted != [int(end) for end in ends]:
        scaling.set_constant(node, 2, wanted, np.int64)


def _scale_split(scaling: Scaling, node: NodeProto) -> None:
    before, after = _known(scaling, node)
    axis = attribute(node, "axis", 0) % len(before)
    if before[axis] == after[axis]:
        return
    sizes = scaling.graph.constant_input(node, 1)
    if sizes is None and attribute(node, "split") is None and after[axis] % len(node.output) == 0:
        return
    if sizes is None:
        raise refuse(node, f"splits an axis of {before[axis]} that is now {after[axis]}")
    factor = after[axis] / before[axis]
    scaling.set_constant(node, 1, [_whole(node, int(size), factor) for size in sizes], np.int64)


def _scale_pool(scaling: Scaling, node: NodeProto) -> None:
    """Pools and convolutions whose kernel is the whole picture: a mean over all of it, or a full product."""
    from onnx import helper

    before, after = _known(scaling, node)
    weight = scaling.before.get(node.input[1], ()) if node.op_type == "Conv" else ()
    kernel = list(attribute(node, "kernel_shape", []) or weight[2:])
    pads = any(attribute(node, "pads", []))
    if kernel != before[2:] or before[2:] == after[2:] or pads or prod(before[2:]) == 1:
        return
    if node.op_type == "Conv":
        raise refuse(node, f"has a kernel as large as its picture, {kernel[1]}x{kernel[0]}")
    kept = [entry for entry in node.attribute if entry.name not in ("kernel_shape", "strides")]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("kernel_shape", after[2:])])
    scaling.note(node)


def _check_product(scaling: Scaling, node: NodeProto) -> None:
    for name, other in ((node.input[0], node.input[1]), (node.input[1], node.input[0])):
        if scaling.changed(name) and scaling.graph.constant(other) is not None:
            shapes = scaling.before.get(name), scaling.after.get(name)
            if node.op_type == "Gemm" or _shared(shapes[0], name, node) != _shared(shapes[1], name, node):
                raise refuse(
                    node, f"has weights for one size alone: its input was {shapes[0]}, is {shapes[1]}"
                )


def _shared(shape: Shape | None, name: str, node: NodeProto) -> int | None:
    return None if not shape else shape[-1 if name == node.input[0] else max(-2, -len(shape))]


def _check_target(scaling: Scaling, node: NodeProto) -> None:
    fixed = scaling.graph.constant_input(node, 1)
    if fixed is None or any(int(entry) > 1 for entry in fixed[-2:]):
        raise refuse(node, "spreads a tensor to a written size")


def _check_joined(scaling: Scaling, node: NodeProto) -> None:
    """Two branches, or a branch and a constant, that no longer fit each other."""
    shapes = [scaling.after.get(name) for name in node.input if name]
    known = [shape for shape in shapes if shape]
    if len(known) < 2:
        return
    rank = max(len(shape) for shape in known)
    joined = attribute(node, "axis") % rank if node.op_type == "Concat" else None
    for axis in range(-rank, 0):
        sizes = {shape[axis] for shape in known if len(shape) >= -axis and shape[axis] is not None}
        allowed = sizes if joined is not None else sizes - {1}
        if axis + rank != joined and len(allowed) > 1:
            listed = " and ".join(str(list(shape)) for shape in known)
            fixed = any(scaling.graph.constant(name) is not None for name in node.input)
            why = (
                "holds a constant of one size alone"
                if fixed
                else "choose a multiple of the network's coarsest step, usually 32 pixels"
            )
            raise refuse(node, f"joins {listed}: {why}")


_RULES: dict[str, Callable[[Scaling, NodeProto], None]] = {
    "Resize": _scale_resize,
    "Upsample": _scale_resize,
    "Reshape": _scale_reshape,
    "Slice": _scale_slice,
    "Split": _scale_split,
    **dict.fromkeys(("AveragePool", "MaxPool", "LpPool", "Conv"), _scale_pool),
    **dict.fromkeys(("Gemm", "MatMul"), _check_product),
    **dict.fromkeys(("Expand", "Tile"), _check_target),
    **dict.fromkeys(
        ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Where", "PRelu", "Concat"), _check_joined
    ),
}
