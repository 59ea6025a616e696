# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which outputs are tables of rows without an order: objects after a suppression inside the file.

Their number of rows varies from frame to frame, or a column ranks the rows by falling scores in every frame.
Outputs of as many rows each belong to one table: boxes, scores and classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.metrics.id_counts import MOST_IDS
from ad_compressed_perception.metrics.row_sets import (
    Columns,
    describe_columns,
    match_rows,
    matched_weight,
    row_weights,
)

MOST_VALUES = 50_000
"""An output of more values is no table of rows."""

_MOST_COLUMNS = 64
_LEAST_ROWS = 4
# Rows below this share of the strongest one's weight are background, whose ids mean nothing.
_OBJECT_SHARE = 0.25

Frames = list[tuple[NDArray[np.float64], NDArray[np.float64] | None]]


@dataclass(frozen=True)
class RowTable:
    """A table of rows that one or several outputs make.

    Attributes:
        names: of the outputs.
        lost: (N, 2) of each frame: weight of the rows without a partner, and of all rows.
        columns: number of columns.
        changes: whether the baseline's differs between frames.
        ids: names of the ids in columns of whole numbers, such as "classes = 3".
        shown: (N, len(ids)) whether the baseline has an object with the id on a frame.
        kept: likewise, whether such an object has a partner.
    """

    names: tuple[str, ...]
    lost: NDArray[np.float64]
    columns: int
    changes: bool
    ids: tuple[str, ...]
    shown: NDArray[np.bool_]
    kept: NDArray[np.bool_]

    @property
    def name(self) -> str:
        """The outputs' names, joined by " + "."""
        return " + ".join(self.names)


def find_tables(kept: Mapping[str, Frames], varying: set[str]) -> list[RowTable]:
    """Return the tables of rows among the outputs.

    Args:
        kept: output name to the arrays of baseline and variant, frame by frame.
        varying: names of the outputs whose shapes differ between frames.

    Raises:
        DataError: an output whose shape varies in another way.
    """
    groups: dict[tuple[int, ...], dict[str, Frames]] = {}
    for name, frames in kept.items():
        axis = _row_axis([b.shape for b, _ in frames], name in varying)
        tables = None if axis is None else _tables(frames, axis)
        if tables is None and name in varying:
            shapes = sorted({str(list(b.shape)) for b, _ in frames})
            raise DataError(
                f"output {name!r} has no fixed shape ({', '.join(shapes[:3])}), and no axis of rows: "
                "leave it out by naming the others in the manifest's output options: {outputs: [...]}"
            )
        if tables is not None:
            groups.setdefault(tuple(len(b) for b, _ in tables), {})[name] = tables
    found = []
    for rows, members in groups.items():
        is_varying = any(name in varying for name in members)
        if is_varying or (max(rows) >= _LEAST_ROWS and len(set(rows)) == 1):
            table = _join(members, is_varying=is_varying)
            found += [] if table is None else [table]
    return found


def _row_axis(shapes: Sequence[tuple[int, ...]], is_varying: bool) -> int | None:
    """Return the axis of the rows: the one that varies, or the first of several elements."""
    if len({len(shape) for shape in shapes}) != 1:
        return None
    sizes = np.array(shapes, np.int64).reshape(len(shapes), -1)
    axes = np.flatnonzero((sizes != sizes[0]).any(axis=0)) if is_varying else np.flatnonzero(sizes[0] > 1)[:1]
    if len(axes) != 1 or (sizes[0, : axes[0]] != 1).any():
        return None
    return int(axes[0])


def _tables(frames: Frames, axis: int) -> Frames | None:
    made: Frames = []
    for b, v in frames:
        columns = int(np.prod(b.shape[axis + 1 :]))
        if columns > _MOST_COLUMNS or (v is not None and v.shape[axis + 1 :] != b.shape[axis + 1 :]):
            return None
        made.append(
            (b.reshape(b.shape[axis], columns), None if v is None else v.reshape(v.shape[axis], columns))
        )
    return made


def _join(members: Mapping[str, Frames], *, is_varying: bool) -> RowTable | None:
    names = tuple(members)
    count = len(next(iter(members.values())))
    baseline = [np.concatenate([members[name][place][0] for name in names], axis=1) for place in range(count)]
    columns = describe_columns(baseline)
    if not is_varying and (columns.score is None or baseline[0].shape[1] < 2):
        return None
    lost = np.zeros((count, 2))
    ids = _ids(baseline)
    strongest = max((float(row_weights(one, columns).max(initial=0.0)) for one in baseline), default=0.0)
    shown, kept = np.zeros((2, count, len(ids)), bool)
    for place, table in enumerate(baseline):
        sides = [members[name][place][1] for name in names]
        known = [side for side in sides if side is not None]
        if len(known) < len(sides) or len({len(side) for side in known}) > 1:
            lost[place] = 1.0, 1.0
            shown[place], _ = _shown(table, np.full(len(table), -1), columns, ids, strongest)
            continue
        variant = np.concatenate(known, axis=1)
        chosen = match_rows(table, variant, columns)
        matched, total = matched_weight(table, variant, columns, chosen)
        lost[place] = total - matched, total
        shown[place], kept[place] = _shown(table, chosen, columns, ids, strongest)
    changes = any(
        one.shape != baseline[0].shape or not np.array_equal(one, baseline[0]) for one in baseline[1:]
    )
    texts = tuple(f"{' + '.join(names)}, column {column}: {number:g}" for column, number in ids)
    return RowTable(names, lost, baseline[0].shape[1], changes, texts, shown, kept)


def _ids(tables: Sequence[NDArray[np.float64]]) -> list[tuple[int, float]]:
    """Return (column, number) of each number in columns that hold two ids or more and nothing else."""
    rows = np.concatenate(tables)
    found = []
    for column in range(rows.shape[1]):
        numbers = np.unique(rows[:, column])
        is_id = (numbers == np.rint(numbers)) & (numbers >= 0) & (numbers < MOST_IDS)
        if len(numbers) > 1 and is_id.all():
            found += [(column, float(number)) for number in numbers]
    return found


def _shown(
    table: NDArray[np.float64],
    chosen: NDArray[np.int64],
    columns: Columns,
    ids: Sequence[tuple[int, float]],
    strongest: float,
) -> tuple[list[bool], list[bool]]:
    """Return whether a frame has an object with each id, and whether one of them has a partner."""
    is_object = row_weights(table, columns) >= _OBJECT_SHARE * strongest
    with_id = [is_object & (table[:, column] == number) for column, number in ids]
    return [bool(one.any()) for one in with_id], [bool((one & (chosen >= 0)).any()) for one in with_id]
