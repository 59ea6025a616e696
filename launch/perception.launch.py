# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detection, segmentation and planning on a camera topic: one node per task, any subset of tasks."""

from launch import LaunchDescription

from ad_compressed_perception.launch_support.actions import start_nodes
from ad_compressed_perception.launch_support.arguments import (
    model_arguments,
    monitor_argument,
    monitor_arguments,
    one_session_argument,
    running_arguments,
    variant_arguments,
)
from ad_compressed_perception.launch_support.plan import perception_nodes


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and one node for each task: /detection, /segmentation, /planning."""
    arguments = [
        *model_arguments(),
        *variant_arguments(),
        monitor_argument(),
        *monitor_arguments(),
        *running_arguments("perception.yaml"),
        one_session_argument(),
    ]
    return LaunchDescription([*arguments, start_nodes(perception_nodes, arguments)])
