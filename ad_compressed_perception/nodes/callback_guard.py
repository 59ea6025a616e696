# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An executor that goes on when a callback raises; failures are logged and counted by node and kind."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from ad_compressed_perception.core.one_line import one_line

# By node and kind: failures since the last status, all failures, the last error.
_failures: WeakKeyDictionary[Node, dict[str, tuple[int, int, str]]] = WeakKeyDictionary()


def note_failure(node: Node, kind: str, error: Exception) -> None:
    """Count a failure of a node under its kind; log the 1st, 10th, 100th and so on of a kind."""
    new, total, _ = _failures.setdefault(node, {}).get(kind, (0, 0, ""))
    _failures[node][kind] = new + 1, total + 1, one_line(error)
    if str(total + 1).rstrip("0") == "1":
        node.get_logger().error(f"{kind}: {one_line(error)} (failure {total + 1} of this kind)")


def new_failures(node: Node) -> str:
    """Return a line about the failures since the previous call; empty where there were none."""
    kinds = _failures.get(node, {})
    lines = [f"{new} x {kind} ({last})" for kind, (new, _, last) in kinds.items() if new]
    kinds.update({kind: (0, total, last) for kind, (_, total, last) in kinds.items()})
    return f"failures: {', '.join(lines)}" if lines else ""


class GuardedExecutor(SingleThreadedExecutor):
    """Goes on spinning after a callback raised an Exception, unless the context has ended.

    After failures in a row it pauses, longer each time up to 20 ms, to leave the processor to others.
    """

    _taken: Sequence[Any] = (None, None)
    _in_a_row = 0

    def wait_for_ready_callbacks(self, *arguments: Any, **options: Any) -> tuple[Any, Any, Any]:
        """Return a task with its entity and node, and remember these two."""
        self._taken = None, None
        task, *self._taken = super().wait_for_ready_callbacks(*arguments, **options)
        return task, *self._taken

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Run one callback; count what it raises."""
        try:
            super().spin_once(timeout_sec)
            self._in_a_row = 0
        except Exception as error:
            if not self.context.ok():
                raise
            entity, node = self._taken
            if getattr(entity, "_executor_event", False):
                # Taking the message failed: rclpy then leaves the entity and its callback group occupied.
                entity._executor_event = False
                entity.callback_group.ending_execution(entity)
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} in {place.name}, {place.filename}:{place.lineno}"
            for each in self.get_nodes() if node is None else [node]:
                note_failure(each, kind, error)
            self._in_a_row += 1
            time.sleep(min(self._in_a_row, 20) * 1e-3)
