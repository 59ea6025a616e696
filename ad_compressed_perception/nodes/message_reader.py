# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Takes the messages of many topics together, a few times a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from ad_compressed_perception.nodes.callback_guard import note_failure

OnMessage = Callable[[Any, float], None]
"""Called with a message and the monotonic time of its arrival, seconds."""

_LEAST_DEPTH = 50
_EVENTS_EVERY_S, _EVENTS_FOR_S = 1.0, 0.003
_MOST_AT_ONCE = 200


class _NotAwaited(CallbackGroup):
    """Subscriptions whose messages no executor waits for; for their events (QoS, losses) it does at times.

    Not all the time: Fast DDS would wake it for every unread message.
    """

    def __init__(self) -> None:
        super().__init__()
        self.events_until_s = 0.0

    def can_execute(self, entity: Any) -> bool:
        return not isinstance(entity, Subscription) and time.monotonic() < self.events_until_s

    def beginning_execution(self, entity: Any) -> bool:
        return not isinstance(entity, Subscription)

    def ending_execution(self, entity: Any) -> None:
        pass


@dataclass(frozen=True)
class _Topic:
    subscription: Any
    on_message: OnMessage


class MessageReader:
    """Subscribes to topics, and reads all that came every ``period_s`` in the order of arrival.

    rclpy's executor builds its list of what to wait for anew for each message, and wakes up twice; with many
    topics that costs more than the messages. Nothing is read less often: only later, by up to the period.
    """

    def __init__(self, node: Node, period_s: float) -> None:
        """Read with a timer of the node; 0 leaves every message to the executor, as it comes."""
        self._node, self._period_s = node, period_s
        self._topics: list[_Topic] = []
        self._group = _NotAwaited()
        self._last_s = 0.0
        if period_s:
            # Steady time: it goes on when a simulated clock stops.
            node.create_timer(period_s, self.read, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def subscribe(
        self, kind: type, topic: str, on_message: OnMessage, qos: QoSProfile, *, raw: bool = False
    ) -> None:
        """Subscribe to a topic; ``raw`` gives the callback serialized bytes."""
        deeper = QoSProfile(
            depth=max(qos.depth, _LEAST_DEPTH), reliability=qos.reliability, durability=qos.durability
        )
        subscription = self._node.create_subscription(
            kind,
            topic,
            lambda message: on_message(message, time.monotonic()),
            deeper,
            callback_group=self._group if self._period_s else None,
            raw=raw,
        )
        if self._period_s:
            self._topics.append(_Topic(subscription, on_message))

    def read(self) -> None:
        """Read what has come; what a message's callback raises is counted as a failure of the node."""
        taken: list[tuple[float, OnMessage, Any]] = []
        for topic in self._topics:
            try:
                taken += self._take(topic)
            except Exception as error:
                note_failure(self._node, f"{topic.subscription.topic_name}: message not taken", error)
        for at_s, on_message, message in sorted(taken, key=lambda one: one[0]):
            self._last_s = max(self._last_s, at_s)
            try:
                on_message(message, self._last_s)
            except Exception as error:
                note_failure(self._node, f"{type(error).__name__} while a message was read", error)
        now_s = time.monotonic()
        if now_s - self._group.events_until_s >= _EVENTS_EVERY_S:
            self._group.events_until_s = now_s + _EVENTS_FOR_S

    def _take(self, topic: _Topic) -> list[tuple[float, OnMessage, Any]]:
        found: list[tuple[float, OnMessage, Any]] = []
        subscription = topic.subscription
        with subscription.handle:
            for _ in range(_MOST_AT_ONCE):
                one = subscription.handle.take_message(subscription.msg_type, subscription.raw)
                if one is None:
                    break
                # Counters of a node in another order than it sent them would look like a restart.
                arrived_s = max(self._arrival_s(one[1]), found[-1][0] if found else 0.0)
                found.append((arrived_s, topic.on_message, one[0]))
        return found

    def _arrival_s(self, info: Any) -> float:
        """Return when a message arrived, by the monotonic clock; now where the middleware does not say."""
        now_s = time.monotonic()
        received_ns = int(info.get("received_timestamp", 0) or 0)
        waited_s = (time.time_ns() - received_ns) / 1e9 if received_ns > 0 else 0.0
        return now_s - waited_s if 0.0 < waited_s <= 10.0 * self._period_s else now_s
