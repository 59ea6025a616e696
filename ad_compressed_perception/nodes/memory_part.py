# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The memory of a node's process on /diagnostics: how much, how fast it grows, and a limit."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection

from pydantic import Field
from rclpy.node import Node

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.monitor.frame_health import Level, Problems
from ad_compressed_perception.nodes import parameters
from ad_compressed_perception.nodes.node_part import NodePart
from ad_compressed_perception.serving.peak_memory import resident_mb

_PERIOD_S = 1.0
_WINDOW = 61
"""Samples in the window over which growth is measured: a minute."""


class MemoryOptions(StrictModel):
    """The limit of memory."""

    max_memory_mb: float = Field(
        0.0,
        ge=0.0,
        description="largest resident memory of the node's process, MB (1e6 bytes); WARN above, with all "
        "nodes of the process together; 0: none",
    )


class MemoryPart(NodePart):
    """Samples the resident memory of the process once a second, in the watch's thread."""

    options_type = MemoryOptions

    def __init__(self, node: Node) -> None:
        """Begin; the parameters need not exist yet."""
        self._node, self._limit_mb, self._next_s = node, 0.0, 0.0
        self._samples: deque[float] = deque(maxlen=_WINDOW)

    def configure(self) -> None:
        """Read the limit."""
        self.apply(MemoryOptions.model_fields)

    def apply(self, names: Collection[str]) -> None:
        """Take another limit."""
        if "max_memory_mb" in names:
            self._limit_mb = float(parameters.values(self._node, MemoryOptions)["max_memory_mb"])

    def watch(self, now_s: float) -> None:
        """Take a sample where one is due."""
        if now_s >= self._next_s:
            self._next_s = now_s + _PERIOD_S
            self._samples.append(resident_mb())

    def problems(self) -> Problems:
        """Report memory above the limit."""
        used_mb = self._samples[-1] if self._samples else math.nan
        if not 0.0 < self._limit_mb < used_mb:
            return []
        line = f"the process uses {used_mb:.0f} MB (max_memory_mb {self._limit_mb:g})"
        return [(Level.WARN, f"{line}, {self._growth_mb():+.0f} MB within the last minute")]

    def _growth_mb(self) -> float:
        samples = tuple(self._samples)
        return samples[-1] - samples[0] if samples else math.nan

    def values(self) -> dict[str, str]:
        """Return the memory, and how much it has grown within a minute, or since the start."""
        used_mb = self._samples[-1] if self._samples else math.nan
        return {"memory_mb": f"{used_mb:.1f}", "memory_growth_mb": f"{self._growth_mb():.1f}"}
