# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The launch arguments of the road camera, and of faults in what runs on its images."""

from __future__ import annotations

from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.launch_context import LaunchContext

from ad_road_simulation.faults.kinds import KINDS, SWITCH
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


def fault_argument() -> DeclareLaunchArgument:
    """Return the argument that injects faults into the compressed side."""
    return DeclareLaunchArgument(
        "fault",
        default_value="",
        description="inject faults into the compressed models, whose baseline stands by: "
        f"{', '.join(KINDS)}, each also with a probability, such as nan:0.05; empty: none",
    )


def fault_environment() -> OpaqueFunction:
    """Return the action that lets the nodes load the backend which injects faults, where one is asked for."""

    def enable(context: LaunchContext) -> list[Any]:
        return [SetEnvironmentVariable(SWITCH, "1")] if context.launch_configurations.get("fault") else []

    return OpaqueFunction(function=enable)
