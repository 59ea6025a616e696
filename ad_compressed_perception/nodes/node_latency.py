# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Latency of a node's frames since its start, for its status; the monitor computes the same from ~/timing."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock

from ad_compressed_perception.core.timing import FrameTiming, Outcome
from ad_compressed_perception.monitor.accounts import PRIMARY, Accounts, AnsweredBy
from ad_compressed_perception.monitor.run_latency import RunLatency, latency_figures, run_values
from ad_compressed_perception.report.schemas.variant import VariantReport

_FIELDS = ("model", "variant", "backend", "provider", "precision")


class NodeLatency:
    """Accounts of who answered, runs of misses and steps of the clock. Any thread may call its methods.

    A change of the deadline begins the runs of misses anew; all else goes on.
    """

    def __init__(self, now_s: float) -> None:
        """Begin at a monotonic time, without a deadline."""
        self._lock = Lock()
        self._deadline_ms: float | None = None
        self._accounts, self._run = Accounts(None), RunLatency(None, now_s)

    def set_deadline(self, deadline_ms: float | None, now_s: float) -> None:
        """Measure by a deadline from now on; None: by none."""
        with self._lock:
            if deadline_ms != self._deadline_ms:
                self._deadline_ms = deadline_ms
                self._run.set_deadline(deadline_ms)

    def note_step(self, step_ms: float, stamp_ns: int) -> None:
        """Add a step of the ROS clock."""
        with self._lock:
            self._run.note_step(step_ms, stamp_ns)

    def add(self, timing: FrameTiming, now_s: float) -> None:
        """Add a completed frame."""
        texts = timing.answered_by
        level = texts.get("level", PRIMARY)
        with self._lock:
            self._run.add(timing, level, now_s)
            if texts:
                who = AnsweredBy(level=level, **{key: texts.get(key, "") for key in _FIELDS})
                self._accounts.add(who, timing)

    def values(
        self,
        now_s: float,
        counts: Mapping[Outcome, int],
        budgets_ms: Mapping[str, float],
        speed_mps: float | None,
    ) -> dict[str, str]:
        """Return what /diagnostics shows.

        Args:
            now_s: monotonic seconds.
            counts: outcome to the node's frames.
            budgets_ms: stage to its budget, where it is not the default share of the deadline.
            speed_mps: of the vehicle; None where it is not known.
        """
        with self._lock:
            report = VariantReport(deadline_ms=self._deadline_ms, speed_mps=speed_mps)
            without_result = sum(counts.values()) - counts.get("processed", 0)
            latency_figures(report, self._accounts, self._run, budgets_ms, without_result)
            report.misses = self._run.misses(now_s)
        return run_values(report)
