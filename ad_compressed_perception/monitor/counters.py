# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node's frame counters as it reports them: checked, and summed over restarts."""

from __future__ import annotations

from ad_compressed_perception.core.timing import OUTCOMES, NodeReport, Outcome

MAX_PENDING = 3
"""Frames a node may not have completed: one being processed, one in the slot, one just arriving."""
_REORDERED = 8


class NodeCounters:
    """Frame counters of one node, over its restarts.

    The node counts; the monitor takes over and checks its counts. A restarted node counts from zero:
    the counts before the restart are kept and added.
    """

    def __init__(self) -> None:
        """Start with all counters zero."""
        self.restarts = 0
        self.lost_at_restart = 0
        self.reports_lost = 0
        self._earlier = dict.fromkeys(OUTCOMES, 0)
        self._earlier_received = 0
        self._received = 0
        self._counts: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
        self._has_reported = False

    def add(self, report: NodeReport) -> None:
        """Take over the counts of a report; reports arrive in the order they were sent, or nearly so."""
        completed, before = sum(report.counts.values()), sum(self._counts.values())
        if not self._has_reported:
            # Frames completed before the monitor subscribed are in the counts; their reports are not lost.
            self._has_reported = True
        elif self._is_restart(completed, before):
            self._restart()
            self.reports_lost += completed - 1
        elif completed < before:
            # A node's threads can send their reports in another order; the newest one is used.
            self.reports_lost -= 1
            return
        else:
            self.reports_lost += completed - before - 1
        self._received = report.received
        self._counts = {outcome: report.counts.get(outcome, 0) for outcome in OUTCOMES}

    @staticmethod
    def _is_restart(completed: int, before: int) -> bool:
        """Whether the node restarted its counters, as opposed to two reports in swapped order."""
        return completed == before or completed < before - _REORDERED or (completed == 1 and before > 2)

    def _restart(self) -> None:
        self.restarts += 1
        self.lost_at_restart += self.pending
        self._earlier_received += self._received
        for outcome, count in self._counts.items():
            self._earlier[outcome] += count

    @property
    def received(self) -> int:
        """Frames that arrived in the node."""
        return self._earlier_received + self._received

    @property
    def pending(self) -> int:
        """Frames received and not completed at the last report; below 0 the counters are wrong."""
        return self._received - sum(self._counts.values())

    @property
    def counts(self) -> dict[Outcome, int]:
        """Frames of each outcome."""
        return {outcome: self._earlier[outcome] + self._counts[outcome] for outcome in OUTCOMES}

    @property
    def fault(self) -> str:
        """What is wrong with the node's counters, as a sentence; empty when they add up."""
        if 0 <= self.pending <= MAX_PENDING:
            return ""
        counts = " + ".join(f"{count} {outcome}" for outcome, count in self._counts.items())
        return f"frame counters do not add up: {self._received} received, but {counts}"
