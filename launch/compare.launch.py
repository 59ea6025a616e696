# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Baseline and compressed models side by side on a camera topic, and the monitor that compares them."""

from launch import LaunchDescription

from ad_compressed_perception.launch_support.actions import start_nodes
from ad_compressed_perception.launch_support.arguments import (
    comparison_arguments,
    model_arguments,
    one_session_argument,
    running_arguments,
    variant_arguments,
)
from ad_compressed_perception.launch_support.plan import compare_nodes


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, /baseline/TASK and /compressed/TASK, and /latency_monitor."""
    arguments = [
        *model_arguments(),
        *variant_arguments(" on the compressed side"),
        *comparison_arguments(),
        *running_arguments("compare.yaml"),
        one_session_argument(),
    ]
    return LaunchDescription([*arguments, start_nodes(compare_nodes, arguments)])
