# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scale the constants of a graph that depend on the image size.

A convolution works on any image size, but exporters store sizes as constants: the target of a resize,
the product of height and width in a reshape, the end of a slice. Each rule here handles one kind of
operator whose input size has changed; an operator that no rule can scale with certainty raises an error
that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.graph import (
    Graph,
    Shape,
    attribute,
    label,
    tensor_shapes,
)
from ad_compressed_perception.onnx_graph.grid_constants import continue_grid
from ad_compressed_perception.onnx_graph.walk import all_graphs, bodies, read_names

if TYPE_CHECKING:
    from onnx import NodeProto

_TO_THE_END = 2**63 - 1
_SIMPLIFY = "its size is computed in the graph: put simplify and infer_shapes before input_size"
_RESIZE_WITHOUT_ROI = 11


@dataclass
class Scaling:
    """State of scaling a graph to another image size.

    Attributes:
        graph: the graph, whose input has the new size already.
        opset: its operator version.
        before: shapes at the old size.
        height: old and new height of the input, pixels.
        width: old and new width of the input, pixels.
        edited: labels of the nodes changed so far.
    """

    graph: Graph
    opset: int
    before: dict[str, Shape]
    height: tuple[int, int]
    width: tuple[int, int]
    edited: list[str]

    def __post_init__(self) -> None:
        """Infer the shapes at the new size."""
        self.after = tensor_shapes(self.graph.model)

    def scaled(self, size: int, axis: int, rank: int) -> int | None:
        """Return the new size along an axis; None where it is not a whole number of pixels.

        The last axis is the width, the one before it the height, others stay. Sizes scale with the image's;
        where the images' sides are odd, ``size - 1`` scales with ``side - 1`` (aligned corners): networks
        for 257 or 513 pixels sample the image at its edges, so 257 halved is 129 and 33 becomes 17.
        """
        sides = {rank - 1: self.width, rank - 2: self.height}.get(axis)
        if sides is None or sides[0] == sides[1]:
            return size
        old, new = sides
        if size * new % old == 0:
            return size * new // old
        if old % 2 and new % 2 and (size - 1) * (new - 1) % (old - 1) == 0:
            return (size - 1) * (new - 1) // (old - 1) + 1
        return None

    def changed(self, name: str) -> bool:
        """Whether a tensor's shape has changed or is no longer known."""
        return self.before.get(name) != self.after.get(name)

    def set_constant(
        self, node: NodeProto, index: int, value: Sequence[float] | NDArray[Any], dtype: type
    ) -> None:
        """Replace a node's constant; shapes after it are inferred again."""
        while len(node.input) <= index:
            node.input.append("")
        node.input[index] = self.graph.add_constant(
            f"{node.name or node.output[0]}_scaled", np.array(value, dtype)
        )
        self.note(node)

    def note(self, node: NodeProto) -> None:
        """Record that a node was changed and infer the shapes again."""
        self.edited.append(label(node))
        self.after = tensor_shapes(self.graph.model)


def refuse(node: NodeProto, why: str) -> ModelFileError:
    """Return the error that names a node which only works at the present size."""
    return ModelFileError(f"the image size cannot be changed: {label(node)} {why}")


def scale_node(scaling: Scaling, node: NodeProto) -> None:
    """Scale one node; call in the order of computation.

    Raises:
        ModelFileError: the node holds a size that cannot be scaled.
    """
    rule = _RULES.get(node.op_type)
    if rule is not None and any(scaling.changed(name) for name in node.input if name):
        rule(scaling, node)
    elif node.op_type in ("Resize", "Upsample"):
        # A globally pooled image resized back: the input size is the same, the target is not.
        _scale_resize(scaling, node)


def refuse_bodies(scaling: Scaling, node: NodeProto) -> None:
    """Raise ModelFileError for a branch or loop that holds a size while what it reads changes."""
    for body in bodies(node):
        for graph in all_graphs(body):
            for inner in graph.node:
                if inner.op_type in _HOLDS_SIZES and any(scaling.changed(name) for name in read_names(node)):
                    raise refuse(inner, f"stands inside of {label(node)}, where sizes are not scaled")


