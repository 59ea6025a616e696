# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decides from a worker's progress when it hangs, when to replace it and when to end the process; no ROS."""

from __future__ import annotations

from enum import Enum

from ad_compressed_perception.nodes.worker import Progress

EXIT_HUNG = 75
"""Exit status of a process whose node hung and could not be helped by a new worker (EX_TEMPFAIL)."""
MAX_REPLACEMENTS = 3
"""Workers replaced without one finished frame; each leaves a hung thread and its model behind."""
LONGEST_STEP_S = 0.5


class Action(Enum):
    """What is to be done after a look at the worker."""

    NONE = "none"
    REPLACE = "replace"
    EXIT = "exit"


class Watchdog:
    """Measures how long a worker has had a frame and has finished none.

    A node without frames does not hang. Time in which the whole process stood still (SIGSTOP, a frozen
    container) is no hang either: from one look to the next at most ``LONGEST_STEP_S`` count.

    Attributes:
        hung_s: seconds without a finished frame of the present worker; 0 while it has none to do.
        unfinished_s: the same over all workers since the last frame that one finished.
        replacements: workers replaced since then.
        is_hung: the present worker has exceeded its time, or there is no thread that works.
        given_up: the last replacement hung, too, and the process is not to end.
    """

    def __init__(self) -> None:
        """Begin with a worker that has no frame."""
        self.hung_s = self.unfinished_s = 0.0
        self.replacements = 0
        self.is_hung = self.given_up = False
        self._finished = 0
        self._last_s: float | None = None

    def look(self, progress: Progress, now_s: float, error_s: float, exit_s: float) -> Action:
        """Return what to do; to be called a few times a second, but not while a replacement is loaded.

        Args:
            progress: of the worker.
            now_s: monotonic seconds.
            error_s: time without a finished frame after which the worker hangs and is replaced.
            exit_s: the same for the end of the process, replacements included; 0: never.
        """
        step_s = 0.0 if self._last_s is None else min(max(now_s - self._last_s, 0.0), LONGEST_STEP_S)
        self._last_s = now_s
        if progress.finished != self._finished:
            self._finished = progress.finished
            self.hung_s = self.unfinished_s = 0.0
            self.replacements = 0
            self.is_hung = self.given_up = False
            return Action.NONE
        if not progress.has_frame and progress.is_alive:
            self.hung_s = 0.0
            self.is_hung = False
            return Action.NONE
        self.hung_s += step_s
        self.unfinished_s += step_s
        limit_s = min(error_s, exit_s) if exit_s else error_s
        is_due = self.hung_s >= limit_s or not (progress.is_alive or self.replacements)
        self.is_hung = self.given_up or is_due or not progress.is_alive
        if not is_due or self.given_up:
            return Action.NONE
        if self.replacements and exit_s and (self.unfinished_s >= exit_s or self._exhausted):
            return Action.EXIT
        if self._exhausted:
            self.given_up = True
            return Action.NONE
        return Action.REPLACE

    @property
    def _exhausted(self) -> bool:
        return self.replacements >= MAX_REPLACEMENTS

    def replaced(self, now_s: float) -> None:
        """Note that the worker was given up and another one takes its place, or that none could be loaded."""
        self.replacements += 1
        self.hung_s = 0.0
        self._last_s = now_s
