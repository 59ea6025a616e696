# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The arguments that the launch files share."""

from __future__ import annotations

from launch.actions import DeclareLaunchArgument
from launch_ros.substitutions import FindPackageShare

from ad_compressed_perception.core.registry import BACKENDS, names
from ad_compressed_perception.launch_support.plan import PACKAGE
from ad_compressed_perception.tasks import TASKS

DEFAULT_CAMERA = "/camera/image_raw"
_BOOLEANS = ["true", "false"]


def model_arguments(models: str | None = None) -> list[DeclareLaunchArgument]:
    """Return the arguments that choose tasks and models.

    Args:
        models: default folder of models; None for the reference models.
    """
    return [
        DeclareLaunchArgument(
            "tasks",
            default_value=",".join(TASKS),
            description=f"what to run, separated by commas: any of {', '.join(TASKS)}",
        ),
        DeclareLaunchArgument(
            "models",
            default_value=models or [FindPackageShare(PACKAGE), "/config/reference_models"],
            description="folder of the models, $(var models) in the parameter file",
        ),
        DeclareLaunchArgument(
            "model",
            default_value="",
            description="model folder (with model.yaml), where tasks names one task; "
            "empty: as params_file says",
        ),
        *(
            DeclareLaunchArgument(
                f"{task}_model",
                default_value="",
                description=f"model folder for {task}; empty: as model or params_file says",
            )
            for task in TASKS
        ),
        DeclareLaunchArgument(
            "allow_rejected",
            default_value="false",
            choices=_BOOLEANS,
            description="true: also run variants that failed their accept gate",
        ),
    ]


def variant_arguments(of_what: str = "") -> list[DeclareLaunchArgument]:
    """Return the arguments that choose variant and backend, in general and for each task."""
    return [
        *_variant_and_backend("", f"of all tasks{of_what}", "as params_file says"),
        *(
            argument
            for task in TASKS
            for argument in _variant_and_backend(f"{task}_", f"of {task}{of_what}", "as for all tasks")
        ),
    ]


def comparison_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments that choose the baseline's variant and backend, and the report."""
    return [
        *_variant_and_backend("baseline_", "of the baseline side", "as params_file says"),
        DeclareLaunchArgument(
            "report_path",
            default_value="",
            description="file for the live report.json; empty: as params_file says",
        ),
    ]


def _variant_and_backend(prefix: str, of_what: str, empty: str) -> list[DeclareLaunchArgument]:
    return [
        DeclareLaunchArgument(
            f"{prefix}variant",
            default_value="",
            description=f"variant {of_what}, by its name in model.yaml; empty: {empty}",
        ),
        DeclareLaunchArgument(
            f"{prefix}backend",
            default_value="",
            choices=["", *names(BACKENDS)],
            description=f"runtime {of_what}; empty: {empty}",
        ),
    ]


def running_arguments(params_file: str, image_topic: str = DEFAULT_CAMERA) -> list[DeclareLaunchArgument]:
    """Return the arguments for the image source and for how the nodes run.

    Args:
        params_file: name of the default parameter file in the package's folder config.
        image_topic: the camera's default topic; empty for the built-in road camera's.
    """
    return [
        DeclareLaunchArgument(
            "params_file",
            default_value=[FindPackageShare(PACKAGE), f"/config/{params_file}"],
            description="parameter file of all nodes; arguments override it",
        ),
        DeclareLaunchArgument("namespace", default_value="", description="namespace before all node names"),
        DeclareLaunchArgument(
            "image_topic",
            default_value=image_topic,
            description=("" if image_topic else "empty: the built-in road camera's; otherwise ")
            + "the camera's raw topic; its compressed images are expected one level below, "
            "on <image_topic>/compressed. A topic that ends so selects transport:=compressed. "
            "A name without a leading slash belongs to each node's own namespace",
        ),
        DeclareLaunchArgument(
            "transport",
            default_value="",
            choices=["", "raw", "compressed", "compressed_on_image"],
            description="which of the two to subscribe to; empty: as image_topic and params_file say",
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="false",
            choices=_BOOLEANS,
            description="true: all nodes take the time from /clock",
        ),
        DeclareLaunchArgument(
            "age_reference",
            default_value="",
            choices=["", "header_stamp", "publish_time"],
            description="time from which a frame's age is measured; empty: as params_file says",
        ),
        DeclareLaunchArgument(
            "composed",
            default_value="false",
            choices=_BOOLEANS,
            description="true: all nodes in one process, which receives each image once for all",
        ),
        DeclareLaunchArgument(
            "respawn",
            default_value="false",
            choices=_BOOLEANS,
            description="true: restart a node that ended unexpectedly, after half a second",
        ),
    ]


def player_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments of the bag playback."""
    return [
        DeclareLaunchArgument("bag", description="rosbag2 folder, .mcap or .db3 file; required"),
        DeclareLaunchArgument(
            "topic",
            default_value="",
            description="image topic of the recording; empty: the only one there is. The nodes "
            "subscribe to it under its own name unless image_topic names another",
        ),
        DeclareLaunchArgument("rate", default_value="1.0", description="recorded seconds per second"),
        DeclareLaunchArgument(
            "loop",
            default_value="false",
            choices=_BOOLEANS,
            description="true: start again at the end; otherwise the launch ends with the recording",
        ),
        DeclareLaunchArgument(
            "wait_s",
            default_value="30.0",
            description="seconds the player waits for all nodes to subscribe before it starts without "
            "those that cannot start; 0: without limit",
        ),
    ]


def argument_names() -> set[str]:
    """Return the names of the arguments of this package's launch files."""
    declared = [
        *model_arguments(),
        *variant_arguments(),
        *comparison_arguments(),
        *running_arguments("perception.yaml"),
        *player_arguments(),
    ]
    return {argument.name for argument in declared}
