# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The largest memory of this process over a time, sampled; the kernel's own mark is of its whole life."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event, Thread

_PERIOD_S = 0.01
_STATM = Path("/proc/self/statm")


def resident_mb() -> float:
    """Return the resident memory of this process in MB (1e6 bytes); NaN without /proc."""
    try:
        return int(_STATM.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, ValueError, IndexError):
        return float("nan")


class PeakMemory:
    """Samples the resident memory a hundred times a second until it is stopped."""

    def __init__(self) -> None:
        """Begin."""
        self.peak_mb = resident_mb()
        self._stop = Event()
        self._thread = Thread(target=self._run, name="adcp-memory", daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """End; return the largest sample, MB."""
        self._stop.set()
        self._thread.join()
        self.peak_mb = max(self.peak_mb, resident_mb())
        return self.peak_mb

    def _run(self) -> None:
        while not self._stop.wait(_PERIOD_S):
            self.peak_mb = max(self.peak_mb, resident_mb())
