# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Constants of detection heads with a number for each cell of their grids, continued to another image size.

Exporters fold the cells' centers, the strides and the anchors of a decoding head into constants as long as
all cells of all levels together. Every such number is linear in its cell's row and column, unlike
trained weights; the same line gives the numbers of a grid with other rows and columns. Boxes that a
graph divides by the input's sides, or limits to them, need the sides: such a graph is for one size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.onnx_graph.graph import Graph

if TYPE_CHECKING:
    from onnx import NodeProto

_STATING = ("Mul", "Div", "Min", "Max", "Clip")
_MOST_SIDES = 4
_STRIDES = (2, 4, 8, 16, 32, 64, 128)
_MOST_ANCHORS = 9
_TOLERANCE = 1e-4
_LEAST_CELLS = 3
"""Cells are counted 0, 1, 2 ...: from three a side on, such numbers are beyond 1."""

Size = tuple[int, int]
"""Height and width of the input, pixels."""


def stated_size(graph: Graph, size: Size) -> NodeProto | None:
    """Return the first node that multiplies, divides or limits by the sides of the input, if any.

    Args:
        graph: the graph.
        size: height and width of its input.
    """
    sides = np.array([*size, *(1.0 / side for side in size)])
    for node in graph.model.graph.node:
        if node.op_type not in _STATING:
            continue
        for name in node.input:
            values = graph.constant(name) if name else None
            if values is None or not 1 <= values.size <= _MOST_SIDES or values.dtype.kind not in "fiu":
                continue
            numbers = values.astype(np.float64).reshape(-1, 1)
            if (np.abs(numbers - sides) <= 1e-6 * sides).any(axis=1).all():
                return node
    return None


def continue_grid(values: NDArray[Any], before: Size, after: Size) -> NDArray[Any] | None:
    """Return a constant for another image size; None where it is not linear over the cells of known grids.

    None also for numbers in shares of the image's sides, which are others at another size.

    Args:
        values: one axis of all cells of the levels, row by row, or rows and columns of one level.
        before: the present size of the input.
        after: its new size.
    """
    if _are_shares_of_strides(values, before):
        return None
    for stride in _STRIDES:
        (old_grid,), (new_grid,) = _grids((stride,), before), _grids((stride,), after)
        for axis in range(values.ndim - 1):
            if values.shape[axis : axis + 2] == old_grid and min(old_grid) > 1:
                last = np.moveaxis(values, (axis, axis + 1), (-2, -1))
                continued = _continued(last, *new_grid)
                if continued is not None:
                    return np.moveaxis(continued, (-2, -1), (axis, axis + 1)).astype(values.dtype)
    for strides in _runs():
        old, new = _grids(strides, before), _grids(strides, after)
        for axis in range(values.ndim):
            found = _along_axis(values, axis, old, new)
            if found is not None:
                return found
    return None


def _runs() -> Iterator[tuple[int, ...]]:
    """Yield neighboring strides, several levels first."""
    for length in range(5, 0, -1):
        for first in range(len(_STRIDES) - length + 1):
            yield _STRIDES[first : first + length]


def _grids(strides: tuple[int, ...], size: Size) -> list[tuple[int, int]]:
    return [(-(-size[0] // stride), -(-size[1] // stride)) for stride in strides]


def _along_axis(
    values: NDArray[Any], axis: int, old: list[tuple[int, int]], new: list[tuple[int, int]]
) -> NDArray[Any] | None:
    """Return the constant with the cells of new grids along an axis that has those of the old ones."""
    cells = sum(rows * columns for rows, columns in old)
    anchors, rest = divmod(values.shape[axis], cells)
    # A grid of one row or column says nothing of the next one.
    if rest or not 1 <= anchors <= _MOST_ANCHORS or min(old[0]) < 2:
        return None
    flat = np.moveaxis(values, axis, -1)
    for anchors_first in (False, True) if anchors > 1 else (False,):
        parts, first = [], 0
        for (rows, columns), target in zip(old, new, strict=True):
            last = first + rows * columns * anchors
            level = flat[..., first:last]
            first = last
            if anchors_first:
                grid = level.reshape(*flat.shape[:-1], anchors, rows, columns)
            else:
                grid = np.moveaxis(level.reshape(*flat.shape[:-1], rows, columns, anchors), -1, -3)
            continued = _continued(grid, *target)
            if continued is None:
                break
            if not anchors_first:
                continued = np.moveaxis(continued, -3, -1)
            parts.append(continued.reshape(*flat.shape[:-1], -1))
        else:
            return np.moveaxis(np.concatenate(parts, axis=-1), -1, axis).astype(values.dtype)
    return None


def _is_normalized(grid: NDArray[np.float64]) -> bool:
    """Return whether a grid is in shares of the image: the same line would lead beyond it at another size.

    So are centers and corners of cells within -1 to 1.
    """
    is_within = min(grid.shape[-2:]) >= _LEAST_CELLS and float(np.abs(grid).max()) <= 1.0
    return is_within and bool(np.ptp(grid, axis=(-2, -1)).any())


def _are_shares_of_strides(values: NDArray[Any], size: Size) -> bool:
    """Return whether every number is a stride divided by a side of the image."""
    numbers = np.unique(values.astype(np.float64))
    shares = np.divide.outer(np.array(_STRIDES, np.float64), np.array(size, np.float64)).reshape(-1)
    near = np.abs(numbers[:, None] - shares) <= _TOLERANCE * shares
    return bool((shares[near.any(axis=0)] < 1.0).all() and near.any(axis=1).all())


def _continued(grid: NDArray[Any], rows: int, columns: int) -> NDArray[np.float64] | None:
    """Return a (..., rows, columns) grid by the line through the present one; None where it is none.

    None also for a grid in shares of the image's sides.
    """
    present = grid.astype(np.float64)
    corner = present[..., :1, :1]
    down = present[..., 1:2, :1] - corner if present.shape[-2] > 1 else np.zeros_like(corner)
    right = present[..., :1, 1:2] - corner if present.shape[-1] > 1 else np.zeros_like(corner)

    def line(high: int, wide: int) -> NDArray[np.float64]:
        result: NDArray[np.float64] = (
            corner + down * np.arange(high)[:, None] + right * np.arange(wide)[None, :]
        )
        return result

    difference = np.abs(line(*present.shape[-2:]) - present)
    if difference.max() > _TOLERANCE * max(1.0, float(np.abs(present).max())) or _is_normalized(present):
        return None
    return line(rows, columns)
