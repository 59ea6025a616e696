# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``~/availability`` and ``~/guard_events``: whether results come and whose they are, for a risk manager."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from ad_compressed_perception.messages.timing import ns_to_stamp
from ad_compressed_perception.nodes.qos import LATCHED_QOS, TIMING_QOS
from ad_compressed_perception.serving.guard import Guard
from ad_compressed_perception.serving.ladder import LadderLevel, Step

PERIOD_S = 1.0
SILENT_S = 2.0
"""An active node that has answered no frame for so long has no results, whatever the reason."""


class Risk(IntEnum):
    """What a minimal risk maneuver goes by.

    NONE: the primary answers, and its standby is loaded where one is configured. REDUNDANCY_LOST: every frame
    has its own result, but the next fault may leave none. HELD: results are those of earlier frames.
    NO_RESULT: nothing is published.
    """

    NONE = 0
    REDUNDANCY_LOST = 1
    HELD = 2
    NO_RESULT = 3


_LEVELS = {
    Risk.NONE: DiagnosticStatus.OK,
    Risk.REDUNDANCY_LOST: DiagnosticStatus.WARN,
    Risk.HELD: DiagnosticStatus.WARN,
    Risk.NO_RESULT: DiagnosticStatus.ERROR,
}


@dataclass(frozen=True)
class Availability:
    """What is known at a moment.

    Attributes:
        risk: the level.
        text: why, in one line.
    """

    risk: Risk
    text: str


def assess(
    guard: Guard,
    now_s: float,
    active_s: float | None,
    *,
    is_standby_loaded: bool,
    is_standby_same: bool = False,
    camera: str = "",
) -> Availability:
    """Return the risk of a camera, by its last frame and by the ladder's level, whichever is worse.

    Args:
        guard: of the node.
        now_s: monotonic seconds.
        active_s: since when the node is active; None where it is not.
        is_standby_loaded: whether the standby is ready.
        is_standby_same: whether it is the primary's variant on the same runtime.
        camera: its name in the node; empty where the node has one camera.
    """
    if active_s is None:
        return Availability(Risk.NO_RESULT, "not active")
    answered_by, last_s = guard.last_of(camera)
    silent_s = now_s - max(last_s, active_s)
    if silent_s > SILENT_S:
        return Availability(Risk.NO_RESULT, f"no frame was answered for {silent_s:.0f} s")
    by_level = {
        LadderLevel.PRIMARY: Risk.NONE,
        LadderLevel.STANDBY: Risk.REDUNDANCY_LOST,
        LadderLevel.HOLD: Risk.HELD,
        LadderLevel.STOP: Risk.NO_RESULT,
    }
    by_frame = {"primary": Risk.NONE, "standby": Risk.REDUNDANCY_LOST, "hold": Risk.HELD}
    has_frame = last_s >= active_s
    last = by_frame.get(answered_by, Risk.NO_RESULT) if has_frame else Risk.NONE
    # A model that answers again has results, also while the level waits for its hysteresis time.
    level = by_level[guard.level]
    if has_frame and last < Risk.HELD and guard.override == "auto":
        level = min(level, Risk.REDUNDANCY_LOST)
    risk = max(last, level)
    if guard.has_standby and not is_standby_loaded:
        risk = max(risk, Risk.REDUNDANCY_LOST)
        return Availability(risk, f"the standby is not loaded; {guard.level.name.lower()}: {guard.reason}")
    if risk is Risk.NONE and is_standby_same:
        text = "the standby is the primary's variant on the same runtime, and fails where that does"
        return Availability(Risk.REDUNDANCY_LOST, text)
    if risk is Risk.NONE:
        return Availability(risk, "the primary answers" if has_frame else "waits for the first frame")
    return Availability(risk, f"{guard.level.name.lower()}: {guard.reason}")


def worst_of(states: Mapping[str, Availability]) -> tuple[Availability, dict[str, str]]:
    """Return the worst state of a node's cameras, which names them, and the risk of each."""
    if "" in states:
        return states[""], {}
    risk = max(state.risk for state in states.values())
    texts = {camera: state.text for camera, state in states.items() if state.risk is risk}
    if len(texts) < len(states) or len(set(texts.values())) > 1:
        texts = {camera: f"{camera}: {text}" for camera, text in texts.items()}
    risks = {f"risk_{camera}": state.risk.name.lower() for camera, state in states.items()}
    return Availability(risk, "; ".join(dict.fromkeys(texts.values()))), risks


class AvailabilityTopics:
    """Publishes the state once a second and when it changes, latched, and every step of the ladder."""

    def __init__(self, node: Node) -> None:
        """Create both topics."""
        self._node = node
        self._name = node.get_fully_qualified_name()
        self._state = node.create_publisher(DiagnosticStatus, "~/availability", LATCHED_QOS)
        self._events = node.create_publisher(DiagnosticArray, "~/guard_events", TIMING_QOS)
        self._published: tuple[Any, ...] = ()
        self._next_s = 0.0

    def publish(self, state: Availability, guard: Guard, more: Mapping[str, str], now_s: float) -> None:
        """Publish the state where it changed or is due.

        Args:
            state: of assess().
            guard: of the node.
            more: further values: models, standby, limits.
            now_s: monotonic seconds.
        """
        risks = tuple(value for name, value in more.items() if name.startswith("risk_"))
        # Who answered last may alternate with the cameras.
        key = (state.risk, guard.level, risks or guard.last, guard.override)
        if now_s < self._next_s and key == self._published:
            return
        self._next_s, self._published = now_s + PERIOD_S, key
        values = {
            "risk_level": str(int(state.risk)),
            "risk": state.risk.name.lower(),
            "level": guard.level.name.lower(),
            "reason": guard.reason,
            "level_for_s": f"{now_s - guard.since_s:.1f}",
            "answering": guard.last,
            "guard_level": guard.override,
            "stamp_ns": str(self._node.get_clock().now().nanoseconds),
            **{key: str(count) for key, count in guard.counters().items()},
            **more,
        }
        self._state.publish(self._status(_LEVELS[state.risk], state.text, values))

    def publish_step(self, step: Step, now_s: float) -> None:
        """Publish a step of the ladder, stamped with its own time by the node's clock."""
        now_ns = self._node.get_clock().now().nanoseconds
        values = {
            "event": step.event,
            "before": step.before.name.lower(),
            "after": step.after.name.lower(),
            "reason": step.reason,
            "frame_stamp_ns": str(step.stamp_ns),
        }
        level = DiagnosticStatus.OK if step.after is LadderLevel.PRIMARY else DiagnosticStatus.WARN
        if step.event == "fault" or step.after is LadderLevel.STOP:
            level = DiagnosticStatus.ERROR
        message = DiagnosticArray(status=[self._status(level, f"{step.event}: {step.reason}", values)])
        message.header.stamp = ns_to_stamp(max(0, now_ns - int((now_s - step.now_s) * 1e9)))
        self._events.publish(message)

    def _status(self, level: bytes, text: str, values: Mapping[str, str]) -> DiagnosticStatus:
        return DiagnosticStatus(
            level=level,
            name=f"{self._name}: availability",
            hardware_id=platform.node(),
            message=text,
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )

    def destroy(self) -> None:
        """Destroy both topics."""
        for publisher in (self._state, self._events):
            self._node.destroy_publisher(publisher)
