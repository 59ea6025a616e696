# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the replay sent to each node and what came back: only that enters the figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ad_compressed_perception.core.results import Result
from ad_compressed_perception.core.timing import FrameTiming, NodeReport
from ad_compressed_perception.metrics.agreement import Agreement
from ad_compressed_perception.monitor.comparison import ComparisonMonitor


@dataclass
class Ledger:
    """The frames of one node.

    Attributes:
        sent: stamps of the frames that the replay published to the node.
        done: stamp to the timing that the node reported for it.
        results: stamps of the results that the node published for them, each with its head where there are
            several.
        foreign: timings and results of frames that the replay did not send, or that came twice.
        foreign_reports: those of them that are timings.
        node_received: frames that the node says it received, those of others included.
    """

    sent: set[int] = field(default_factory=set)
    done: dict[int, FrameTiming] = field(default_factory=dict)
    results: set[tuple[int, str]] = field(default_factory=set)
    foreign: int = 0
    foreign_reports: int = 0
    node_received: int = 0

    @property
    def outcomes(self) -> Counter[str]:
        """Outcome to number of frames."""
        return Counter(timing.outcome for timing in self.done.values())

    @property
    def received(self) -> int:
        """Frames sent by the replay that reached the node, as far as it says."""
        return min(len(self.sent), max(len(self.done), self.node_received - self.foreign_reports))

    def take_report(self, report: NodeReport) -> bool:
        """Return whether a report is about a frame of the replay, reported for the first time."""
        self.node_received = max(self.node_received, report.received)
        stamp_ns = report.timing.stamp_ns
        if stamp_ns not in self.sent or stamp_ns in self.done:
            self.foreign += 1
            self.foreign_reports += 1
            return False
        self.done[stamp_ns] = report.timing
        return True

    def take_result(self, stamp_ns: int, head: str = "") -> bool:
        """Return whether a result is one of a frame of the replay, received for the first time."""
        if stamp_ns not in self.sent or (stamp_ns, head) in self.results:
            self.foreign += 1
            return False
        self.results.add((stamp_ns, head))
        return True


class OfferedMonitor(ComparisonMonitor):
    """A comparison of the frames that were offered; others are counted and not used.

    Attributes:
        ledgers: (task, the monitor's name of the variant) to what was sent and came back.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take the arguments of ComparisonMonitor."""
        super().__init__(*arguments, **options)
        self.ledgers = {
            (task, name): Ledger() for task, monitor in self.tasks.items() for name in monitor.variants
        }

    def add_report(self, task: str, name: str, report: NodeReport, now_s: float) -> None:
        """Add a node's report of one completed frame, if the frame was offered."""
        if self.ledgers[task, name].take_report(report):
            super().add_report(task, name, report, now_s)

    def add_result(
        self, task: str, name: str, stamp_ns: int, result: Result, now_s: float
    ) -> list[Agreement]:
        """Add a node's result, if its frame was offered; return the agreements of the pairs it completes."""
        whose, _, head = task.partition(".")  # what was sent to a node was sent to all of its heads
        if not self.ledgers[whose, name].take_result(stamp_ns, head):
            return []
        return super().add_result(task, name, stamp_ns, result, now_s)
