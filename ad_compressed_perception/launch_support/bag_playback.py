# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bag playback of replay.launch.py."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown, TimerAction
from launch.launch_context import LaunchContext
from launch.logging import launch_config
from launch_ros.actions import Node
from launch_ros.substitutions import ExecutableInPackage

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.launch_support.actions import process, surroundings
from ad_compressed_perception.launch_support.argument_values import pushed_namespace
from ad_compressed_perception.launch_support.arguments import fill_in_defaults
from ad_compressed_perception.launch_support.plan import (
    PACKAGE,
    player_node,
    with_camera,
    write_parameters,
)

# The last frame's results are still in transit when the player ends.
_LINGER_S = 1.0


def read_bag(declared: Sequence[DeclareLaunchArgument]) -> OpaqueFunction:
    """Return an action that sets the launch's transport, camera topic and age reference from the recording.

    The player reads it, in a process of its own: this one's Python need not have what that takes.

    Args:
        declared: the arguments of the playback.
    """

    def read(context: LaunchContext) -> None:
        arguments = context.launch_configurations
        fill_in_defaults(context, declared)
        if not arguments["bag"]:
            raise AdcpError("bag:= is empty: name a rosbag2 folder, .mcap, .db3 or video file")
        player = ExecutableInPackage(package=PACKAGE, executable="bag_player").perform(context)
        bag = Path(arguments["bag"]).expanduser()
        done = subprocess.run(
            [player, "--describe", str(bag), arguments["topic"]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
            raise AdcpError(lines[-1].removeprefix("error: "))
        found = json.loads(done.stdout.splitlines()[-1])
        arguments["topic"] = found["topic"]
        arguments["transport"] = found["transport"]
        if not arguments.get("image_topic"):
            arguments["image_topic"] = found["topic"]
        # Recorded stamps are from another day, and the resolution of /clock is too coarse for an age.
        if not arguments.get("age_reference"):
            arguments["age_reference"] = "publish_time"

    return OpaqueFunction(function=read)


def start_player(context: LaunchContext) -> list[Node]:
    """Start the player; the launch ends when it ends, with status 1 where it failed."""
    values = context.launch_configurations
    arguments = dict(values)
    arguments["namespace"] = pushed_namespace(values["namespace"], values.get("ros_namespace", ""))
    (player,) = with_camera([player_node(arguments)], arguments)
    return [
        process(
            context,
            player,
            parameters=[str(write_parameters([player], Path(launch_config.log_dir)))],
            on_exit=_end_with_player,
            **surroundings(context, arguments),
        )
    ]


def _end_with_player(event: Any, context: LaunchContext) -> list[TimerAction] | None:
    if context.is_shutdown:
        return None
    if event.returncode:
        raise AdcpError(f"bag_player failed with status {event.returncode}; see its output above")
    return [TimerAction(period=_LINGER_S, actions=[Shutdown(reason="end of the recording")])]
