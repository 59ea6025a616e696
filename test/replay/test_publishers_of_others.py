# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whose publishers are on a replay's topic, by what discovery says of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy")

from ad_compressed_perception.replay.client import publishers_of_others

OWN = "/adcp_replay_cc9a9395"
UNKNOWN = "_NODE_NAME_UNKNOWN_"


def publisher(process: int, entity: int, name: str, namespace: str = OWN) -> Any:
    gid = [1, 15, 120, 253, process, 0, 0, 0, 0, 0, 0, 0, 0, 0, entity, 3]
    return SimpleNamespace(endpoint_gid=gid, node_name=name, node_namespace=namespace)


def test_a_publisher_whose_node_ended_before_it_was_named_is_of_its_process() -> None:
    """One faultless replay of 14 ended with exit code 5: its own node had read parameters, and was gone."""
    nodes = [publisher(2, 3, "planning"), publisher(2, 31, "planning"), publisher(1, 3, "replay_monitor")]
    ended = publisher(2, 0, UNKNOWN, UNKNOWN)
    assert publishers_of_others([ended, *nodes], OWN) == []


def test_publishers_of_other_processes_are_named_or_stay_unknown() -> None:
    """Another process without a name must not pass as the replay's own."""
    mine = publisher(2, 3, "planning")
    unknown, camera = publisher(3, 3, UNKNOWN, UNKNOWN), publisher(4, 3, "camera", "/car")
    assert publishers_of_others([mine, unknown, camera], OWN) == ["", "/car/camera"]
    beside_camera = publisher(4, 9, UNKNOWN, UNKNOWN)  # a foreign process is not the replay's by its name
    assert publishers_of_others([beside_camera, camera], OWN) == ["", "/car/camera"]
    assert publishers_of_others([publisher(2, 3, UNKNOWN, UNKNOWN)], OWN) == [""]
