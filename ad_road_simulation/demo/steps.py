# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One progress display for all steps, each with its number."""

from __future__ import annotations

import time
from typing import Protocol


class Progress(Protocol):
    """Is told how far the work is."""

    def say(self, text: str) -> None:
        """Show what is being done now."""

    def advance(self, done: int, total: int) -> None:
        """Show how much of it is done."""


class Steps:
    """Puts the number and the name of the present step before what is said.

    Attributes:
        seconds: name of a step to how long it took; the present one is not there yet.
    """

    def __init__(self, progress: Progress, names: tuple[str, ...]) -> None:
        """Begin before the first of the steps."""
        self._progress, self._names = progress, names
        self._prefix = self._present = ""
        self._began_s = 0.0
        self.seconds: dict[str, float] = {}

    def begin(self, name: str) -> None:
        """Go to a step and show it."""
        now_s = time.monotonic()
        if self._present:
            self.seconds[self._present] = now_s - self._began_s
        self._present, self._began_s = name, now_s
        self._prefix = f"{self._names.index(name) + 1}/{len(self._names)} {name}"
        self._progress.say(self._prefix)

    def say(self, text: str) -> None:
        """Show what is being done now."""
        self._progress.say(f"{self._prefix}: {text}")

    def advance(self, done: int, total: int) -> None:
        """Show how much of it is done."""
        self._progress.advance(done, total)
