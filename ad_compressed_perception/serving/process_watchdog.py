# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Lets a small process of its own end this one where nothing in it runs any more; no ROS.

A runtime that hangs while it holds Python's interpreter lock stops every thread, the watchdog's too. So each
node's watch thread sends signs of life to another process (process_watcher.py), which ends this one by
SIGKILL once they fail to come, and leaves a note for the next one (ended_process.py).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import monotonic

WATCHER = Path(__file__).with_name("process_watcher.py")
_LONGEST_PERIOD_S = 1.0
_RESTART_PERIOD_S = 2.0
_END_LIMIT_S = 1.0


@dataclass
class _Node:
    limit_s: float
    load_limit_s: float
    note: Path | None
    times: int
    lost_since_s: float
    has_beaten: bool = True


class ProcessWatchdog:
    """The signs of life of a process: there is one only where every node's watch thread gave one.

    Attributes:
        problem: why there is no watcher, or why it was started again; empty where it runs.
    """

    def __init__(self) -> None:
        """Prepare; the first call of watch() starts the watcher, the last one of forget() ends it."""
        self._lock = Lock()
        self._nodes: dict[str, _Node] = {}
        self._loads: dict[object, float] = {}
        self._watcher: subprocess.Popen[bytes] | None = None
        self._started_s = self._sent_s = -_RESTART_PERIOD_S
        self.problem = ""

    def watch(
        self,
        name: str,
        limit_s: float,
        load_limit_s: float,
        note: Path | None = None,
        times: int = 0,
        lost_since_s: float = 0.0,
    ) -> None:
        """Begin to expect signs of life of a node.

        Args:
            name: of the node.
            limit_s: without one for so long the process is ended.
            load_limit_s: the same while a model is loaded, which may hold the interpreter lock.
            note: file for the note of the end.
            times: how often the node's process was ended before, without a frame in between.
            lost_since_s: monotonic time since when the node has answered no frame; 0: it has.
        """
        with self._lock:
            self._nodes[name] = node = _Node(limit_s, load_limit_s, note, times, lost_since_s)
            if self._watcher is None:
                self._start()
            else:
                self._describe(node)
            self._send_beat()

    def answered(self, name: str) -> None:
        """Note that a node has answered a frame: what was lost before is no part of a later loss."""
        with self._lock:
            node = self._nodes.get(name)
            if node is not None and node.lost_since_s:
                node.times, node.lost_since_s = 0, 0.0
                self._describe(node)

    def beat(self, name: str, load_limit_s: float) -> None:
        """Give a node's sign of life; to be called several times within its limit, cheap."""
        with self._lock:
            node = self._nodes.get(name)
            if node is None:
                return
            node.has_beaten, node.load_limit_s = True, load_limit_s
            period_s = min(_LONGEST_PERIOD_S, min(each.limit_s for each in self._nodes.values()) / 10)
            if monotonic() - self._sent_s >= period_s and all(
                each.has_beaten for each in self._nodes.values()
            ):
                self._send_beat()

    def forget(self, name: str) -> None:
        """Expect no signs of life of a node any more."""
        with self._lock:
            node = self._nodes.pop(name, None)
            if node is None:
                return
            if self._nodes:
                self._send(f"forget {node.note}")
                self._send_beat()
            elif self._watcher is not None:
                self._end()

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """Allow more time without a sign of life: a runtime loads a model."""
        key = object()
        with self._lock:
            self._loads[key] = monotonic()
            self._send_beat()
        try:
            yield
        finally:
            with self._lock:
                del self._loads[key]
                self._send_beat()

    # With the lock ------------------------------------------------------------------------------

    def _start(self) -> None:
        """Start the watcher: a new interpreter, as a fork would keep this one's memory and descriptors."""
        self._started_s = monotonic()
        try:
            self._watcher = subprocess.Popen(
                [sys.executable, "-I", "-S", str(WATCHER), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                bufsize=0,
            )
        except OSError as error:
            self.problem = f"the process watchdog cannot start: {error.strerror or error}"
            return
        assert self._watcher.stdin is not None
        # Where the watcher is stopped and its pipe full, this process must not wait for it.
        os.set_blocking(self._watcher.stdin.fileno(), False)
        for node in self._nodes.values():
            self._describe(node)

    def _end(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is None:
            return
        if watcher.stdin is not None:
            watcher.stdin.close()
        try:
            watcher.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            watcher.kill()

    def _describe(self, node: _Node) -> None:
        if node.note is not None:
            self._send(f"node {node.times} {node.lost_since_s:.3f} {node.note}")

    def _send_beat(self) -> None:
        """Send a sign of life, with the time within which the next one is due."""
        if not self._nodes:
            return
        now_s = self._sent_s = monotonic()
        load_limit_s = max(node.load_limit_s for node in self._nodes.values())
        # A load that is given up after its time, and still hangs, allows nothing any more.
        allowed_s = [start_s + load_limit_s - now_s for start_s in self._loads.values()]
        limit_s = min(node.limit_s for node in self._nodes.values())
        for node in self._nodes.values():
            node.has_beaten = False
        self._send(f"beat {max([0.0, *allowed_s]) + limit_s:.3f}")

    def _send(self, line: str) -> None:
        watcher = self._watcher
        try:
            if watcher is not None and watcher.stdin is not None:
                os.write(watcher.stdin.fileno(), os.fsencode(f"{line}\n"))
        except BlockingIOError:
            pass
        except OSError:
            self._end()
            self.problem = "the process watchdog ended by itself and was started again"
        if self._watcher is None and self._nodes and monotonic() - self._started_s > _RESTART_PERIOD_S:
            self._start()


PROCESS_WATCHDOG = ProcessWatchdog()
"""The one of this process."""
