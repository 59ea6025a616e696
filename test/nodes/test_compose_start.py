# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How a composed process appears to others while it starts."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")

import rclpy
from rclpy.node import Node

from ad_compressed_perception.nodes import compose

pytestmark = pytest.mark.ros


def test_the_process_has_a_node_from_the_first_one_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one its participant ended, and a replay saw "a node of unknown name" on a topic of its own."""
    beside: list[list[str]] = []

    def build_node(entry: str) -> Node:
        node = Node(entry.rpartition("/")[2])
        beside.append(sorted(node.get_node_names()))
        return node

    monkeypatch.setattr(compose, "build_node", build_node)
    rclpy.init(args=["--ros-args", "-p", "nodes:=['planning_node:/one','planning_node:/two']"])
    try:
        nodes = compose.build_nodes()
        assert [set(names) >= {"compose", "one"} for names in beside] == [True, True]
        assert "compose" not in nodes[0].get_node_names()
        for node in nodes:
            node.destroy_node()
    finally:
        rclpy.shutdown()
