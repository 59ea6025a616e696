# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tables of reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right_from: int | None = None) -> str:
    """Return a Markdown table; columns from ``right_from`` on are set to the right."""
    marks = [
        "---:" if right_from is not None and column >= right_from else "---" for column in range(len(head))
    ]
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    lines = [cells[0], marks, *cells[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def records(rows: Sequence[Mapping[str, str]], right_from: int | None = None) -> str:
    """Return a Markdown table of rows that name their columns, all alike; "none" without a row."""
    return table(list(rows[0]), [list(row.values()) for row in rows], right_from) if rows else "none"
