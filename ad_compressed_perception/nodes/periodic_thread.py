# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A thread that calls a function periodically, whatever the executor and other threads do."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

from rclpy.node import Node

from ad_compressed_perception.nodes.callback_guard import note_failure

_STOP_LIMIT_S = 2.0


class PeriodicThread:
    """Calls a function until stopped; what it raises is counted as a failure of the node."""

    def __init__(self, node: Node, function: Callable[[], None], period_s: float) -> None:
        """Begin at once.

        Args:
            node: whose failures they are.
            function: called in the thread.
            period_s: from the end of one call to the next one.
        """
        self._node, self._function, self._period_s = node, function, period_s
        self._stop = Event()
        self._thread = Thread(target=self._run, name="adcp-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(_STOP_LIMIT_S)

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            try:
                self._function()
            except BaseException as error:
                if self._node.context.ok():
                    note_failure(self._node, f"{self._function.__name__}", error)
