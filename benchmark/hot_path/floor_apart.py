# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The floor of several tasks at the same time: a process a task, as separate nodes run them, without ROS.

Two logical processors of one core slow each other down, so work done side by side takes more processor time
than the same work in a row. This target is what that alone costs.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import psutil

from benchmark.hot_path.block import Block, Floor
from benchmark.hot_path.cells import Model
from benchmark.hot_path.frames import CameraFrame

_LEAD_S = 0.2
"""How long before its first frame a block is handed over, so that all processes begin it together."""
_END_S = 10.0
_ANSWER_S = 60.0


class FloorApart:
    """Runs each model in a process of its own; a frame is finished when the slowest one has it.

    Attributes:
        name: "floor_apart".
        problem: why it gives no figures; empty while it works.
    """

    name = "floor_apart"

    def __init__(self, models: Sequence[Model], frames: Sequence[CameraFrame]) -> None:
        """Start the processes and let each process some frames.

        Args:
            models: one for each task.
            frames: to warm up with.
        """
        self.problem = ""
        context = multiprocessing.get_context("spawn")
        self._workers: list[tuple[Any, Connection]] = []
        for model in models:
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(model, theirs), daemon=True)
            process.start()
            theirs.close()
            self._workers.append((process, ours))
        self.run(frames, 100.0)

    def run(self, frames: Sequence[CameraFrame], rate_hz: float) -> Block:
        """Process frames in all processes at the same rate, begun at the same moment."""
        start = time.monotonic() + _LEAD_S
        blocks = []
        try:
            for _, connection in self._workers:
                connection.send((list(frames), rate_hz, start))
            for _, connection in self._workers:
                if not connection.poll(_ANSWER_S):
                    raise EOFError
                blocks.append(connection.recv())
        except (EOFError, OSError):
            self.problem = "one of its processes ended or does not answer"
            return Block([], float("nan"))
        latency_ms = [max(each) for each in zip(*(block.latency_ms for block in blocks), strict=True)]
        return Block(latency_ms, sum(block.cores for block in blocks))

    def memory_mb(self) -> tuple[float, float] | None:
        """Return the sums of RSS and PSS; None where a process ended."""
        try:
            every = [psutil.Process(process.pid).memory_full_info() for process, _ in self._workers]
        except psutil.Error:
            return None
        return sum(each.rss for each in every) / 1e6, sum(getattr(each, "pss", 0) for each in every) / 1e6

    def close(self) -> None:
        """End the processes."""
        for process, connection in self._workers:
            connection.close()
            process.join(_END_S)
            if process.is_alive():
                process.kill()
                process.join()


def _work(model: Model, connection: Connection) -> None:
    """Answer blocks of frames until the other end is closed."""
    floor = Floor([model], paced=True)
    try:
        while True:
            frames, rate_hz, start = connection.recv()
            time.sleep(max(start - time.monotonic(), 0.0))
            connection.send(floor.run(frames, rate_hz))
    except EOFError:
        pass
    finally:
        floor.close()
