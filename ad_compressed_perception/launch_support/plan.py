# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which nodes a launch starts, with their names and parameters; imports neither ROS nor launch.

An empty launch argument is not passed on: the parameter file sets the value, or else the node's default
applies.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.task_names import MULTI_TASK
from ad_compressed_perception.launch_support.argument_values import (
    COMPRESSED_SUFFIX,
    find_model,
    parse_bool,
    parse_namespace,
    parse_number,
    parse_tasks,
    parse_whole,
    task_of_model,
)

PACKAGE = "ad_compressed_perception"
MONITOR = "latency_monitor"
BASELINE, COMPRESSED = "baseline", "compressed"
RESPAWN_WATCHDOG_S = 10.0
"""process_watchdog_s of nodes that are started again."""
ODOMETRY_TASKS = {"planning", MULTI_TASK}
"""Tasks whose nodes subscribe to the odometry, as the monitor does: a head may plan."""
_RENAMED = {"truth_topic": "ground_truth_topic"}
# rcl merges the sections that match a node in the order in which their patterns first appear, over all
# files. A pattern that no user's file contains therefore comes last and overrides the others.
_OVERRIDE_PATTERN = "/**/**"


@dataclass(frozen=True)
class PlannedNode:
    """A node to start.

    Attributes:
        executable: console script of this package.
        full_name: namespace and name, such as "/compressed/detection".
        parameters: values that override the parameter file.
        remappings: (name, new name) of its topics.
        is_required: whether the others are of no use without it: its failure ends the launch.
    """

    executable: str
    full_name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    is_required: bool = False

    @property
    def namespace(self) -> str:
        """The namespace, "/" where there is none."""
        return self.full_name.rpartition("/")[0] or "/"

    @property
    def name(self) -> str:
        """The name without its namespace."""
        return self.full_name.rpartition("/")[2]


def tasks_of(arguments: Mapping[str, str]) -> list[str]:
    """Return the tasks of a launch: those of ``tasks``, else that of ``model``, else the default ones.

    Raises:
        AdcpError: an unknown task, or one model for several of them.
    """
    tasks, model = parse_tasks(arguments["tasks"]), arguments.get("model", "")
    if not model:
        return tasks
    if not arguments["tasks"]:
        folder = find_model(model, arguments.get("models", ""))
        if not folder.exists():
            raise AdcpError(
                f"model:={model}: there is no folder {folder}, and no model of this name in "
                f"{arguments.get('models', '')} or among those of the package"
            )
        task = task_of_model(folder)
        tasks = [task] if task else tasks
    if len(tasks) > 1:
        raise AdcpError(
            f"model:={model}: which of {', '.join(tasks)} is it for? Name one with tasks:=, "
            f"or use {tasks[0]}_model:="
        )
    return tasks


def parameter_overrides(
    arguments: Mapping[str, str], task: str, *, is_baseline: bool = False
) -> dict[str, Any]:
    """Return the parameters of a task's node by which the arguments override the parameter file.

    Raises:
        AdcpError: a number that is none.
    """
    model = arguments.get(f"{task}_model", "") or arguments.get("model", "")
    overrides: dict[str, Any] = {
        "model": str(find_model(model, arguments.get("models", ""))) if model else ""
    }
    for name in ("variant", "backend"):
        if is_baseline:
            overrides[name] = arguments.get(f"baseline_{name}", "")
        else:
            overrides[name] = arguments.get(f"{task}_{name}", "") or arguments.get(name, "")
    for name in ("age_reference", "transport", "qos_reliability", "keep_when_busy"):
        overrides[name] = arguments.get(name, "")
    if not overrides["transport"] and arguments.get("image_topic", "").endswith(COMPRESSED_SUFFIX):
        overrides["transport"] = "compressed"
    overrides = {name: value for name, value in overrides.items() if value}
    for name in ("max_age_ms", "camera_rate_hz", "process_watchdog_s"):
        if arguments.get(name, ""):
            overrides[name] = parse_number(arguments, name)
    overrides |= {} if is_baseline else _fallback(arguments)
    for name in ("threads", "every_nth"):
        if arguments.get(name, ""):
            overrides[name] = parse_whole(arguments, name)
    if parse_bool(arguments, "allow_rejected"):
        overrides["allow_rejected"] = True
    return overrides | clock_of(arguments)


