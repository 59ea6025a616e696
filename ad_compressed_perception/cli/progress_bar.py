# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Progress display of the verbs, for terminals and logs."""

from __future__ import annotations

import time

_LOG_EVERY_S = 15.0


class ProgressBar:
    """A progress bar on standard error with the time left; is itself what long work calls.

    Where standard error is no terminal, a line every 15 seconds.
    """

    def __init__(self, *, logs_steps: bool = False) -> None:
        """Draw nothing yet; with ``logs_steps`` a log also gets a line for every step that begins."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.console = Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("preparing", total=None)
        self._logs_steps = logs_steps
        self._began_s: float | None = None
        self._next_line_s = 0.0
        self._step = ""

    def __enter__(self) -> ProgressBar:
        """Start drawing."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the bar."""
        self._bar.stop()

    def __call__(self, step: str, done: int, total: int) -> None:
        """Show a step and how much of it is done; see core.progress."""
        name = step.partition(", ")[0]
        if name != self._step:
            self._step, self._began_s = name, None
            self._bar.reset(self._task, total=None)
            if self._logs_steps and not self.console.is_terminal:
                self.console.print(step, highlight=False, markup=False)
        self._bar.update(self._task, description=step, completed=done, total=total or None)
        if total and not self.console.is_terminal:
            self._log(step, done, total)

    def _log(self, step: str, done: int, total: int) -> None:
        now_s = time.monotonic()
        if self._began_s is None:
            self._began_s, self._next_line_s = now_s, now_s + _LOG_EVERY_S
        if now_s >= self._next_line_s and done > 1:
            left_s = (now_s - self._began_s) / (done - 1) * (total - done)
            text = f"{step}: {done} of {total}, {left_s:.0f} s left"
            self.console.print(text, highlight=False, markup=False)
            self._next_line_s = now_s + _LOG_EVERY_S
