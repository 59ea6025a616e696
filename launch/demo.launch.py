# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The built-in road camera with baseline and compressed models, evaluated against its ground truth."""

from launch import LaunchDescription

from ad_compressed_perception.launch_support.actions import start_nodes
from ad_compressed_perception.launch_support.arguments import (
    comparison_arguments,
    model_arguments,
    running_arguments,
    variant_arguments,
)
from ad_road_simulation.launch_support.arguments import (
    fault_argument,
    fault_environment,
    road_camera_arguments,
)
from ad_road_simulation.launch_support.demo_plan import demo_nodes


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, /baseline/TASK and /compressed/TASK, /latency_monitor and /road_camera."""
    arguments = [
        *road_camera_arguments(),
        fault_argument(),
        *model_arguments(),
        *variant_arguments(" on the compressed side"),
        *comparison_arguments(),
        *running_arguments("demo.yaml", image_topic=""),
    ]
    return LaunchDescription([*arguments, fault_environment(), start_nodes(demo_nodes, arguments)])
