# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The launch arguments of the road camera."""

from __future__ import annotations

from launch.actions import DeclareLaunchArgument

from ad_road_simulation.launch_support.demo_plan import DRIVERS

WEATHERS = ("any", "day", "dusk", "rain", "glare")
"""As the road camera's parameter has them, whose module not every launch can import."""


def road_camera_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments of the built-in road camera."""
    return [
        DeclareLaunchArgument(
            "drive",
            default_value=DRIVERS[0],
            choices=[*DRIVERS, ""],
            description="driver of the road camera's car: its expert, or the planner of one side; "
            "empty: expert",
        ),
        DeclareLaunchArgument(
            "seed",
            default_value="",
            description="seed of the first route's world; empty: as params_file says",
        ),
        DeclareLaunchArgument(
            "weather",
            default_value="",
            choices=["", *WEATHERS],
            description="weather of all routes; any: random for each route; empty: as params_file says",
        ),
        DeclareLaunchArgument(
            "traffic",
            default_value="",
            description="factor on vehicles and pedestrians, 0 to 2; empty: as params_file says",
        ),
    ]
