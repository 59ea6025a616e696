# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs verbs of adcp in this process, numbered by the step that they belong to."""

from __future__ import annotations

import shlex
import sys
import time

import typer

from ad_compressed_perception.cli.compress import compress
from ad_compressed_perception.cli.evaluate import evaluate
from ad_compressed_perception.cli.exit_codes import ExitCode
from ad_compressed_perception.cli.replay import replay
from ad_road_simulation.cli.camera import camera
from ad_road_simulation.cli.drive import drive

_app = typer.Typer()
for _verb in (camera, compress, evaluate, replay, drive):
    _app.command(_verb.__name__)(_verb)


class Verbs:
    """A sequence of commands.

    Attributes:
        lines: the commands so far, as a shell takes them.
        seconds: name of each step that was begun to how long it has taken.
    """

    def __init__(self, steps: tuple[str, ...] = ()) -> None:
        """Start before the first step."""
        self._steps, self._step, self._began_s = steps, "", time.monotonic()
        self.lines: list[str] = []
        self.seconds: dict[str, float] = {}

    def begin(self, step: str) -> None:
        """Begin a step and show it."""
        self.end()
        self._step, self._began_s = step, time.monotonic()
        print(f"{self._steps.index(step) + 1}/{len(self._steps)} {step}", file=sys.stderr)

    def end(self) -> None:
        """Take down how long the present step took."""
        if self._step:
            self.seconds[self._step] = time.monotonic() - self._began_s

    def run(self, *words: object) -> int:
        """Show a command, run it and return its exit code; an option whose value is None is left out.

        Raises:
            AdcpError: what the verb raises.
            KeyboardInterrupt: Ctrl-C.
        """
        given = [
            str(word)
            for index, word in enumerate(words)
            if word is not None and (index + 1 == len(words) or words[index + 1] is not None)
        ]
        self.lines.append(shlex.join(["adcp", *given]))
        print(f"$ {self.lines[-1]}", file=sys.stderr)
        status = _app(given, standalone_mode=False) or 0
        if status == ExitCode.INTERRUPTED:
            raise KeyboardInterrupt
        return int(status)
