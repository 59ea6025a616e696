# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The client that configures a replay's nodes, where the node's response does not arrive."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest

pytest.importorskip("rclpy")

import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import SingleThreadedExecutor

from ad_compressed_perception.nodes.callback_guard import GuardedExecutor
from ad_compressed_perception.replay.lifecycle import LifecycleClient

pytestmark = pytest.mark.ros
LIMIT_S = 120.0


def test_a_lost_response_costs_seconds_not_the_whole_limit(ros_context: Any) -> None:
    """Failed before: a replay waited minutes for a node that was configured long ago."""
    server = rclpy.create_node("server", context=ros_context)
    changed: list[int] = []

    def change(request: Any, response: Any) -> Any:
        changed.append(request.transition.id)
        raise RuntimeError("the response is lost")

    def state(_: Any, response: Any) -> Any:
        response.current_state.id = (
            State.PRIMARY_STATE_INACTIVE if changed else State.PRIMARY_STATE_UNCONFIGURED
        )
        return response

    server.create_service(ChangeState, "/server/change_state", change)
    server.create_service(GetState, "/server/get_state", state)
    serving = GuardedExecutor(context=ros_context)
    serving.add_node(server)
    thread = Thread(target=serving.spin)
    thread.start()
    node = rclpy.create_node("client", context=ros_context)
    executor = SingleThreadedExecutor(context=ros_context)
    executor.add_node(node)

    def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
        end_s = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= end_s:
                return False
            executor.spin_once(timeout_sec=0.05)
        return True

    client = LifecycleClient(node, "/server", "server", wait_until)
    client.wait_for_node()
    began_s = time.monotonic()
    client.configure(LIMIT_S, lambda: "")
    assert time.monotonic() - began_s < LIMIT_S / 2
    assert len(changed) == 1
    executor.shutdown()
    serving.shutdown()
    thread.join()
    node.destroy_node()
    server.destroy_node()
