# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cells of the grids that detection heads predict on, one grid a stride."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def grid_size(width: int, height: int, stride: int) -> tuple[int, int]:
    """Return columns and rows of a stride's grid; a convolution with padding covers a rest of the image."""
    return -(-width // stride), -(-height // stride)


def grid_cells(
    sizes: Sequence[tuple[int, int]], strides: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the cells of several grids, row by row, in the order of the strides.

    Args:
        sizes: columns and rows of each grid.
        strides: pixels of the model's input between the cells of each grid.

    Returns:
        (N, 2) column and row of each cell, and its (N, 1) stride.
    """
    cells, steps = [], []
    for (columns, rows), stride in zip(sizes, strides, strict=True):
        x, y = np.meshgrid(np.arange(columns), np.arange(rows))
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        steps.append(np.full((columns * rows, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(steps).astype(np.float32)
