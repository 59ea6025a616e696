# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of subscriptions, waited for and taken by the thread that uses them, without the executor.

rclpy's executor takes about 1 ms of Python for every message, in which no other thread of the process runs
Python: the frame would wait for it. rclpy.wait_for_message uses the same classes; every distribution since
Humble has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from threading import Lock
from time import perf_counter, time_ns
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.subscription import Subscription

_LONGEST_WAIT_NS = 500_000_000
_MOST_AT_ONCE = 1000

OnMessage = Callable[[bytes, Any, float], None]


def seconds_waited(arrived_ns: int, now_ns: int, since_empty_s: float) -> float:
    """Return for how long a message waited in the middleware; 0 where that does not say when it arrived.

    Args:
        arrived_ns: by the middleware's clock; 0 or less: unknown.
        now_ns: by the system's clock, which may have been set meanwhile.
        since_empty_s: since no message was waiting, by the monotonic clock; no message waited for longer.
    """
    waited_s = (now_ns - arrived_ns) * 1e-9 if arrived_ns > 0 else 0.0
    return min(max(waited_s, 0.0), since_empty_s)


class NotByExecutor(CallbackGroup):
    """Keeps a subscription and its events from the executor, which would wake for every message."""

    def can_execute(self, entity: Any) -> bool:
        """Return that the executor does not run it."""
        return False

    def beginning_execution(self, entity: Any) -> bool:
        """Return that the executor does not run it."""
        return False

    def ending_execution(self, entity: Any) -> None:
        """Do nothing."""


class ImageReceiver:
    """Takes the serialized messages of a subscription in the order of their arrival.

    receive() and wake() may be called by any thread, wait() by one at a time.

    Attributes:
        events: of the subscription.
    """

    def __init__(self, subscription: Subscription, context: Any, on_message: OnMessage) -> None:
        """Prepare.

        Args:
            subscription: of the group NotByExecutor, raw.
            context: of its node.
            on_message: called with the message, its info, and the seconds it has waited in the middleware.
        """
        self._subscription, self._on_message = subscription, on_message
        events: Any = subscription.event_handlers  # a list, whatever rclpy annotates
        self.events: list[Any] = events
        self._wait_set = rclpy_implementation.WaitSet(1, 1, 0, 0, 0, len(events), context.handle)
        self._guard = GuardCondition(None, None, context=context)
        self._lock = Lock()
        self._empty_s = perf_counter()
        self._is_open = True

    def receive(self) -> None:
        """Hand over all messages that have arrived; none any more after destroy()."""
        handle = self._subscription.handle
        with self._lock:
            for _ in range(_MOST_AT_ONCE if self._is_open else 0):
                taken = handle.take_message(self._subscription.msg_type, True)
                if taken is None:
                    break
                message, info = taken
                waited_s = seconds_waited(
                    int(info["received_timestamp"]), time_ns(), perf_counter() - self._empty_s
                )
                self._on_message(message, info, waited_s)
            self._empty_s = perf_counter()

    def wait(self) -> None:
        """Wait for a message, an event, whose callback is called, or wake().

        It ends after half a second at most, since no wait may be without an end.
        """
        wait_set = self._wait_set
        with self.handle, self._guard.handle:
            wait_set.clear_entities()
            self.add_to(wait_set)
            wait_set.add_guard_condition(self._guard.handle)
            wait_set.wait(_LONGEST_WAIT_NS)
            self.handle_events(wait_set)

    @property
    def handle(self) -> Any:
        """The subscription's handle, to be held during a wait."""
        return self._subscription.handle

    def add_to(self, wait_set: Any) -> None:
        """Add subscription and events to a wait set."""
        wait_set.add_subscription(self._subscription.handle)
        for event in self.events:
            event.add_to_wait_set(wait_set)

    def handle_events(self, wait_set: Any) -> None:
        """Call the callbacks of the events that a wait has found."""
        for event in self.events:
            if event.is_ready(wait_set) and (data := event.take_data()) is not None:
                event.callback(data)

    def wake(self) -> None:
        """End wait(), also the next one."""
        self._guard.trigger()

    def destroy(self) -> None:
        """Release; nobody waits any more."""
        with self._lock:
            self._is_open = False
        self._wait_set.destroy_when_not_in_use()
        self._guard.destroy()


class JoinedReceivers:
    """Receives for several receivers, and waits for any of them in one thread; methods as there."""

    def __init__(self, receivers: Sequence[ImageReceiver], context: Any) -> None:
        """Prepare; the receivers stay their owners'."""
        self._receivers = receivers
        events = sum(len(each.events) for each in receivers)
        self._wait_set = rclpy_implementation.WaitSet(len(receivers), 1, 0, 0, 0, events, context.handle)
        self._guard = GuardCondition(None, None, context=context)

    def receive(self) -> None:
        """Hand over all messages that have arrived, of one camera after the other."""
        for each in self._receivers:
            each.receive()

    def wait(self) -> None:
        """Wait for a message or an event of any of them, or wake(); see ImageReceiver.wait."""
        wait_set = self._wait_set
        with ExitStack() as stack:
            stack.enter_context(self._guard.handle)
            wait_set.clear_entities()
            wait_set.add_guard_condition(self._guard.handle)
            for each in self._receivers:
                stack.enter_context(each.handle)
                each.add_to(wait_set)
            wait_set.wait(_LONGEST_WAIT_NS)
            for each in self._receivers:
                each.handle_events(wait_set)

    def wake(self) -> None:
        """End wait(), also the next one."""
        self._guard.trigger()

    def destroy(self) -> None:
        """Release; nobody waits any more."""
        self._wait_set.destroy_when_not_in_use()
        self._guard.destroy()
