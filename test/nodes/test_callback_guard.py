# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A callback that raises ends neither its process nor its neighbors, and takes little of the processor."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

import rclpy
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.waitable import NumberOfEntities, Waitable

from ad_compressed_perception.nodes.callback_guard import GuardedExecutor, new_failures
from support.ros import PATIENCE_S, wait_for_output

pytestmark = pytest.mark.ros
REPOSITORY = Path(__file__).resolve().parents[2]
# Two nodes in one process: one has a timer that always raises, the other one prints.
SCRIPT = """
from rclpy.node import Node
from ad_compressed_perception.nodes.run import run_process

class Failing(Node):
    def __init__(self):
        super().__init__("failing")
        self.create_timer(0.01, self.fail)

    def fail(self):
        raise RuntimeError("on purpose")

class Neighbor(Node):
    def __init__(self):
        super().__init__("neighbor")
        self.create_timer(0.05, lambda: print("alive", flush=True))

run_process(lambda: [Failing(), Neighbor()])
"""


@pytest.fixture
def node(ros_context: Any) -> Iterator[Node]:
    made = rclpy.create_node("guarded", context=ros_context)
    yield made
    made.destroy_node()


class Ready(Waitable):  # type: ignore[misc]
    """Always ready; it raises while rclpy takes its data, or in its callback."""

    def __init__(self, node: Node, *, when_taken: bool) -> None:
        super().__init__(node.default_callback_group)
        self.calls, self._when_taken = 0, when_taken
        node.add_waitable(self)

    def __enter__(self) -> None:
        """Keep nothing: there is no handle."""

    def __exit__(self, *_: object) -> None:
        """Release nothing."""

    def is_ready(self, wait_set: Any) -> bool:
        return True

    def take_data(self) -> None:
        if self._when_taken:
            self._fail()

    async def execute(self, taken_data: None) -> None:
        self._fail()

    def get_num_entities(self) -> NumberOfEntities:
        return NumberOfEntities()

    def add_to_wait_set(self, wait_set: Any) -> None:
        """Nothing waits: the executor's own guard conditions wake it after each callback."""

    def _fail(self) -> None:
        self.calls += 1
        raise ValueError("on purpose")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_failing_timer_is_logged_and_its_neighbor_runs(number: signal.Signals, tmp_path: Path) -> None:
    """Failed before: the exception went through executor.spin, and the process ended with exit code 1."""
    log = tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])},
        )
    try:
        wait_for_output(process, log, lambda text: text.count("alive") >= 10)
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    output = log.read_text()
    lines = [line for line in output.splitlines() if "on purpose" in line]
    numbers = [int(re.search(r"failure (\d+) of this kind", line)[1]) for line in lines]
    assert numbers == [1, 10, 100, 1000][: len(numbers)], "a failure a tick would fill the disk"
    assert "[failing]" in lines[0]
    assert "RuntimeError in fail" in lines[0]
    assert "Traceback" not in output


@pytest.mark.parametrize("when_taken", [False, True], ids=["callback", "taking"])
def test_a_callback_that_always_fails_is_paced_and_blocks_no_other(
    node: Node, ros_context: Any, when_taken: bool
) -> None:
    """Failed before: the first failure ended spinning.

    After a failure while taking, rclpy leaves the callback group occupied: without the guard's release the
    node's other callbacks would never run again, although the process is alive.
    """
    failing = Ready(node, when_taken=when_taken)
    ticks: list[float] = []
    node.create_timer(0.1, lambda: ticks.append(time.monotonic()))
    executor = GuardedExecutor(context=ros_context)
    executor.add_node(node)
    start, start_cpu = time.monotonic(), time.process_time()
    while time.monotonic() - start < 2.0:
        executor.spin_once(timeout_sec=0.1)
    # About 50 failures a second; the timer's successes begin the pauses again at 1 ms.
    assert 10 < failing.calls < 500
    assert time.process_time() - start_cpu < 1.0
    assert len(ticks) >= 10
    line = new_failures(node)
    assert f"{failing.calls} x ValueError in _fail" in line
    assert "(on purpose)" in line
    assert new_failures(node) == ""
    executor.shutdown()


def test_the_end_of_the_context_ends_spinning(node: Node, ros_context: Any) -> None:
    """An exception of a callback that the end interrupted is no failure to go on after."""
    executor = GuardedExecutor(context=ros_context)
    executor.add_node(node)

    def end() -> None:
        ros_context.try_shutdown()
        raise RuntimeError("the context ended")

    node.create_timer(0.01, end)
    with pytest.raises(RuntimeError, match="the context ended"):
        executor.spin()
    assert new_failures(node) == ""


def test_spinning_survives_a_failure_with_an_rclpy_whose_spin_does_not_call_spin_once(
    node: Node, ros_context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jazzy 7.1.9 and newer: spin() calls an inner method, and spin_once() raises while it spins.

    Failed before: the failure went through spin(), since only spin_once() was guarded.
    """

    def spin(self: Any) -> None:
        while self.context.ok():
            SingleThreadedExecutor.spin_once(self)

    monkeypatch.setattr(Executor, "spin", spin)
    calls = []

    def fail() -> None:
        calls.append(1)
        if len(calls) == 3:
            ros_context.try_shutdown()
        raise RuntimeError("on purpose")

    node.create_timer(0.01, fail)
    executor = GuardedExecutor(context=ros_context)
    executor.add_node(node)
    with pytest.raises((ExternalShutdownException, RuntimeError)):
        executor.spin()
    assert len(calls) == 3
