# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Run a module with an rclpy that lacks what Humble's lacks: ``python -m support.humble_rclpy MODULE ...``.

Names are removed as test/project/rclpy_names.yaml states them, and callbacks get the message only.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

TABLE = Path(__file__).parents[1] / "project/rclpy_names.yaml"
OWNERS = {
    "Client": "rclpy.client",
    "Node": "rclpy.node",
    "Publisher": "rclpy.publisher",
    "Service": "rclpy.service",
    "Subscription": "rclpy.subscription",
}


def become_humble() -> None:
    """Remove from rclpy what Humble does not have."""
    table = yaml.safe_load(TABLE.read_text())
    import rclpy
    import rclpy.event_handler
    import rclpy.lifecycle
    from rclpy.executors import Executor, await_or_execute

    events = ModuleType("rclpy.qos_event")
    for name in table["modules"]["rclpy.qos_event"]["everywhere"]:
        setattr(events, name, getattr(rclpy.event_handler, name))
    rclpy.qos_event = sys.modules["rclpy.qos_event"] = events
    del rclpy.event_handler
    for absent in ("rclpy.event_handler", "rclpy.experimental"):
        sys.modules[absent] = None  # type: ignore[assignment]  # an import of it fails

    for owner, module in OWNERS.items():
        kind = getattr(importlib.import_module(module), owner)
        for name, have in table["members"][owner].items():
            if "humble" not in have and not name.startswith("_") and name in vars(kind):
                delattr(kind, name)
    # Without this property any callable is taken, and nobody asks how many arguments it wants.
    del importlib.import_module("rclpy.subscription").Subscription.callback

    def take(self: Any, subscription: Any) -> Any:
        with subscription.handle:
            taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)

        async def execute() -> None:
            await await_or_execute(subscription.callback, taken[0])

        return None if taken is None else execute

    Executor._take_subscription = take


if __name__ == "__main__":
    become_humble()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
