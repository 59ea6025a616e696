# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ends the process that started it once no sign of life comes; a program of its own, see process_watchdog.

It is run by its path, in an interpreter without site-packages, and imports the standard library only. On the
standard input come lines: ``beat LIMIT_S`` is a sign of life, and the next one is due within so many seconds;
``node TIMES LOST_SINCE_S PATH`` is a node, the ends of its processes before without a frame between them, the
monotonic time since when it has answered none (0: it has), and the file for the note of this process's end;
``forget PATH`` takes it back.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from math import inf
from time import monotonic

SCHEMA = "adcp-ended/1"
BOOT_FILE = "/proc/sys/kernel/random/boot_id"
LONGEST_STEP_S = 0.5
"""What counts of the time between two looks: in a longer one this process, too, stood still."""


class Silence:
    """The time since the last sign of life in which both processes could run.

    Attributes:
        seconds: so long.
        limit_s: how long it may become.
        last_sign_s: monotonic time of the last sign of life.
    """

    def __init__(self, now_s: float) -> None:
        """Begin to wait for the first sign of life, without a limit."""
        self.seconds, self.limit_s = 0.0, inf
        self.last_sign_s = self._last_look_s = now_s

    def sign(self, now_s: float, limit_s: float) -> None:
        """Note a sign of life; the next one is due within ``limit_s``."""
        self.seconds, self.limit_s = 0.0, limit_s
        self.last_sign_s = self._last_look_s = now_s

    def look(self, now_s: float, *, is_stopped: bool) -> bool:
        """Return whether the silence has lasted too long; time in which the process was stopped is none."""
        step_s = min(max(now_s - self._last_look_s, 0.0), LONGEST_STEP_S)
        self._last_look_s = now_s
        self.seconds += 0.0 if is_stopped else step_s
        return self.seconds >= self.limit_s


def is_stopped(process: int) -> bool:
    """Return whether a process is stopped by a signal or a debugger."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[0] in ("T", "t")
    except (OSError, IndexError):
        return False


def note_end(path: str, times: int, lost_since_s: float, silence: Silence) -> None:
    """Leave a note of the end for the node's next process."""
    with open(BOOT_FILE, encoding="ascii") as stream:
        boot = stream.read().strip()
    text = (
        f'{{"schema": "{SCHEMA}", "boot": "{boot}", "silent_s": {silence.seconds:.3f}, "times": {times + 1}, '
        f'"lost_since_s": {lost_since_s or silence.last_sign_s:.3f}, "ended_s": {monotonic():.3f}}}\n'
    )
    temporary = f"{path}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)
    os.replace(temporary, path)


def say(process: int, text: str) -> None:
    """Write a line where the process writes its errors, unless that has to wait.

    Its standard error is opened for this line only: kept open, it would keep a launch waiting for its end.
    """
    with contextlib.suppress(OSError):
        handle = os.open(f"/proc/{process}/fd/2", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            os.write(handle, f"{text}\n".encode())
        finally:
            os.close(handle)


class Watcher:
    """Watches the process that started this one."""

    def __init__(self, process: int) -> None:
        """Open the process; raises OSError where it has ended."""
        self._process = process
        self._handle = os.pidfd_open(process) if hasattr(os, "pidfd_open") else -1
        self._silence = Silence(monotonic())
        self._nodes: dict[str, tuple[int, float]] = {}
        self._rest = b""

    def run(self) -> None:
        """Watch until the process has ended, or closes its end of the pipe."""
        poll = select.poll()
        poll.register(0, select.POLLIN)
        if self._handle >= 0:
            poll.register(self._handle, select.POLLIN)
        while os.getppid() == self._process:
            step_s = min(LONGEST_STEP_S, self._silence.limit_s / 10)
            ready = [handle for handle, _ in poll.poll(step_s * 1e3)]
            if self._handle in ready:
                return
            if ready:
                data = os.read(0, 1 << 16)
                if not data:
                    return
                self._take(data)
            elif self._silence.look(monotonic(), is_stopped=is_stopped(self._process)):
                self._end()
                return

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            word, _, rest = os.fsdecode(line).partition(" ")
            if word == "beat":
                self._silence.sign(monotonic(), float(rest))
            elif word == "node":
                times, lost_since_s, path = rest.split(" ", 2)
                self._nodes[path] = int(times), float(lost_since_s)
            else:
                self._nodes.pop(rest, None)

    def _end(self) -> None:
        for path, (times, lost_since_s) in self._nodes.items():
            with contextlib.suppress(OSError):
                note_end(path, times, lost_since_s, self._silence)
        say(
            self._process,
            f"[FATAL] [process_watchdog]: no sign of life for {self._silence.seconds:.1f} s (a runtime holds "
            f"Python's interpreter lock, or a thread waits forever): process {self._process} is ended "
            f"(SIGKILL)",
        )
        with contextlib.suppress(OSError):
            if self._handle >= 0:
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            else:
                os.kill(self._process, signal.SIGKILL)


def main() -> None:
    """Watch the parent, whose process number is the argument."""
    # Sent to the whole process group or to all processes of a service; this one ends with its parent.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        Watcher(int(sys.argv[1])).run()


if __name__ == "__main__":
    main()
