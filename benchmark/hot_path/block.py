# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What one block of frames gave, and the floor: decode, prepare, infer, decode in a loop, without ROS."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import psutil

from ad_compressed_perception.tasks.pipeline import open_pipeline
from benchmark.hot_path.arithmetic import cores
from benchmark.hot_path.cells import Model
from benchmark.hot_path.frames import CameraFrame

WARM_UP = 2
"""First frames of a block that are sent and not counted: the target was idle while others had their turn."""


@dataclass(frozen=True)
class Block:
    """What a target did with one block of frames at the cell's rate.

    Attributes:
        latency_ms: of each frame, in order; infinity where lost.
        cores: CPU time of the target's processes a second.
        stages: milliseconds of the parts of each frame, where the target reports them.
        foreign: answers to frames that were not sent, or that had been answered.
    """

    latency_ms: list[float]
    cores: float
    stages: list[dict[str, float]] = field(default_factory=list)
    foreign: int = 0


class Target(Protocol):
    """Something that gets frames."""

    name: str
    problem: str

    def run(self, frames: Sequence[CameraFrame], rate_hz: float) -> Block:
        """Give it frames at a rate."""

    def memory_mb(self) -> tuple[float, float] | None:
        """Return the sums of its processes' RSS and PSS; None where they are not its own."""


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep the garbage collector of this process out of what is timed."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Floor:
    """Runs the models in this process, frame after frame, one task after the other.

    Attributes:
        name: "floor", or "floor_loop" without pauses.
        problem: empty.
    """

    def __init__(self, models: Sequence[Model], *, paced: bool) -> None:
        """Load the models with one thread each, as the nodes do.

        Args:
            models: one for each task.
            paced: whether it keeps the rate, with a processor and caches as the nodes find them.
        """
        self.name = "floor" if paced else "floor_loop"
        self.problem = ""
        self._paced = paced
        self._pipelines = [
            open_pipeline(each.manifest, each.variant, options={"threads": 1}) for each in models
        ]

    def run(self, frames: Sequence[CameraFrame], rate_hz: float) -> Block:
        """Process frames; the stages of several tasks are summed."""
        process = psutil.Process()
        latency_ms, stages = [], []
        with without_collector():
            before_s = _cpu_s(process)
            start = time.perf_counter()
            for number, frame in enumerate(frames):
                if self._paced:
                    time.sleep(max(start + number / rate_hz - time.perf_counter(), 0.0))
                began = time.perf_counter()
                decoded = frame.decode()
                parts: dict[str, float] = {"decode": (time.perf_counter() - began) * 1e3}
                for pipeline in self._pipelines:
                    _, times = pipeline.run(decoded)
                    for stage, ms in times.items():
                        parts[stage] = parts.get(stage, 0.0) + ms
                latency_ms.append((time.perf_counter() - began) * 1e3)
                stages.append(parts)
            used = cores([before_s], [_cpu_s(process)], time.perf_counter() - start)
        return Block(latency_ms, used, stages)

    def memory_mb(self) -> None:
        """Return None: the process is the driver's."""
        return

    def close(self) -> None:
        """Release the models."""
        for pipeline in self._pipelines:
            pipeline.close()


def _cpu_s(process: Any) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
