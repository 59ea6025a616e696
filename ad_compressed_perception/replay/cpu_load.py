# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How much of the machine other programs used during a replay: latencies are only as clean as that."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil

NOTABLE_CORES = 0.1
"""Share of a core from which other programs are worth a word."""


class CpuLoad:
    """Processor time that neither this process nor another named one used, from the start on."""

    def __init__(self, process_id: int) -> None:
        """Begin to count.

        Args:
            process_id: a process whose time, as this one's, is the replay's own.
        """
        self._processes = [psutil.Process(), psutil.Process(process_id)]
        self._began_s = time.monotonic()
        self._busy_s = _busy_s()
        self._own_s = sum(self._own_times())
        self._last_own_s = self._own_s

    def cores(self) -> float:
        """Return how many cores others kept busy on average; 0 in the first tenth of a second."""
        elapsed_s = time.monotonic() - self._began_s
        if elapsed_s < 0.1:
            return 0.0
        # A process that has ended cannot be asked: its last known time counts.
        self._last_own_s = max(self._last_own_s, sum(self._own_times()))
        others_s = (_busy_s() - self._busy_s) - (self._last_own_s - self._own_s)
        return max(0.0, others_s / elapsed_s)

    def note(self) -> str:
        """Return a sentence on what others used; empty where it was next to nothing."""
        cores = self.cores()
        if cores < NOTABLE_CORES:
            return ""
        return (
            f"Other programs kept {cores:.1f} of {psutil.cpu_count() or 1} cores busy during the replay: "
            "latencies, above all the high percentiles, are not those of a quiet machine."
        )

    def _own_times(self) -> Iterator[float]:
        for process in self._processes:
            try:
                times = process.cpu_times()
            except psutil.Error:
                continue
            yield times.user + times.system


def _busy_s() -> float:
    times = psutil.cpu_times()
    # Time given to guests is part of user time already; iowait is idle.
    busy = ("user", "nice", "system", "irq", "softirq", "steal")
    return float(sum(getattr(times, name, 0.0) for name in busy))