def _fallback(arguments: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of what answers in the place of a model that fails."""
    numbers = [name for name in ("frame_timeout_ms", "hold_last_ms") if arguments.get(name, "")]
    found: dict[str, Any] = {name: parse_number(arguments, name) for name in numbers}
    variant = arguments.get("fallback", "")
    return {"fallback_variant": variant, **found} if variant else found


def clock_of(arguments: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameter that makes a node follow /clock, where the arguments request it."""
    return {"use_sim_time": True} if parse_bool(arguments, "use_sim_time") else {}


def perception_nodes(arguments: Mapping[str, str]) -> list[PlannedNode]:
    """Return one inference node for each task that ``tasks`` names, and with ``monitor`` their monitor.

    Raises:
        AdcpError: an argument has an invalid value; the message names it.
    """
    namespace = parse_namespace(arguments["namespace"])
    tasks = tasks_of(arguments)
    nodes = [
        PlannedNode(f"{task}_node", f"{namespace}/{task}", parameter_overrides(arguments, task))
        for task in tasks
    ]
    limits = _monitor_limits(arguments, tasks)
    if not parse_bool(arguments, "monitor"):
        unused = [name for name in limits if name != "odometry_topic" or not ODOMETRY_TASKS & {*tasks}]
        if unused:
            raise AdcpError(f"{unused[0]} is a parameter of the monitor: set monitor:=true, too")
        return nodes
    watched = {f"{task}.baseline": node.full_name for task, node in zip(tasks, nodes, strict=True)}
    return [*nodes, _monitor(namespace, watched | limits | clock_of(arguments))]


def compare_nodes(arguments: Mapping[str, str]) -> list[PlannedNode]:
    """Return a baseline and a compressed node for each task, and the monitor that compares them.

    Raises:
        AdcpError: an argument has an invalid value; the message names it.
    """
    namespace = parse_namespace(arguments["namespace"])
    tasks = tasks_of(arguments)
    nodes = []
    watched: dict[str, Any] = {}
    for task in tasks:
        for side in (BASELINE, COMPRESSED):
            parameters = parameter_overrides(arguments, task, is_baseline=side == BASELINE)
            nodes.append(PlannedNode(f"{task}_node", f"{namespace}/{side}/{task}", parameters))
        watched[f"{task}.baseline"] = f"{namespace}/{BASELINE}/{task}"
        watched[f"{task}.compressed"] = [f"{namespace}/{COMPRESSED}/{task}"]
    limits = _monitor_limits(arguments, tasks)
    return [*nodes, _monitor(namespace, watched | limits | clock_of(arguments))]


def _monitor(namespace: str, parameters: dict[str, Any]) -> PlannedNode:
    return PlannedNode(f"{MONITOR}_node", f"{namespace}/{MONITOR}", parameters)


def _monitor_limits(arguments: Mapping[str, str], tasks: Sequence[str]) -> dict[str, Any]:
    """Return the monitor's parameters that the arguments set: report, odometry, deadlines, ground truth."""
    found: dict[str, Any] = {}
    report = arguments.get("report_path", "")
    if report:
        found["report_path"] = str(Path(report).expanduser().absolute())
    if arguments.get("odometry_topic", ""):
        found["odometry_topic"] = arguments["odometry_topic"]
    general = arguments.get("ground_truth_topic", "")
    if general and len(tasks) > 1:
        raise AdcpError(
            f"ground_truth_topic:={general}: which of {', '.join(tasks)} is it of? "
            f"Use {tasks[0]}_ground_truth_topic:="
        )
    for task in tasks:
        name = f"{task}_deadline_ms" if arguments.get(f"{task}_deadline_ms", "") else "deadline_ms"
        if arguments.get(name, ""):
            found[f"{task}.deadline_ms"] = parse_number(arguments, name)
        topic = arguments.get(f"{task}_ground_truth_topic", "") or general
        if topic:
            found |= ground_truth_of(task, topic)
    return found


def ground_truth_of(task: str, topic: str) -> dict[str, str]:
    """Return the monitor's parameters of a task's ground truth.

    The launch decides, also where a parameter file still has the parameter's old name.
    """
    return {f"{task}.ground_truth_topic": topic, **{f"{task}.{old}": "" for old in _RENAMED}}


def player_node(arguments: Mapping[str, str]) -> PlannedNode:
    """Return the player of a recording, which waits for all nodes of the comparison.

    Raises:
        AdcpError: an argument has an invalid value; the message names it.
    """
    listeners = 2 * len(tasks_of(arguments))
    parameters = {
        "bag": str(Path(arguments["bag"]).expanduser().absolute()),
        "topic": arguments["topic"],
        "rate": parse_number(arguments, "rate"),
        "loop": parse_bool(arguments, "loop"),
        "publish_clock": parse_bool(arguments, "use_sim_time"),
        "wait_for_subscribers": listeners,
        "wait_timeout_s": parse_number(arguments, "wait_s"),
    }
    return PlannedNode("bag_player", f"{parse_namespace(arguments['namespace'])}/bag_player", parameters)


def composed(nodes: Sequence[PlannedNode]) -> PlannedNode:
    """Return the one process that runs all the nodes; remappings hold for all nodes of a process."""
    entries = [f"{node.executable}:{node.full_name}" for node in nodes]
    remappings = dict.fromkeys(rule for node in nodes for rule in node.remappings)
    return PlannedNode("compose", "/compose", {"nodes": entries}, tuple(remappings))


def with_camera(nodes: Iterable[PlannedNode], arguments: Mapping[str, str]) -> list[PlannedNode]:
    """Return nodes whose topics ``image`` and ``odometry`` are those that the arguments name."""
    rules = camera_remappings(arguments["image_topic"])
    if arguments.get("odometry_topic", ""):
        rules.append(("odometry", arguments["odometry_topic"]))
    return [
        replace(node, remappings=(*rules, *(rule for rule in node.remappings if rule[0] not in dict(rules))))
        for node in nodes
    ]


def camera_remappings(image_topic: str) -> list[tuple[str, str]]:
    """Return the remappings that connect ``image`` and ``image/compressed`` to a camera.

    ``image_topic`` is the raw image's topic or, with "/compressed" at its end, the compressed one's.
    Empty: no remapping, the nodes listen in their own namespace.
    """
    if not image_topic:
        return []
    raw = image_topic.removesuffix(COMPRESSED_SUFFIX)
    return [("image", raw), ("image/compressed", raw + COMPRESSED_SUFFIX)]


def write_parameters(nodes: Iterable[PlannedNode], folder: Path) -> Path | None:
    """Write the parameter overrides as a parameter file to be passed after the user's one.

    Args:
        nodes: all nodes of the launch.
        folder: where the file goes, such as the folder of the launch's logs.

    Returns:
        The file's path, or None without overrides.
    """
    content = {
        _OVERRIDE_PATTERN + node.full_name: {"ros__parameters": node.parameters}
        for node in nodes
        if node.parameters
    }
    if not content:
        return None
    handle, path = tempfile.mkstemp(dir=folder, prefix="launch_arguments_", suffix=".yaml")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        yaml.safe_dump(content, stream, sort_keys=False)
    return Path(path)
