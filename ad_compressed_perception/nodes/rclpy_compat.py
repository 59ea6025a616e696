# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What differs between the rclpy of ROS 2 Humble, Jazzy, Kilted and Rolling; no other file asks for that.

Each branch asks for a name, not for a version. ``test/project/rclpy_names.yaml`` states which distribution
has which name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ModuleNotFoundError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

__all__ = [
    "SubscriptionEventCallbacks",
    "UnsupportedEventTypeError",
    "end_context",
    "on_parameters_set",
    "publisher_count",
]


def end_context() -> None:
    """Shut the default context down and keep rclpy's handlers of signals.

    On Kilted and newer ``rclpy.try_shutdown`` removes them: the next signal would end the process at once.
    """
    rclpy.get_default_context().try_shutdown()


def publisher_count(node: Node, subscription: Subscription) -> int:
    """Return how many publishers a node's subscription has.

    On Humble it is the number on the topic, also of publishers whose quality of service does not fit.
    """
    if hasattr(subscription, "get_publisher_count"):
        return int(subscription.get_publisher_count())
    return int(node.count_publishers(subscription.topic_name))


def on_parameters_set(node: Node, callback: Callable[[list[Parameter]], None]) -> None:
    """Call ``callback`` with parameters whenever they have been set, not when they are only proposed.

    Register it after the parameters are declared: a declaration calls it on Jazzy and newer only.
    """
    if hasattr(node, "add_post_set_parameters_callback"):
        node.add_post_set_parameters_callback(callback)
        return
    set_one_by_one, set_together = node.set_parameters, node.set_parameters_atomically

    # rclpy's own services call these two methods of the node.
    def set_parameters(parameters: list[Parameter]) -> Any:
        results = set_one_by_one(parameters)
        for parameter, result in zip(parameters, results, strict=True):
            if result.successful:
                callback([parameter])
        return results

    def set_parameters_atomically(parameters: list[Parameter]) -> Any:
        result = set_together(parameters)
        if result.successful:
            callback(list(parameters))
        return result

    vars(node).update(set_parameters=set_parameters, set_parameters_atomically=set_parameters_atomically)
