# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Columns of a csv file of labels, by their names in its first line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from ad_compressed_perception.core.errors import DataError


def read_columns(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield file and line for messages, and the line's values of ``columns`` without spaces around them.

    A value that a line lacks is empty. Other columns are not read.

    Raises:
        DataError: the file cannot be read or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            names = [name.strip() for name in reader.fieldnames or []]
            missing = [name for name in columns if name not in names]
            if missing:
                raise DataError(
                    f"{path} has no column {' and '.join(missing)}; it has: {', '.join(names) or 'none'}"
                )
            reader.fieldnames = names
            for row in reader:
                values = tuple((row[name] or "").strip() for name in columns)
                yield f"{path}, line {reader.line_num}", values
    except (OSError, UnicodeDecodeError, csv.Error) as cause:
        raise DataError(f"cannot read {path}: {getattr(cause, 'strerror', None) or cause}") from cause


def has_column(path: Path, name: str) -> bool:
    """Return whether the first line of a csv file that was read names a column."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        return name in [column.strip() for column in next(csv.reader(stream), [])]
