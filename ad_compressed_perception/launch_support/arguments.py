# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The arguments that the launch files share; an empty one has its default, or none."""

from __future__ import annotations

from collections.abc import Iterable

from launch.actions import DeclareLaunchArgument
from launch.launch_context import LaunchContext
from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions
from launch_ros.substitutions import FindPackageShare

from ad_compressed_perception.core.task_names import DEFAULT_TASKS, TASK_NAMES
from ad_compressed_perception.launch_support.argument_values import CAMERA_FIELD, DEFAULT_CAMERA
from ad_compressed_perception.launch_support.plan import PACKAGE, RESPAWN_WATCHDOG_S

_BOOLEANS = ["true", "false", ""]
_BACKENDS = "onnxruntime, openvino, litert, executorch, torch, tensorrt, remote, staged or that of a plug-in"
_KEEPS_EMPTY = {"image_topic"}
_QUOTED_EMPTY = ("''", '""')


def model_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments that choose tasks and models."""
    return [
        DeclareLaunchArgument(
            "tasks",
            default_value="",
            description=f"what to run, separated by commas: any of {', '.join(TASK_NAMES)}; "
            f"empty: the task of model, or {', '.join(DEFAULT_TASKS)}",
        ),
        DeclareLaunchArgument(
            "models",
            default_value=[FindPackageShare(PACKAGE), "/models"],
            description="folder of the models, $(var models) in the parameter file",
        ),
        DeclareLaunchArgument(
            "model",
            default_value="",
            description="model folder (with model.yaml), or the name of one in the folder models or of one "
            "that ships with the package; empty: as params_file says",
        ),
        *(
            DeclareLaunchArgument(
                f"{task}_model",
                default_value="",
                description=f"model for {task}; empty: as model or params_file says",
            )
            for task in TASK_NAMES
        ),
        _boolean("allow_rejected", "true: also run variants that failed their accept gate"),
    ]


def variant_arguments(of_what: str = "") -> list[DeclareLaunchArgument]:
    """Return the arguments that choose variant and backend, in general and for each task."""
    return [
        *_variant_and_backend("", f"of all tasks{of_what}", "as params_file says"),
        *(
            argument
            for task in TASK_NAMES
            for argument in _variant_and_backend(f"{task}_", f"of {task}{of_what}", "as for all tasks")
        ),
    ]


def comparison_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments that choose the baseline's variant and backend, and those of the monitor."""
    return [
        *_variant_and_backend("baseline_", "of the baseline side", "as params_file says"),
        *monitor_arguments(),
    ]


