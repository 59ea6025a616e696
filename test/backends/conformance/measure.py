# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Threads, memory and open files of this process, for checks that a loaded machine does not break."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil

_BUSY_SHARE = 0.1
_LIMIT_S = 30.0


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    rss_bytes: int
    threads: int
    files: int


def held() -> Held:
    """Return what this process holds, after freed memory went back to the system."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    process = psutil.Process()
    return Held(process.memory_info().rss, process.num_threads(), process.num_fds())


def busy_threads(run: Callable[[], object], requested: int, cpu_s: float = 0.5) -> int:
    """Return how many threads of this process compute during runs: those with a tenth of the CPU time.

    CPU time and not wall time: on a loaded machine a thread waits, and what it computes stays the same.

    Args:
        run: one inference, repeated until ``cpu_s`` of CPU time is used.
        requested: where fewer are busy the runs go on for a while: a loaded machine may start a thread late.
        cpu_s: least CPU time.
    """
    process = psutil.Process()
    run()
    before = {one.id: one.user_time + one.system_time for one in process.threads()}
    start = time.monotonic()
    while True:
        run()
        used = [one.user_time + one.system_time - before.get(one.id, 0.0) for one in process.threads()]
        total = sum(used)
        busy = sum(share >= _BUSY_SHARE * total for share in used) if total else 0
        if total >= cpu_s and (busy >= requested or time.monotonic() - start > _LIMIT_S):
            return busy


@contextlib.contextmanager
def interrupted_after(delay_s: float) -> Iterator[None]:
    """Raise KeyboardInterrupt in the main thread so long after the block began, unless it ended before."""
    armed = True

    def interrupt(_number: int, _frame: object) -> None:
        if armed:
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        yield
    finally:
        armed = False
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGUSR1, previous)
