# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tables for terminals, made from the same rows as those of report.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def new_table(title: str | None, *columns: str, rows: Iterable[Sequence[str]] = ()) -> Table:
    """Return a table; columns whose title begins with ``>`` are aligned to the right, without it.

    Args:
        title: above the table.
        columns: their titles.
        rows: cells that are shown as they are: a text of others in them is no markup.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for column in columns:
        if column.startswith(">"):
            table.add_column(column[1:], justify="right")
        else:
            table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
