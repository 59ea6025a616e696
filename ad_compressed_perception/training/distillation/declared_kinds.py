# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the kinds that a decoder declares: losses chosen by wrong ones would train to something else."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.one_line import shorten
from ad_compressed_perception.tasks.output_kinds import Columns, Kind, OutputKinds
from ad_compressed_perception.training.losses import column_axis, column_counts

_ROUNDING = 0.05
"""As in the output contract."""
_IMAGES = 64
"""On which values are compared with their kind."""


def require_declared(decoder: str, declared: Any, outputs: Collection[str]) -> Mapping[str, OutputKinds]:
    """Return what a decoder declares of a graph's outputs.

    Args:
        decoder: its name.
        declared: what its ``output_kinds`` returned.
        outputs: names of the graph's.

    Raises:
        RecipeError: it has another form, an unknown kind or output; one line that names it.
    """
    if not isinstance(declared, Mapping):
        raise RecipeError(
            f"decoder {decoder!r}: output_kinds must return a mapping of outputs to OutputKinds, "
            f"not {shorten(repr(declared))}"
        )
    for name, kinds in declared.items():
        if name not in outputs:
            wrong = f"what it is, but the graph has only {', '.join(sorted(outputs))}"
        else:
            wrong = _wrong_kinds(kinds)
        if wrong:
            raise RecipeError(f"decoder {decoder!r} declares of output {name!r} {wrong}")
    return declared


def _wrong_kinds(kinds: Any) -> str:
    """Return what is wrong with the kinds of an output; "" for nothing."""
    if not isinstance(kinds, OutputKinds):
        return f"{shorten(repr(kinds))}: it must be an OutputKinds"
    if not isinstance(kinds.columns, tuple) or not kinds.columns:
        return "no columns: give a tuple of Columns"
    for columns in kinds.columns:
        if wrong := _wrong(columns):
            return wrong
    if sum(columns.count is None for columns in kinds.columns) > 1:
        return "two columns without a count: only one may have all that are left"
    axis: Any = kinds.axis
    strides: Any = kinds.strides
    if not (axis is None or isinstance(axis, int)):
        return f"axis {shorten(repr(axis))}: give a whole number or None"
    if not (isinstance(strides, tuple) and all(_is_count(one, 1) for one in strides)):
        return f"strides {shorten(repr(strides))}: give a tuple of whole numbers"
    return ""


def _wrong(columns: Any) -> str:
    """Return what is wrong with columns; "" for nothing."""
    if not isinstance(columns, Columns):
        return f"columns {shorten(repr(columns))}: they must be Columns"
    if columns.kind not in get_args(Kind):
        return f"the kind {shorten(repr(columns.kind))}; known kinds are {', '.join(get_args(Kind))}"
    if columns.count is not None and not _is_count(columns.count, 0):
        return f"the count {shorten(repr(columns.count))}: give a whole number or None"
    if columns.bins is not None and (columns.kind != "distribution" or not _is_count(columns.bins, 2)):
        return (
            f"{columns.kind} in {shorten(repr(columns.bins))} bins: bins divide a distribution by 2 or more"
        )
    if columns.unit is not None and not (columns.kind == "value" and _is_positive(columns.unit)):
        return f"{columns.kind} of unit {shorten(repr(columns.unit))}: a value may have a unit above 0"
    if not _is_positive(columns.weight):
        return f"the weight {shorten(repr(columns.weight))}: it must be above 0"
    if columns.is_objectness and columns.kind not in ("probability", "logits"):
        return f"{columns.kind} as objectness: that is a probability, or its logits"
    return ""


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and value >= least


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value > 0.0


def require_columns(
    decoder: str, name: str, kinds: OutputKinds, shape: Sequence[int], size: tuple[int, int]
) -> None:
    """Raise RecipeError where an output has no such columns or rows.

    Args:
        decoder: that declares them.
        name: of the output.
        kinds: its columns, and the grids of its rows.
        shape: its own, the batch first.
        size: width and height of the graph's input, pixels.
    """
    where = f"output {name!r} is {list(shape)}: "
    rank = len(shape)
    if kinds.axis is not None and rank > 1 and not (-rank < kinds.axis < rank and kinds.axis % rank):
        raise RecipeError(
            f"{where}decoder {decoder!r} declares columns along axis {kinds.axis}, which is none of 1 to "
            f"{rank - 1}"
        )
    axis = column_axis(kinds, shape)
    cells = sum((size[0] // stride) * (size[1] // stride) for stride in kinds.strides)
    if kinds.strides and (rank != 3 or shape[3 - axis] != cells):
        raise RecipeError(
            f"{where}decoder {decoder!r} declares {cells} rows, the cells of strides "
            f"{', '.join(map(str, kinds.strides))} in {size[0]}x{size[1]} pixels"
        )
    numbers = shape[axis]
    counts = column_counts(kinds.columns, numbers)
    bins = [(one.bins, count) for one, count in zip(kinds.columns, counts, strict=True) if one.bins]
    if min(counts) < 0 or sum(counts) != numbers or any(count % of for of, count in bins):
        raise RecipeError(
            f"{where}the columns that decoder {decoder!r} declares for it do not divide {numbers} numbers"
        )


def require_values(name: str, kinds: OutputKinds, values: NDArray[Any]) -> None:
    """Compare (N, ...) targets of an output with its kinds.

    Raises:
        RecipeError: numbers that are not finite, or called probabilities and not within 0..1.
    """
    rows = np.asarray(values[:: max(1, len(values) // _IMAGES)], np.float32)
    if not np.isfinite(rows).all():
        raise RecipeError(
            f"the teacher's {name!r} has numbers that are not finite, which nothing can be trained to: "
            "export it without them, such as a mask of -1e9 in place of minus infinity"
        )
    axis = column_axis(kinds, rows.shape)
    pieces = np.split(rows, np.cumsum(column_counts(kinds.columns, rows.shape[axis]))[:-1], axis)
    for one, piece in zip(kinds.columns, pieces, strict=True):
        if one.kind == "probability" and piece.size:
            least, most = float(piece.min()), float(piece.max())
            if least < -_ROUNDING or most > 1.0 + _ROUNDING:
                raise RecipeError(
                    f"output {name!r} is taken for a probability, but the teacher gives {least:.3g} to "
                    f"{most:.3g}: declare logits or a value in the decoder's output_kinds"
                )
