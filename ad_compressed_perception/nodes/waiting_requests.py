# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Requests to set parameters that wait for something without holding up the node's other callbacks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from rcl_interfaces.msg import Parameter
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from ad_compressed_perception.nodes.callback_guard import note_failure
from ad_compressed_perception.nodes.parameters import is_present


class Awaited(Awaitable[None], Protocol):
    """What a request waits for."""

    def close(self) -> None:
        """The request is answered."""


def let_requests_wait(node: Node, prepare: Callable[[Sequence[Parameter]], Awaited | None]) -> None:
    """Let requests to set parameters wait for what ``prepare`` returns, before they are handled.

    Args:
        node: its services are changed, once.
        prepare: gets the parameters that a request changes; None: nothing to wait for.
    """

    def waiting_first(answer: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        async def answer_later(request: Any, response: Any) -> Any:
            waiting = None
            try:
                waiting = prepare([each for each in request.parameters if not is_present(node, each)])
                if waiting is not None:
                    await waiting
            except Exception as error:  # the answer says what is wrong with a request
                note_failure(node, "preparing a parameter request", error)
            try:
                return answer(request, response)
            finally:
                if waiting is not None:
                    waiting.close()

        return answer_later

    group = ReentrantCallbackGroup()
    for service in node.services:
        if service.srv_type in (SetParameters, SetParametersAtomically):
            service.callback, service.callback_group = waiting_first(service.callback), group
