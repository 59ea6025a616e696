# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node's part in the process watchdog: its signs of life, and what the process before it lost."""

from __future__ import annotations

from collections.abc import Collection
from time import monotonic

from rclpy.node import Node

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.monitor.frame_health import Level, Problems
from ad_compressed_perception.nodes.ended_process import note_path, take_note
from ad_compressed_perception.nodes.node_part import NodePart
from ad_compressed_perception.nodes.worker import Arrival
from ad_compressed_perception.serving.answer import Answer
from ad_compressed_perception.serving.process_watchdog import PROCESS_WATCHDOG

_REMEMBERED_S = 60.0
"""How long /diagnostics reports the process before, after the first answered frame."""


class ProcessPart(NodePart):
    """Expects signs of life of its node from the beginning until end()."""

    def __init__(self, node: Node, limit_s: float, load_limit_s: float) -> None:
        """Begin; limits as in ProcessWatchdog.watch, a limit of 0: does nothing."""
        self._node, self._limit_s, self._load_limit_s = node, limit_s, load_limit_s
        self._name = node.get_fully_qualified_name()
        self._answered_s: float | None = None
        self._ended = self._note = None
        self._problem = ""
        if not limit_s:
            return
        try:
            self._note = note_path(self._name)
            self._ended = take_note(self._note)
        except AdcpError as error:
            self._problem = str(error)
            node.get_logger().warning(self._problem)
        times, lost_since_s = 0, 0.0
        if self._ended is not None:
            times, lost_since_s = self._ended.times, self._ended.lost_since_s
            node.get_logger().error(self._ended.line(None, monotonic()))
        PROCESS_WATCHDOG.watch(self._name, limit_s, load_limit_s, self._note, times, lost_since_s)

    def end(self) -> None:
        """Expect no signs of life any more."""
        if self._limit_s:
            PROCESS_WATCHDOG.forget(self._name)

    def watch(self, now_s: float) -> None:
        """Give a sign of life."""
        if self._limit_s:
            PROCESS_WATCHDOG.beat(self._name, self._load_limit_s)

    def apply(self, names: Collection[str]) -> None:
        """Allow loading as much time as it is given."""
        if "load_timeout_s" in names:
            self._load_limit_s = float(self._node.get_parameter("load_timeout_s").value)

    def after_frame(self, frame: Frame, arrival: Arrival, answer: Answer) -> None:
        """Note the first answered frame: what was lost is known then."""
        if self._answered_s is None:
            self._answered_s = monotonic()
            PROCESS_WATCHDOG.answered(self._name)
            if self._ended is not None:
                self._node.get_logger().error(self._ended.line(self._answered_s, self._answered_s))

    def problems(self) -> Problems:
        """Report the process before, for a while, and a watchdog that does not run."""
        if not self._limit_s:
            return []
        now_s, answered_s = monotonic(), self._answered_s
        lines = [self._problem, PROCESS_WATCHDOG.problem]
        if self._ended is not None and now_s - (answered_s or now_s) < _REMEMBERED_S:
            lines.append(self._ended.line(answered_s, now_s))
        return [(Level.WARN, line) for line in lines if line]

    def values(self) -> dict[str, str]:
        """Return the limit."""
        return {"process_watchdog_s": f"{self._limit_s:g}"} if self._limit_s else {}
