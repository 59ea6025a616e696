# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One progress display for all numbered steps."""

from __future__ import annotations

import time
from typing import Protocol


class StepProgress(Protocol):
    """Receives progress updates."""

    def notify(self, text: str) -> None:
        """Show the current step."""

    def advance(self, done: int, total: int) -> None:
        """Show how much of the current step is done."""


class Steps:
    """Prefixes progress messages with number and name of the current step.

    Attributes:
        seconds: name of each finished step to its duration.
    """

    def __init__(self, progress: StepProgress, names: tuple[str, ...]) -> None:
        """Start before the first step."""
        self._progress, self._names = progress, names
        self._prefix = self._current = ""
        self._began_s = 0.0
        self.seconds: dict[str, float] = {}

    def begin(self, name: str) -> None:
        """Start a step and show it."""
        now_s = time.monotonic()
        if self._current:
            self.seconds[self._current] = now_s - self._began_s
        self._current, self._began_s = name, now_s
        self._prefix = f"{self._names.index(name) + 1}/{len(self._names)} {name}"
        self._progress.notify(self._prefix)

    def notify(self, text: str) -> None:
        """Show the current step."""
        self._progress.notify(f"{self._prefix}: {text}")

    def advance(self, done: int, total: int) -> None:
        """Show how much of the current step is done."""
        self._progress.advance(done, total)
