# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An executor and a thread that go on when what they call raises; failures are counted by node and kind."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from threading import Event, Lock, Thread
from typing import Any
from weakref import WeakKeyDictionary

from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.nodes.parameters import is_present

_STOP_LIMIT_S = 2.0
_lock = Lock()
# By node and kind: all failures, and the last error.
_failures: WeakKeyDictionary[Node, dict[str, tuple[int, str]]] = WeakKeyDictionary()
# By node: the totals in the last line about them and in the one before.
_reported: WeakKeyDictionary[Node, tuple[dict[str, int], dict[str, int]]] = WeakKeyDictionary()


def note_failure(node: Node, kind: str, error: BaseException) -> None:
    """Count a failure of a node under its kind; log the 1st, 10th, 100th and so on of a kind."""
    if not node.context.ok():
        return  # ended by a signal: what a callback in work then calls fails, and cannot be logged
    with _lock:
        kinds = _failures.setdefault(node, {})
        total = kinds.get(kind, (0, ""))[0] + 1
        kinds[kind] = total, one_line(error)
    if str(total).rstrip("0") == "1":
        node.get_logger().error(f"{kind}: {one_line(error)} (failure {total} of this kind)")


def new_failures(node: Node) -> str:
    """Return a line about the failures since the previous call; empty where there were none."""
    with _lock:
        kinds, (reported, _) = dict(_failures.get(node, {})), _reported.get(node, ({}, {}))
        _reported[node] = {kind: total for kind, (total, _) in kinds.items()}, reported
    lines = [
        f"{total - reported.get(kind, 0)} x {kind} ({last})"
        for kind, (total, last) in kinds.items()
        if total > reported.get(kind, 0)
    ]
    return f"failures: {', '.join(lines)}" if lines else ""


def not_published(node: Node) -> None:
    """Take the failures of the last line, which could not be published, into the next one."""
    with _lock:
        _, before = _reported.get(node, ({}, {}))
        _reported[node] = before, before


def answer_parameter_requests(node: Node) -> None:
    """Let requests to set parameters be answered always, and those that change nothing by a success.

    rclpy raises on a type number that does not exist, and the client would wait for its answer forever. It
    also refuses to set a read-only parameter to its own value, as ``ros2 param load`` of a dump does.
    """

    def answering(callback: Callable[[Any, Any], Any], *, atomically: bool) -> Callable[[Any, Any], Any]:
        def answer(request: Any, response: Any) -> Any:
            parts = [request]
            if not atomically:  # those before and after the one that raises are set
                parts = [type(request)(parameters=[each]) for each in request.parameters]
            results = []
            for part in parts:
                try:
                    changes = [each for each in part.parameters if not is_present(node, each)]
                    if not changes:
                        results.append(SetParametersResult(successful=True))
                        continue
                    part = type(request)(parameters=changes)
                    answered = callback(part, type(response)())
                    results.append(answered.result if atomically else answered.results[0])
                except Exception as error:
                    note_failure(node, "parameter request refused", error)
                    results.append(SetParametersResult(successful=False, reason=one_line(error)))
            if atomically:
                response.result = results[0]
            else:
                response.results = results
            return response

        return answer

    for service in node.services:
        if service.srv_type in (SetParameters, SetParametersAtomically):
            atomically = service.srv_type is SetParametersAtomically
            service.callback = answering(service.callback, atomically=atomically)


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

    def spin(self) -> None:
        """Spin until the context ends; rclpy's own method does without spin_once since Jazzy 7.1.9."""
        while self.context.ok() and not self._is_shutdown:
            self.spin_once()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Run one callback; count what it raises, SystemExit too."""
        try:
            super().spin_once(timeout_sec)
            self._in_a_row = 0
        except BaseException as error:
            if not self.context.ok() or isinstance(error, KeyboardInterrupt):
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


class PeriodicThread:
    """Calls a function until stopped, whatever the executor does; what it raises is a failure of the node."""

    def __init__(self, node: Node, function: Callable[[], None], period_s: float) -> None:
        """Begin to call ``function`` every ``period_s`` seconds."""
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
                    note_failure(self._node, self._function.__name__.strip("_"), error)
