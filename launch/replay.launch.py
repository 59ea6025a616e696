# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A recorded drive played through the comparison of baseline and compressed models, live."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource

from ad_compressed_perception.launch_support.arguments import clock_argument, player_arguments
from ad_compressed_perception.launch_support.bag_playback import read_bag, start_player

COMPARE = str(Path(__file__).with_name("compare.launch.py"))


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, all that compare.launch.py starts, and /bag_player."""
    arguments = [
        *player_arguments(),
        clock_argument(
            "true",
            "true: the player publishes the recording's time on /clock and all other nodes take the time "
            "from there",
        ),
    ]
    return LaunchDescription(
        [
            *arguments,
            # The recording determines the transport, so it is read before the nodes start.
            read_bag(arguments),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(COMPARE)),
            OpaqueFunction(function=start_player),
        ]
    )
