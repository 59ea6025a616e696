# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bag playback of replay.launch.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launch.actions import Shutdown, TimerAction
from launch.launch_context import LaunchContext
from launch.logging import launch_config
from launch_ros.actions import Node

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.data.bag import BagReader
from ad_compressed_perception.launch_support.actions import process
from ad_compressed_perception.launch_support.plan import (
    camera_remappings,
    player_node,
    write_parameters,
)

# The last frame's results are still in transit when the player ends.
_LINGER_S = 1.0


def read_bag(context: LaunchContext) -> None:
    """Set the launch's transport, camera topic and age reference from the recording.

    Raises:
        DataError: no such recording, none that can be read, or no such image topic in it.
    """
    arguments = context.launch_configurations
    with BagReader(Path(arguments["bag"])) as bag:
        topic = bag.resolve_image_topic(arguments["topic"] or None)
        compressed = bag.topics[topic].endswith("/CompressedImage")
    arguments["topic"] = topic
    arguments["transport"] = "compressed" if compressed else "raw"
    arguments.setdefault("image_topic", topic)
    # Recorded stamps are from another day, and the resolution of /clock is too coarse for an age.
    arguments.setdefault("age_reference", "publish_time")


def start_player(context: LaunchContext) -> list[Node]:
    """Start the player; the launch ends when it ends, with status 1 where it failed."""
    arguments = context.launch_configurations
    player = player_node(dict(arguments))
    return [
        process(
            context,
            player,
            parameters=[str(write_parameters([player], Path(launch_config.log_dir)))],
            remappings=camera_remappings(arguments["image_topic"]),
            on_exit=_end_with_player,
        )
    ]


def _end_with_player(event: Any, context: LaunchContext) -> list[TimerAction] | None:
    if context.is_shutdown:
        return None
    if event.returncode:
        raise AdcpError(f"bag_player failed with status {event.returncode}; see its output above")
    return [TimerAction(period=_LINGER_S, actions=[Shutdown(reason="end of the recording")])]
