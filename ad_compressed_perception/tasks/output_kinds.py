# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the numbers of a model's outputs are: data that a decoder declares, and that losses are chosen by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["probability", "logits", "distribution", "pixel_box", "log_size", "value"]
"""``probability``: 0..1 each; ``logits``: of a probability each; ``distribution``: of alternatives, before or
after the softmax; ``pixel_box``: coordinates or sides in pixels or shares of the input; ``log_size``: offsets
in cells and logarithms of sizes; ``value``: any other number."""


@dataclass(frozen=True)
class Columns:
    """Numbers of one kind, next to each other along an output's axis.

    Attributes:
        kind: of each of them.
        count: how many; None, once an output, for all that are left. In a detector these are the classes.
        bins: of a distribution, numbers that sum to 1 after the softmax; None: all columns.
        unit: of a value, the error up to which its loss is quadratic; None: the teacher's standard deviation.
        weight: of their loss.
        is_objectness: whether this probability multiplies those of the classes.
    """

    kind: Kind
    count: int | None = None
    bins: int | None = None
    unit: float | None = None
    weight: float = 1.0
    is_objectness: bool = False


@dataclass(frozen=True)
class OutputKinds:
    """The columns of an output.

    Attributes:
        columns: in their order.
        axis: along which they lie; None: the shorter one of the second and the last.
        strides: where rows are the cells of grids, the grids' strides in pixels, in the order of the rows.
    """

    columns: tuple[Columns, ...]
    axis: int | None = None
    strides: tuple[int, ...] = ()
