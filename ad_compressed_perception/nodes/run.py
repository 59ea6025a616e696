# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Running nodes as a process: start, spin, stop on SIGINT or SIGTERM with exit code 0."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.nodes.callback_guard import GuardedExecutor


def spin(nodes: Sequence[Node]) -> None:
    """Spin nodes on one thread until the context ends, whatever callbacks raise; then close the nodes."""
    executor = GuardedExecutor()
    for node in nodes:
        executor.add_node(node)
    try:
        executor.spin()
    except ExternalShutdownException:
        pass
    finally:
        close_all(nodes)


def close_all(nodes: Sequence[Node]) -> None:
    """Close the nodes (stop workers, write reports) and destroy them."""
    for node in nodes:
        close = getattr(node, "close", None)
        if close is not None:
            close()
        node.destroy_node()


def start(node: Node) -> bool:
    """Let a lifecycle node start itself; True where that succeeded or was not requested."""
    autostart = getattr(node, "autostart", None)
    return True if autostart is None else bool(autostart())


def run_node(node_type: Callable[..., Node], arguments: list[str] | None = None) -> None:
    """Run one node as the process; exit 1 with one line when it cannot start."""

    def build(**_: Any) -> list[Node]:
        return [node_type()]

    run_process(build, arguments)


def run_process(build: Callable[[], Sequence[Node]], arguments: list[str] | None = None) -> None:
    """Initialize ROS, build and start the nodes, spin; exit 0 when stopped by a signal, else 1.

    The process fails when no node could start; nodes that started run without the others.
    """
    nodes: Sequence[Node] = []
    code = 0
    _initialize(arguments)
    try:
        nodes = build()
        started = [start(node) for node in nodes if rclpy.ok()]
        if any(started) and rclpy.ok():
            spin(nodes)
        else:
            code = 1 if rclpy.ok() else 0
            close_all(nodes)
    except ExternalShutdownException:
        close_all(nodes)
    except AdcpError as error:
        print(f"error: {error}", file=sys.stderr)
        close_all(nodes)
        code = 1
    except Exception:
        if rclpy.ok():
            raise
        # A signal shut the context down during a start: its failure is no error.
        close_all(nodes)
    finally:
        end_ros()
    sys.exit(code)


def leave_signals_to_ros() -> None:
    """Let SIGINT do what SIGTERM does: end the context, and nothing else. To be called before rclpy.init.

    Python's own handler, which rclpy calls too, raises KeyboardInterrupt wherever the main thread is.
    Often two SIGINT arrive (a launch forwards the one that its whole process group received), and the
    second must not interrupt a node's shutdown: Python treats a thread whose join is interrupted as ended.
    """
    signal.signal(signal.SIGINT, lambda number, frame: None)


def end_ros() -> None:
    """Shut the context down; signals are then ignored while Python exits."""
    rclpy.try_shutdown()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _initialize(arguments: list[str] | None) -> None:
    leave_signals_to_ros()
    try:
        rclpy.init(args=arguments)
    except Exception as error:  # rclpy has no public class for arguments or files it cannot read
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)