def _unknown(scaling: Scaling, name: str) -> NodeProto | None:
    """Return the first node on the way to a tensor whose result's shape cannot be inferred."""
    for node in scaling.graph.model.graph.node:
        for output in node.output:
            shape = scaling.after.get(output)
            if output and (shape is None or None in shape) and node.op_type != "Constant":
                return node
    return scaling.graph.producers.get(name)


def _known_shapes(scaling: Scaling, node: NodeProto) -> tuple[list[int], list[int]]:
    """Return the node's data input's shape before and after; raise where one is unknown."""
    shapes = []
    for table in (scaling.before, scaling.after):
        shape = table.get(node.input[0])
        if shape is None or any(size is None for size in shape):
            first = _unknown(scaling, node.input[0])
            source = "" if first is None else f", since that of {label(first)} cannot be inferred"
            raise refuse(
                node,
                f"reads a tensor of unknown size{source}: put simplify and infer_shapes before input_size",
            )
        shapes.append([size for size in shape if size is not None])
    return shapes[0], shapes[1]


def _require_whole(scaling: Scaling, node: NodeProto, size: int, axis: int, rank: int) -> int:
    scaled = scaling.scaled(size, axis, rank)
    if scaled is None:
        old, new = scaling.width if axis == rank - 1 else scaling.height
        raise refuse(
            node,
            f"needs {size} x {new / old:g} pixels, which is not a whole number: choose a multiple of the "
            "network's largest stride, usually 32 pixels, or for sides such as 257 a multiple plus one",
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
    before, after = _known_shapes(scaling, node)
    rank = len(before)
    axes = [axis % rank for axis in attribute(node, "axes", list(range(rank)))]
    image = _image_axes(before, after)
    if fixed is sizes:
        unscaled = [int(size) for size in fixed]
        scaled = [
            _require_whole(scaling, node, size, image[axis], rank) if axis in image else size
            for size, axis in zip(unscaled, axes, strict=True)
        ]
        if scaled != unscaled:
            scaling.set_constant(node, 3, scaled, np.int64)
        return
    factors = [float(scale) for scale in fixed]
    written = list(factors)
    for index, (factor, axis) in enumerate(zip(factors, axes, strict=True)):
        if axis not in image or factor == 1.0:
            continue
        target = scaling.scaled(_resized(before[axis], factor), image[axis], rank)
        if target is None and before[axis] == after[axis]:
            target = _require_whole(scaling, node, _resized(before[axis], factor), image[axis], rank)
        if target is not None and target != _resized(after[axis], factor):
            written[index] = _scale_to(after[axis], target)
    if written != factors:
        scaling.set_constant(node, place, written, np.float32)


def _resized(size: int, scale: float) -> int:
    """Return Resize's output size (ONNX, Operators.md: floor), computed with 32-bit scales."""
    return int(np.floor(np.float32(size) * np.float32(scale)))


def _scale_to(size: int, target: int) -> float:
    """Return the least 32-bit scale at which a size becomes the target."""
    scale = np.float32(target / size)
    return float(scale if _resized(size, float(scale)) == target else np.nextafter(scale, np.float32(np.inf)))


def _image_axes(before: list[int], after: list[int]) -> dict[int, int]:
    """Return the image axes, each with the axis (last: width, before: height) whose rule it follows.

    These are the axes that changed; where exactly two did they are height and width, in any layout. Where
    none did, as after global pooling, the last two.
    """
    rank = len(before)
    moving = [axis for axis in range(rank) if before[axis] != after[axis]]
    if len(moving) == 2:
        return {moving[0]: rank - 2, moving[1]: rank - 1}
    return {axis: axis for axis in (moving or range(max(rank - 2, 0), rank))}


def regroup(before_in: list[int], before_out: list[int], after_in: list[int]) -> list[int] | None:
    """Return a reshape's target for an input of another size; None where it is ambiguous.

    Both old shapes are divided from the left into the smallest groups of equal products. A group whose
    input kept its size keeps its target; a single target size larger than 1 becomes the new product;
    a group that splits a changed axis into several is ambiguous.
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
    before, after = _known_shapes(scaling, node)
    shape = scaling.before.get(node.output[0], ())
    if not shape or any(size is None for size in shape):
        raise refuse(node, _SIMPLIFY)
    target = regroup(before, [size for size in shape if size is not None], after)
    if target is None:
        raise refuse(node, f"splits the image's axes {before} into {list(shape)}")
    written = [int(entry) if entry in (0, -1) else size for entry, size in zip(fixed, target, strict=True)]
    if written != [int(entry) for entry in fixed]:
        scaling.set_constant(node, 1, written, np.int64)


def _scale_slice(scaling: Scaling, node: NodeProto) -> None:
    graph = scaling.graph
    before, after = _known_shapes(scaling, node)
    starts, ends, axes, steps = (graph.constant_input(node, index) for index in range(1, 5))
    if starts is None or ends is None:
        raise refuse(node, _SIMPLIFY)
    places = list(range(len(starts))) if axes is None else [int(axis) % len(before) for axis in axes]
    strides = [1] * len(starts) if steps is None else [int(step) for step in steps]
    new_ends = [int(end) for end in ends]
    for index, axis in enumerate(places):
        if before[axis] == after[axis]:
            continue
        begin, end, stride = int(starts[index]), new_ends[index], strides[index]
        if stride < 1 or not 0 <= begin < stride or (0 <= end < before[axis]):
            raise refuse(node, f"cuts out {begin}:{end} of the image's {before[axis]} pixels")
        if end >= 0:
            new_ends[index] = _TO_THE_END
    if new_ends != [int(end) for end in ends]:
        scaling.set_constant(node, 2, new_ends, np.int64)


def _scale_split(scaling: Scaling, node: NodeProto) -> None:
    before, after = _known_shapes(scaling, node)
    axis = attribute(node, "axis", 0) % len(before)
    if before[axis] == after[axis]:
        return
    sizes = scaling.graph.constant_input(node, 1)
    if sizes is None and attribute(node, "split") is None and after[axis] % len(node.output) == 0:
        return
    if sizes is None:
        raise refuse(node, f"splits an axis of {before[axis]} that is now {after[axis]}")
    scaling.set_constant(node, 1, _shares(node, sizes.tolist(), before[axis], after[axis]), np.int64)


def _shares(node: NodeProto, sizes: list[int], before: int, after: int) -> list[int]:
    if any(size * after % before for size in sizes):
        raise refuse(
            node,
            f"splits {before} pixels into {sizes}, which does not scale to {after} pixels in whole numbers",
        )
    return [size * after // before for size in sizes]


def _scale_pool(scaling: Scaling, node: NodeProto) -> None:
    """Scale pooling over the whole image; refuse a convolution whose kernel covers the whole image."""
    from onnx import helper

    before, after = _known_shapes(scaling, node)
    weight = scaling.before.get(node.input[1], ()) if node.op_type == "Conv" else ()
    kernel = list(attribute(node, "kernel_shape", []) or weight[2:])
    pads = any(attribute(node, "pads", []))
    if kernel != before[2:] or before[2:] == after[2:] or pads or prod(before[2:]) == 1:
        return
    if node.op_type == "Conv":
        raise refuse(node, f"has a kernel as large as its image, {kernel[1]}x{kernel[0]}")
    kept = [entry for entry in node.attribute if entry.name not in ("kernel_shape", "strides")]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("kernel_shape", after[2:])])
    scaling.note(node)


def _check_product(scaling: Scaling, node: NodeProto) -> None:
    for name, other in ((node.input[0], node.input[1]), (node.input[1], node.input[0])):
        if scaling.changed(name) and scaling.graph.constant(other) is not None:
            shapes = scaling.before.get(name), scaling.after.get(name)
            if _shared(shapes[0], name, node) != _shared(shapes[1], name, node):
                raise refuse(
                    node, f"has weights for one size only: its input was {shapes[0]}, is {shapes[1]}"
                )


def _shared(shape: Shape | None, name: str, node: NodeProto) -> int | None:
    """Return the length of the axis that a matrix product sums over."""
    if not shape:
        return None
    left = name == node.input[0]
    transposed = node.op_type == "Gemm" and bool(attribute(node, "transA" if left else "transB", 0))
    return shape[-1 if left != transposed else max(-2, -len(shape))]


def _check_recurrent(scaling: Scaling, node: NodeProto) -> None:
    before, after = (shapes.get(node.input[0]) for shapes in (scaling.before, scaling.after))
    if before and after and before[-1] != after[-1]:
        raise refuse(node, f"has weights for one size only: its input was {before}, is {after}")


def _check_norm(scaling: Scaling, node: NodeProto) -> None:
    scale, after = scaling.graph.constant_input(node, 1), scaling.after.get(node.input[0])
    if scale is None or not after:
        return
    along = after[attribute(node, "axis", -1) % len(after) :]
    sizes = zip(reversed(scale.shape), reversed(along), strict=False)
    if any(have not in (1, need) and need is not None for have, need in sizes):
        raise refuse(node, f"has weights for one size only: {list(scale.shape)}, its input is {after}")


def _check_target(scaling: Scaling, node: NodeProto) -> None:
    fixed = scaling.graph.constant_input(node, 1)
    if fixed is None or any(int(entry) > 1 for entry in fixed[-2:]):
        raise refuse(node, "expands a tensor to a constant size")


def _check_joined(scaling: Scaling, node: NodeProto) -> None:
    """Refuse two branches, or a branch and a constant, whose shapes no longer match.

    A constant with a number for each cell of a detection head is continued to the new cells.
    """
    if _mismatched(scaling, node) is None:
        return
    sizes = (scaling.height[0], scaling.width[0]), (scaling.height[1], scaling.width[1])
    for index, name in enumerate(node.input):
        values = scaling.graph.constant(name)
        continued = continue_grid(values, *sizes) if values is not None and values.size > 1 else None
        if values is not None and continued is not None:
            scaling.set_constant(node, index, continued.tolist(), values.dtype.type)
    known = _mismatched(scaling, node)
    if known is not None:
        listed = " and ".join(str(list(shape)) for shape in known)
        fixed = any(scaling.graph.constant(name) is not None for name in node.input)
        why = (
            "holds a constant of one size only"
            if fixed
            else "choose a multiple of the network's largest stride, usually 32 pixels"
        )
        raise refuse(node, f"joins {listed}: {why}")


def _mismatched(scaling: Scaling, node: NodeProto) -> list[Shape] | None:
    """Return the shapes of a node's inputs where they do not fit each other."""
    shapes = [scaling.after.get(name) for name in node.input if name]
    known = [shape for shape in shapes if shape]
    if len(known) < 2:
        return None
    rank = max(len(shape) for shape in known)
    joined = attribute(node, "axis") % rank if node.op_type == "Concat" else None
    for axis in range(-rank, 0):
        sizes = {shape[axis] for shape in known if len(shape) >= -axis and shape[axis] is not None}
        allowed = sizes if joined is not None else sizes - {1}
        if axis + rank != joined and len(allowed) > 1:
            return known
    return None


_HOLDS_SIZES = frozenset(
    ("Resize", "Upsample", "Reshape", "Slice", "Split", "Expand", "Tile", "ConstantOfShape")
)
_RULES: dict[str, Callable[[Scaling, NodeProto], None]] = {
    "Resize": _scale_resize,
    "Upsample": _scale_resize,
    "Reshape": _scale_reshape,
    "Slice": _scale_slice,
    "Split": _scale_split,
    **dict.fromkeys(("AveragePool", "MaxPool", "LpPool", "Conv"), _scale_pool),
    **dict.fromkeys(("Gemm", "MatMul"), _check_product),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _check_recurrent),
    "LayerNormalization": _check_norm,
    **dict.fromkeys(("Expand", "Tile"), _check_target),
    **dict.fromkeys(
        ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Where", "PRelu", "Concat"), _check_joined
    ),
}
