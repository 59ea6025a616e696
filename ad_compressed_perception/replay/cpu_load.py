# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""CPU load by other programs during a replay, which disturbs the measured latencies."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil

NOTABLE_CORES = 0.1
"""Load by other programs, in cores, from which the report mentions it."""


class CpuLoad:
    """CPU time used since construction by programs other than this process and a given one."""

    def __init__(self, process_id: int) -> None:
        """Start measuring.

        Args:
            process_id: process that belongs to the replay, beside this one.
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
        # The time of a process that has ended cannot be read: its last known time counts.
        self._last_own_s = max(self._last_own_s, sum(self._own_times()))
        others_s = (_busy_s() - self._busy_s) - (self._last_own_s - self._own_s)
        return max(0.0, others_s / elapsed_s)

    def note(self) -> str:
        """Return a sentence on the load by other programs; empty below NOTABLE_CORES."""
        cores = self.cores()
        if cores < NOTABLE_CORES:
            return ""
        return (
            f"Other programs kept {cores:.1f} of {psutil.cpu_count() or 1} cores busy during the replay: "
            "latencies, above all the high percentiles, are not those of an idle machine."
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