def monitor_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments of the monitor: report, deadlines and ground truth."""
    return [
        DeclareLaunchArgument(
            "report_path",
            default_value="",
            description="file for the live report.json, with several cameras one for each; "
            "empty: as params_file says",
        ),
        *_for_each_task(
            "deadline_ms", "deadline of results {of}, from the frame's stamp, milliseconds; 0: none"
        ),
        *_for_each_task("ground_truth_topic", "topic of ground-truth results {of}"),
    ]


def monitor_argument() -> DeclareLaunchArgument:
    """Return the argument that adds the monitor where nothing is compared."""
    return _boolean("monitor", "true: also start latency_monitor: deadlines, drops and silent nodes")


def one_session_argument() -> DeclareLaunchArgument:
    """Return the argument that lets one node serve all cameras."""
    return _boolean("one_session", "true: one node a task serves all cameras of cameras with one model")


def _for_each_task(name: str, description: str) -> list[DeclareLaunchArgument]:
    general = DeclareLaunchArgument(
        name,
        default_value="",
        description=description.format(of="of all tasks") + "; empty: as params_file says",
    )
    return [
        general,
        *(
            DeclareLaunchArgument(
                f"{task}_{name}",
                default_value="",
                description=f"{description.format(of=f'of {task}')}; empty: as {name} says",
            )
            for task in TASK_NAMES
        ),
    ]


def _variant_and_backend(prefix: str, of_what: str, empty: str) -> list[DeclareLaunchArgument]:
    return [
        DeclareLaunchArgument(
            f"{prefix}variant",
            default_value="",
            description=f"variant {of_what}, by its name in model.yaml, or accepted: the first one that its "
            f"accept gate accepted and whose runtime is installed; empty: {empty}",
        ),
        DeclareLaunchArgument(
            f"{prefix}backend",
            default_value="",
            description=f"runtime {of_what}: {_BACKENDS}; empty: {empty}",
        ),
    ]


def _boolean(name: str, description: str, default: str = "false") -> DeclareLaunchArgument:
    return DeclareLaunchArgument(
        name, default_value=default, choices=_BOOLEANS, description=f"{description}; empty: {default}"
    )


def clock_argument(default: str = "false", description: str = "") -> DeclareLaunchArgument:
    """Return the argument use_sim_time."""
    return _boolean("use_sim_time", description or "true: all nodes take the time from /clock", default)


def running_arguments(
    params_file: str, image_topic: str = f"/{CAMERA_FIELD}/image_raw"
) -> list[DeclareLaunchArgument]:
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
        DeclareLaunchArgument(
            "namespace",
            default_value="",
            description="namespace before all node names, below one that an including launch file has "
            "pushed; with a leading slash not below it",
        ),
        DeclareLaunchArgument(
            "cameras",
            default_value="",
            description="names of cameras, separated by commas: for each the same nodes in a namespace of "
            "its name; empty: one camera, no namespace",
        ),
        *_camera_arguments(image_topic),
        DeclareLaunchArgument(
            "max_age_ms",
            default_value="",
            description="drop frames older than this, milliseconds; 0: never; empty: as params_file says",
        ),
        DeclareLaunchArgument(
            "threads",
            default_value="",
            description="threads inside one inference; 0: the runtime's choice; empty: as params_file says",
        ),
        DeclareLaunchArgument(
            "keep_when_busy",
            default_value="",
            choices=["", "newest", "ranked"],
            description="which frame waits while one is processed; ranked: nodes of different speed answer "
            "the same ones; empty: as params_file says",
        ),
        DeclareLaunchArgument(
            "every_nth",
            default_value="",
            description="answer one of so many frames, chosen by their stamps; needs camera_rate_hz; empty: "
            "as params_file says",
        ),
        DeclareLaunchArgument(
            "camera_rate_hz",
            default_value="",
            description="rate of the camera, for every_nth; empty: as params_file says",
        ),
        clock_argument(),
        DeclareLaunchArgument(
            "age_reference",
            default_value="",
            choices=["", "header_stamp", "publish_time"],
            description="time from which a frame's age is measured; empty: as params_file says",
        ),
        DeclareLaunchArgument(
            "log_level",
            default_value="",
            choices=["", "debug", "info", "warn", "error", "fatal"],
            description="least severe log lines that the nodes print; empty: info",
        ),
        _boolean("composed", "true: all nodes of a camera in one process, which receives each image once"),
        DeclareLaunchArgument(
            "fallback",
            default_value="",
            description="variant that answers frames on which the model fails, loaded beside it; baseline: "
            "the model's; empty: as params_file says",
        ),
        DeclareLaunchArgument(
            "frame_timeout_ms",
            default_value="",
            description="time after which the fallback answers a frame; empty: as params_file says",
        ),
        DeclareLaunchArgument(
            "hold_last_ms",
            default_value="",
            description="how long the last result stands in for frames that no model answers; empty: as "
            "params_file says",
        ),
        _boolean("respawn", "true: restart a node that ended unexpectedly, after half a second"),
        DeclareLaunchArgument(
            "process_watchdog_s",
            default_value="",
            description="seconds without a sign of life after which a node's process is ended from outside; "
            f"0: never; empty: as params_file says, else {RESPAWN_WATCHDOG_S:g} with respawn:=true",
        ),
    ]


def _camera_arguments(image_topic: str) -> list[DeclareLaunchArgument]:
    return [
        DeclareLaunchArgument(
            "image_topic",
            default_value=image_topic,
            description=("" if image_topic else "empty: the built-in road camera's; otherwise ")
            + f"the camera's raw topic, where {CAMERA_FIELD} stands for its name among cameras "
            f"({DEFAULT_CAMERA} where that is empty); its compressed images are expected one level below, "
            "on <image_topic>/compressed. A topic that ends so selects transport:=compressed. "
            "A name without a leading slash belongs to each node's own namespace",
        ),
        DeclareLaunchArgument(
            "transport",
            default_value="",
            choices=["", "raw", "compressed", "compressed_on_image"],
            description="raw or compressed images, or compressed ones on image_topic itself; "
            "empty: as image_topic and params_file say",
        ),
        DeclareLaunchArgument(
            "qos_reliability",
            default_value="",
            choices=["", "best_effort", "reliable"],
            description="reliability of the image subscriptions; empty: as params_file says",
        ),
        _boolean(
            "large_images",
            "true: room for raw images of several megabytes in the shared memory of Fast DDS, by its profile "
            "config/fastdds_large_images.xml; the camera's process needs the same",
        ),
        DeclareLaunchArgument(
            "odometry_topic",
            default_value="",
            description="the vehicle's odometry, for the planner; empty: odometry in its own namespace",
        ),
    ]


def player_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments of the bag playback."""
    return [
        DeclareLaunchArgument("bag", description="rosbag2 folder, .mcap, .db3 or video file; required"),
        DeclareLaunchArgument(
            "topic",
            default_value="",
            description="image topic of the recording; empty: the only one there is. The nodes "
            "subscribe to it under its own name unless image_topic names another",
        ),
        DeclareLaunchArgument("rate", default_value="1.0", description="recorded seconds per second"),
        _boolean("loop", "true: start again at the end; otherwise the launch ends with the recording"),
        DeclareLaunchArgument(
            "wait_s",
            default_value="30.0",
            description="seconds the player waits for all nodes to subscribe before it starts without "
            "those that cannot start; 0: without limit",
        ),
    ]


def fill_in_defaults(context: LaunchContext, arguments: Iterable[DeclareLaunchArgument]) -> None:
    """Give arguments that are empty their defaults; an empty image_topic keeps its meaning.

    A launch file that includes this one passes on an empty text; ``ros2 launch`` refuses ``name:=`` and takes
    ``name:="''"``, whose quotes are part of the value.
    """
    values = context.launch_configurations
    for argument in arguments:
        if values.get(argument.name) in _QUOTED_EMPTY:
            values[argument.name] = ""
        if argument.default_value is None or values.get(argument.name) or argument.name in _KEEPS_EMPTY:
            continue
        default = normalize_to_list_of_substitutions(argument.default_value)
        values[argument.name] = perform_substitutions(context, default)


def player_argument_names() -> set[str]:
    """Return the names of the arguments of replay.launch.py, which the file that it includes sees, too."""
    return {argument.name for argument in player_arguments()}
