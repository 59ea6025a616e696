# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Configures and activates the nodes of another process and reports why one refuses."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node

from ad_compressed_perception.replay.node_process import ReplayError

WaitUntil = Callable[[Callable[[], bool], float], bool]
"""``(condition, seconds) -> whether it became true``; spins ROS meanwhile."""

_DISCOVERY_S = 30.0
_RESPONSE_S = 5.0
_LOOK_S = 2.0


class LifecycleClient:
    """Changes the state of one lifecycle node through its services."""

    def __init__(self, client_node: Node, node: str, name: str, wait_until: WaitUntil) -> None:
        """Create the service clients on ``client_node`` for the node named ``node``, ``name`` in messages."""
        self._node = name
        self._wait_until = wait_until
        self._change = client_node.create_client(ChangeState, f"{node}/change_state")
        self._get = client_node.create_client(GetState, f"{node}/get_state")

    def wait_for_node(self, timeout_s: float = _DISCOVERY_S) -> None:
        """Wait until the node's services are available; raise ReplayError after ``timeout_s``."""
        ready = self._wait_until(
            lambda: bool(self._change.service_is_ready() and self._get.service_is_ready()), timeout_s
        )
        if not ready:
            raise ReplayError(f"node {self._node} did not appear within {timeout_s:g} s")

    def configure(self, timeout_s: float, reason: Callable[[], str]) -> None:
        """Load the model; raise ReplayError with ``reason()`` when the node refuses."""
        self._transition(Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE, timeout_s, reason)

    def activate(self, timeout_s: float, reason: Callable[[], str]) -> None:
        """Subscribe to images; raise ReplayError with ``reason()`` when the node refuses."""
        self._transition(Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE, timeout_s, reason)

    def state(self) -> int:
        """Return the id of the node's current state; PRIMARY_STATE_UNKNOWN without a response."""
        future = self._get.call_async(GetState.Request())
        if not self._wait_until(future.done, _RESPONSE_S):
            self._get.remove_pending_request(future)
            return int(State.PRIMARY_STATE_UNKNOWN)
        response: Any = future.result()
        return int(response.current_state.id)

    def describe_state(self) -> str:
        """Return the node's state as a reader knows it."""
        names = {
            State.PRIMARY_STATE_UNCONFIGURED: "unconfigured",
            State.PRIMARY_STATE_INACTIVE: "inactive",
            State.PRIMARY_STATE_ACTIVE: "active",
            State.PRIMARY_STATE_FINALIZED: "finalized",
        }
        return names.get(self.state(), f"unknown, it did not answer within {_RESPONSE_S:g} s")

    def _transition(self, transition: int, goal: int, timeout_s: float, reason: Callable[[], str]) -> None:
        request = ChangeState.Request()
        request.transition.id = transition
        future = self._change.call_async(request)
        until_s = monotonic() + timeout_s
        while not self._wait_until(future.done, min(_LOOK_S, max(until_s - monotonic(), 0.0))):
            # The response may have been lost although the transition succeeded: a node that has not yet
            # discovered this client drops it.
            if self.state() == goal:
                self._change.remove_pending_request(future)
                return
            if monotonic() >= until_s:
                self._change.remove_pending_request(future)
                raise ReplayError(f"node {self._node} was not ready within {timeout_s:g} s")
        response: Any = future.result()
        if not response.success:
            why = reason() or "it gave no reason"
            raise ReplayError(f"node {self._node}: {why}")
