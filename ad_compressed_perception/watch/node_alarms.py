# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What nodes report of themselves, ``~/drift`` and ``~/availability``, for ``adcp watch``; by field names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from ad_compressed_perception.report.schemas.pairs import Alarm

_KINDS = ("world", "camera", "model")
_COUNTS = (("frames_primary", "by the model"), ("frames_standby", "by the fallback"), ("frames_hold", "held"))


class NodeAlarms(ABC):
    """The last message of each node, while it publishes.

    Attributes:
        topic, type_name: what the nodes publish, below their own names.
    """

    topic: ClassVar[str]
    type_name: ClassVar[str]

    def __init__(self, stale_after_s: float) -> None:
        """Begin without messages; forget those older than this."""
        self._stale_after_s = stale_after_s
        self._nodes: dict[str, tuple[float, list[Alarm]]] = {}

    @abstractmethod
    def _read(self, node: str, message: Any) -> list[Alarm]:
        """Return a message's alarms."""

    def receive(self, node: str, message: Any, now_s: float) -> None:
        """Take a node's message; ``now_s``: monotonic seconds."""
        self._nodes[node] = now_s, self._read(node, message)

    def has_message_of(self, node: str) -> bool:
        """Whether a message of a node came."""
        return node in self._nodes

    def alarms(self, now_s: float) -> list[Alarm]:
        """Return the alarms of all nodes that still publish."""
        return [
            alarm
            for came_s, found in self._nodes.values()
            if now_s - came_s <= self._stale_after_s
            for alarm in found
        ]


class DriftAlarms(NodeAlarms):
    """Drift of the world, the camera or the model."""

    topic, type_name = "/drift", "diagnostic_msgs/msg/DiagnosticArray"

    def _read(self, node: str, message: Any) -> list[Alarm]:
        kinds = [(status, status.name.rpartition(" ")[2]) for status in message.status]
        return [
            _alarm(node, status, f"drift of the {kind}")
            for status, kind in kinds
            if kind in _KINDS and _level(status)
        ]


class Availability(NodeAlarms):
    """Who answers the frames of guarded nodes."""

    topic, type_name = "/availability", "diagnostic_msgs/msg/DiagnosticStatus"

    def _read(self, node: str, message: Any) -> list[Alarm]:
        values = {pair.key: pair.value for pair in message.values}
        counted = [f"{values[key]} {words}" for key, words in _COUNTS if values.get(key, "0") != "0"]
        answered = f" (frames answered: {', '.join(counted) or 'none'})"
        return [_alarm(node, message, "availability", answered)] if _level(message) else []


def _level(status: Any) -> int:
    """Return a status's level, which rclpy gives as a byte."""
    return int.from_bytes(status.level, "big") if isinstance(status.level, bytes) else int(status.level)


def _alarm(node: str, status: Any, figure: str, more: str = "") -> Alarm:
    return Alarm(
        task=node.rpartition("/")[2],
        variant=node,
        figure=figure,
        level="WARN" if _level(status) == 1 else "ERROR",
        sentence=f"{node}: {status.message}{more}",
    )
