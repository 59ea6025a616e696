# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The launch arguments of the road camera."""

from __future__ import annotations

from typing import get_args

from launch.actions import DeclareLaunchArgument

from ad_road_simulation.launch_support.demo_plan import DRIVERS
from ad_road_simulation.nodes.road_camera_options import WeatherOption


def road_camera_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments of the built-in road camera."""
    return [
        DeclareLaunchArgument(
            "drive",
            default_value=DRIVERS[0],
            choices=list(DRIVERS),
            description="driver of the road camera's car: its expert, or the planner of one side",
        ),
        DeclareLaunchArgument(
            "seed",
            default_value="",
            description="seed of the first route's world; empty: as params_file says",
        ),
        DeclareLaunchArgument(
            "weather",
            default_value="",
            choices=["", *get_args(WeatherOption)],
            description="weather of all routes; any: random for each route; empty: as params_file says",
        ),
        DeclareLaunchArgument(
            "traffic",
            default_value="",
            description="factor on vehicles and pedestrians, 0 to 2; empty: as params_file says",
        ),
    ]
