# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Progress display for terminals and logs."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_LOG_EVERY_S = 15.0


class ProgressBar:
    """A progress bar with the time left; where there is no terminal, a line every 15 seconds."""

    def __init__(self, console: Console) -> None:
        """Draw on a console, which should be standard error."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._console = console
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("preparing", total=None)
        self._began_s: float | None = None
        self._next_line_s = 0.0
        self._step = ""

    def __enter__(self) -> ProgressBar:
        """Start drawing."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        self._bar.stop()

    def notify(self, text: str) -> None:
        """Show the current step."""
        if text == self._step:
            return
        self._step, self._began_s = text, None
        self._bar.reset(self._task, total=None, description=text)
        if not self._console.is_terminal:
            self._console.print(text, highlight=False)

    def advance(self, done: int, total: int) -> None:
        """Show how much is done of an estimated total."""
        self._bar.update(self._task, completed=done, total=total)
        if self._console.is_terminal:
            return
        now_s = time.monotonic()
        if self._began_s is None:
            self._began_s, self._next_line_s = now_s, now_s + _LOG_EVERY_S
        if now_s >= self._next_line_s and done > 1:
            left_s = (now_s - self._began_s) / (done - 1) * (total - done)
            self._console.print(f"{self._step}: {done} of {total}, {left_s:.0f} s left", highlight=False)
            self._next_line_s = now_s + _LOG_EVERY_S
