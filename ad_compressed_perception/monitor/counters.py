# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node's account as the monitor hears it: its own counts, checked, summed over restarts."""

from __future__ import annotations

from ad_compressed_perception.core.timing import OUTCOMES, NodeReport, Outcome

MAX_PENDING = 3
"""Frames a node may have unsettled: one in work, one in the slot, one just arriving."""
_REORDERED = 8


class NodeCounters:
    """The account of one node over its whole life, restarts included.

    The node counts; the monitor only believes it and checks. A node that starts anew counts from
    zero: what it had counted before is kept and added.
    """

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self.restarts = 0
        self.lost_at_restart = 0
        self.reports_lost = 0
        self._earlier = dict.fromkeys(OUTCOMES, 0)
        self._earlier_received = 0
        self._received = 0
        self._counts: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
        self._heard = False

    def add(self, report: NodeReport) -> None:
        """Take the counts of a report; reports come in the order they were sent, or nearly so."""
        settled, before = sum(report.counts.values()), sum(self._counts.values())
        if not self._heard:
            # What settled before the monitor listened is in the account; its reports are not lost.
            self._heard = True
        elif self._is_new_account(settled, before):
            self._restart()
            self.reports_lost += settled - 1
        elif settled < before:
            # A node's threads can send their reports in another order; the newest counts.
            self.reports_lost -= 1
            return
        else:
            self.reports_lost += settled - before - 1
        self._received = report.received
        self._counts = {outcome: report.counts.get(outcome, 0) for outcome in OUTCOMES}

    @staticmethod
    def _is_new_account(settled: int, before: int) -> bool:
        """Whether the node began to count anew, rather than two reports changing places."""
        return settled == before or settled < before - _REORDERED or (settled == 1 and before > 2)

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
        """Frames received and not settled at the last report; below 0 the account is wrong."""
        return self._received - sum(self._counts.values())

    @property
    def counts(self) -> dict[Outcome, int]:
        """Frames of each outcome."""
        return {outcome: self._earlier[outcome] + self._counts[outcome] for outcome in OUTCOMES}

    @property
    def fault(self) -> str:
        """What is wrong with the node's account, in words; empty when it closes."""
        if 0 <= self.pending <= MAX_PENDING:
            return ""
        counts = " + ".join(f"{count} {outcome}" for outcome, count in self._counts.items())
        return f"account does not close: {self._received} received, but {counts}"
