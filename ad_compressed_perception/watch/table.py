# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A view as text of any width; colors only repeat what the words say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ad_compressed_perception.report.kit.text import shown
from ad_compressed_perception.watch.view import (
    LOW,
    NO_DATA,
    NO_LIMIT,
    NO_RESULT,
    NO_SCORE,
    Row,
    Series,
    View,
)

_STYLES = {
    "OK": "green",
    NO_LIMIT: "yellow",
    NO_SCORE: "yellow",
    LOW: "yellow",
    "WARN": "bold yellow",
    NO_RESULT: "bold red",
    "ERROR": "bold red",
    NO_DATA: "bold white on red",
}
_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.-:=+*#"
_HOUR_MS = 3.6e6


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        title: its head.
        text: of a row.
        rank: where the terminal is too narrow, columns of the highest rank are left out first; 0: never.
        is_left: text rather than a number.
        may_shrink: its text may be cut, with an ellipsis; a number never is.
    """

    title: str
    text: Callable[[Row], str]
    rank: int = 0
    is_left: bool = False
    may_shrink: bool = False


def sparkline(series: Series, *, ascii_only: bool = False) -> str:
    """Return a series as one character a value; a gap where there was no value."""
    marks = _ASCII if ascii_only else _BLOCKS
    drawn = []
    for value in series.values:
        if value is None:
            drawn.append(" ")
            continue
        share = (value - series.low) / (series.high - series.low)
        drawn.append(marks[min(len(marks) - 1, max(0, int(share * len(marks))))])
    return "".join(drawn)


def milliseconds(value: float | None) -> str:
    """Return a duration in ms; ages beyond an hour are those of a recording's stamps."""
    if value is None:
        return "-"
    if abs(value) >= _HOUR_MS:
        return ">1 h" if value > 0 else "<-1 h"
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def share(value: float | None) -> str:
    """Return a share in percent; a small one is not shown as none."""
    if value is None:
        return "-"
    return "<0.1%" if 0.0 < value < 0.001 else f"{value:.1%}"


def _number(value: float | None, digits: int, unit: str = "") -> str:
    return "-" if value is None else f"{value:.{digits}f}{unit}"


def _pairs(row: Row) -> str:
    if row.pairs is None:
        return ""
    return f"{row.pairs}/{row.frames}" if row.frames else str(row.pairs)


def _missed(row: Row) -> str:
    return f"{row.longest_miss_run} in a row" if row.longest_miss_run else "-"


def columns(*, ascii_only: bool) -> list[Column]:
    """Return all columns."""

    def drawn(series: Series) -> str:
        return sparkline(series, ascii_only=ascii_only)

    return [
        Column("", lambda row: row.level, is_left=True),
        Column("TASK", lambda row: shown(row.task), is_left=True, may_shrink=True),
        Column("NODE", lambda row: shown(row.name), is_left=True, may_shrink=True),
        Column("RUNS", lambda row: shown(row.model), 10, is_left=True),
        Column("Hz", lambda row: _number(row.rate_hz, 1)),
        Column("INFER", lambda row: milliseconds(row.infer_ms.p50), 5),
        Column("P50", lambda row: milliseconds(row.end_to_end_ms.p50), 6),
        Column("P95", lambda row: milliseconds(row.end_to_end_ms.p95), 9),
        Column("P99", lambda row: milliseconds(row.end_to_end_ms.p99), 1),
        Column("MISSED", _missed, 12),
        Column("LATE", lambda row: share(row.late_share), 3),
        Column("DROP", lambda row: share(row.drop_share), 2),
        Column("AGREEMENT", lambda row: row.agreement, is_left=True),
        Column("PAIRS", _pairs, 4),
        Column("SPEED", lambda row: "" if row.pairs is None else _number(row.speedup, 2, "x"), 7),
        Column("AGREEMENT, 2 MIN", lambda row: drawn(row.score_series), 8, is_left=True),
        Column("P95, 2 MIN", lambda row: drawn(row.p95_series), 11, is_left=True),
    ]


def fitting(rows: Sequence[Row], width: int, *, ascii_only: bool) -> list[tuple[Column, int]]:
    """Return the columns that fit into a width, each with its own, one space between them."""
    found = [
        (column, max([len(column.title), *(len(column.text(row)) for row in rows)]))
        for column in columns(ascii_only=ascii_only)
    ]
    while sum(size + 1 for _, size in found) - 1 > width:
        last = max((column.rank for column, _ in found), default=0)
        if not last:
            break
        found = [(column, size) for column, size in found if column.rank != last]
    excess = sum(size + 1 for _, size in found) - 1 - width
    cut = -(-excess // sum(column.may_shrink for column, _ in found)) if excess > 0 else 0
    return [(column, max(4, size - cut) if column.may_shrink else size) for column, size in found]


def draw(view: View, console: Console, *, clock: str = "") -> RenderableType:
    """Return a view drawn for a console: head, table, then what is wrong.

    Args:
        view: what to show.
        console: its width and encoding decide what fits.
        clock: local time, so that a terminal that stands still is noticed.
    """
    width, ascii_only = console.width, console.options.ascii_only
    is_stale = view.state == NO_DATA
    head = Text(f"{view.monitor}  ", style="bold")
    head.append(f" {view.state} ", style=f"reverse {_STYLES[view.state]}")
    if is_stale:
        head.append(
            f"  no summary for {view.age_s:.0f} s: the figures below are not of now", _STYLES[NO_DATA]
        )
    else:
        head.append(f"  {view.figures}, {view.age_s:.1f} s old")
    wrong = len(view.alarms) + len(view.missing) + len(view.notes)
    # Lines at the end may lie below the terminal's last one; their number does not.
    head.append(f"  {wrong} problem{'s' * (wrong > 1)}" if wrong else "", _STYLES["ERROR"])
    head.append(f"  {clock}" if clock else "")
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="reverse", pad_edge=False)
    fitted = fitting(view.rows, width, ascii_only=ascii_only)
    for column, size in fitted:
        table.add_column(
            column.title, justify="left" if column.is_left else "right", no_wrap=True, width=size
        )
    for row in view.rows:
        cells = [Text(column.text(row)) for column, _ in fitted]
        cells[0] = Text("?") if is_stale else Text(row.level, _STYLES[row.level])
        table.add_row(*cells, style="dim" if is_stale else "")
    parts: list[RenderableType] = [head, table]
    if not view.rows:
        parts.append(Text("the monitor watches no node"))
    lines = [(alarm.level, alarm.sentence or f"{alarm.task} {alarm.figure}") for alarm in view.alarms]
    silent = [line for line in view.missing if line not in {text for _, text in lines}]
    lines += [("ERROR", line) for line in (*silent, *view.notes)]
    if lines:
        parts.append(Text(""))
    # Sentences quote names of models and labels: their control characters are not for this terminal.
    parts += [Text.assemble((f"{level:<5} ", _STYLES[level]), shown(line)) for level, line in lines]
    return Group(*parts)
