# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Running nodes as a process: start, spin, stop on SIGINT or SIGTERM with exit code 0."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread
from threading import enumerate as enumerate_threads
from time import monotonic, sleep
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.one_line import describe_error
from ad_compressed_perception.core.resources import config_folder
from ad_compressed_perception.nodes.callback_guard import GuardedExecutor, answer_parameter_requests
from ad_compressed_perception.nodes.memory import keep_freed_memory
from ad_compressed_perception.nodes.rclpy_compat import end_context
from ad_compressed_perception.nodes.waiting_requests import let_requests_wait

CLOSE_LIMIT_S = 8.0
"""Time for all nodes of a process to close; shorter than what a launch waits before it kills."""
THREADS = "adcp-"
"""How the names of the package's threads begin; where one is left at the end, it hangs."""
PROFILES_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
"""Names a file of profiles for Fast DDS 2 (Humble, Jazzy); later ones and other middleware do not read it."""
_POLL_S = 0.05
# A frame takes the interpreter's lock a dozen times and waits for it so long each time while another thread
# computes in Python, as one that loads a model; Python's own interval is 5 ms.
_SWITCH_INTERVAL_S = 0.001


class NodeThread(Thread):
    """Starts, spins and closes a node in a thread of its own, with an executor of its own.

    What one node's callbacks do, load or wait for therefore delays no other node of the process, and the main
    thread can end the process whatever they do.

    Attributes:
        node: it.
        has_started: whether it started, or was not to start by itself; None while it is starting.
        error: what ended it.
    """

    def __init__(self, node: Node) -> None:
        """Begin to start the node."""
        super().__init__(name=f"{THREADS}node {node.get_name()}", daemon=True)
        self.node = node
        self.has_started: bool | None = None
        self.error: BaseException | None = None
        self._executor = GuardedExecutor()  # not in the thread: a signal during the start ends the context
        self.start()

    def run(self) -> None:
        """Start, spin and close the node."""
        try:
            autostart = getattr(self.node, "autostart", None)
            self.has_started = autostart is None or bool(autostart())
        except BaseException as error:
            self.has_started = False
            if rclpy.ok():  # otherwise a signal shut the context down during the start
                self.node.get_logger().error(f"cannot start: {describe_error(error)}")
        try:
            spin(self.node, self._executor)
        except BaseException as error:
            self.error = error

    def end(self, limit_s: float) -> None:
        """Wait for the end after the context's, at most ``limit_s`` seconds.

        A signal ends the context after it has woken the executors: one may wait again before that.
        """
        until_s = monotonic() + limit_s
        while self.is_alive() and (left_s := until_s - monotonic()) > 0.0:
            self._executor.wake()
            self.join(min(_POLL_S, left_s))


def spin(node: Node, executor: GuardedExecutor) -> None:
    """Spin a node on this thread until the context ends, whatever callbacks raise; then close it."""
    try:
        answer_parameter_requests(node)
        if (load_ahead := getattr(node, "load_ahead", None)) is not None:
            let_requests_wait(node, load_ahead)
        executor.add_node(node)
        executor.spin()
    except ExternalShutdownException:
        pass
    except Exception:
        if rclpy.ok():
            raise
    finally:
        close(node)


def close(node: Node) -> None:
    """Close a node (stop its worker, write its report) and destroy it."""
    try:
        closing = getattr(node, "close", None)
        if closing is not None:
            closing()
    finally:
        node.destroy_node()


def run_node(node_type: Callable[..., Node], arguments: list[str] | None = None) -> None:
    """Run one node as the process; exit 1 with one line when it cannot start."""

    def build(**_: Any) -> list[Node]:
        return [node_type()]

    run_process(build, arguments)


def run_process(build: Callable[[], Sequence[Node]], arguments: list[str] | None = None) -> None:
    """Initialize ROS, build and start the nodes, spin; exit 0 when stopped by a signal, else 1.

    The process fails when no node could start; nodes that started run without the others. It ends within
    ``CLOSE_LIMIT_S`` after a signal, whatever its threads do.
    """
    _initialize(arguments)
    threads: list[NodeThread] = []
    errors: list[BaseException] = []
    try:
        for node in build():
            threads.append(NodeThread(node))
        _wait(threads)
    except Exception as error:
        if rclpy.ok():  # otherwise a signal shut the context down, and its failure is no error
            errors.append(error)
    failed = rclpy.ok()
    end_context()
    limit_s = monotonic() + CLOSE_LIMIT_S
    for thread in threads:
        thread.end(limit_s - monotonic())
    end_ros()
    errors += [thread.error for thread in threads if thread.error is not None]
    for each in errors:
        if isinstance(each, AdcpError):
            print(f"error: {each}", file=sys.stderr)
        else:
            traceback.print_exception(each)
    code = int(failed or bool(errors))
    left = [thread.name for thread in enumerate_threads() if thread.name.startswith(THREADS)]
    if left:
        print(f"{', '.join(left)}: still busy, the process ends without them", file=sys.stderr)
        exit_now(code)
    sys.exit(code)


def _wait(threads: Sequence[NodeThread]) -> None:
    """Wait for the end of the context, or until no node can start or runs any more."""
    while rclpy.ok() and any(thread.has_started is None for thread in threads):
        sleep(_POLL_S)
    while rclpy.ok() and any(thread.has_started and thread.is_alive() for thread in threads):
        sleep(_POLL_S)


def exit_now(code: int) -> None:
    """End the process at once, without waiting for threads that may never end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def leave_signals_to_ros() -> None:
    """Let SIGINT do what SIGTERM does: end the context, and nothing else. To be called before rclpy.init.

    Python's own handler, which rclpy calls too, raises KeyboardInterrupt wherever the main thread is.
    Often two SIGINT arrive (a launch forwards the one that its whole process group received), and the
    second must not interrupt a node's shutdown: Python treats a thread whose join is interrupted as ended.
    """
    signal.signal(signal.SIGINT, lambda number, frame: None)


def end_ros() -> None:
    """Shut the context down; signals are then ignored while Python exits."""
    end_context()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def discover_quickly() -> None:
    """Let Fast DDS use config/fastdds_quick_discovery.xml unless the user has settings; before rclpy.init."""
    shipped = config_folder("")
    has_own = Path("DEFAULT_FASTRTPS_PROFILES.xml").exists() or "FASTDDS_BUILTIN_TRANSPORTS" in os.environ
    if shipped is not None and not has_own:
        os.environ.setdefault(PROFILES_VARIABLE, str(shipped / "fastdds_quick_discovery.xml"))


def _initialize(arguments: list[str] | None) -> None:
    leave_signals_to_ros()
    keep_freed_memory()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    discover_quickly()
    try:
        rclpy.init(args=arguments)
    except Exception as error:  # rclpy has no public class for arguments or files it cannot read
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)
