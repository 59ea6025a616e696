# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which nodes a launch starts, with their names and parameters; imports neither ROS nor launch.

An empty launch argument is not passed on: the parameter file sets the value, or else the node's default
applies.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.tasks import TASKS

PACKAGE = "ad_compressed_perception"
MONITOR = "latency_monitor"
BASELINE, COMPRESSED = "baseline", "compressed"
_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COMPRESSED_SUFFIX = "/compressed"
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
    """

    executable: str
    full_name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()

    @property
    def namespace(self) -> str:
        """The namespace, "/" where there is none."""
        return self.full_name.rpartition("/")[0] or "/"

    @property
    def name(self) -> str:
        """The name without its namespace."""
        return self.full_name.rpartition("/")[2]


def parse_tasks(text: str) -> list[str]:
    """Return the tasks of a comma-separated list, in the order of the list.

    Raises:
        AdcpError: none is named, one is unknown or listed twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in TASKS:
            raise AdcpError(f"tasks:={text}: {name!r} is not one of {', '.join(TASKS)}")
    if not names or len(set(names)) != len(names):
        raise AdcpError(f"tasks:={text}: name one or more of {', '.join(TASKS)}, each once")
    return names


def parse_namespace(text: str) -> str:
    """Return a namespace with a leading slash, or "" for none.

    Raises:
        AdcpError: it is not a ROS namespace.
    """
    stripped = text.strip("/")
    if not stripped:
        return ""
    if not all(_TOKEN.fullmatch(token) for token in stripped.split("/")):
        raise AdcpError(
            f"namespace:={text}: only letters, digits and underscores between slashes, no digit first"
        )
    return f"/{stripped}"


def parse_bool(arguments: Mapping[str, str], name: str) -> bool:
    """Return whether an argument is "true"; False where it is empty."""
    return arguments.get(name, "").lower() == "true"


def parameter_overrides(
    arguments: Mapping[str, str], tasks: list[str], task: str, *, is_baseline: bool = False
) -> dict[str, Any]:
    """Return the parameters of a task's node by which the arguments override the parameter file.

    Raises:
        AdcpError: one model is named for several tasks.
    """
    model = arguments.get("model", "")
    if model and len(tasks) > 1:
        raise AdcpError(
            f"model:={model}: which of {', '.join(tasks)} is it for? Name one with tasks:=, "
            f"or use {task}_model:="
        )
    model = arguments.get(f"{task}_model", "") or model
    overrides: dict[str, Any] = {"model": str(Path(model).expanduser()) if model else ""}
    for name in ("variant", "backend"):
        if is_baseline:
            overrides[name] = arguments.get(f"baseline_{name}", "")
        else:
            overrides[name] = arguments.get(f"{task}_{name}", "") or arguments.get(name, "")
    overrides["age_reference"] = arguments.get("age_reference", "")
    overrides["transport"] = arguments.get("transport", "")
    if not overrides["transport"] and arguments.get("image_topic", "").endswith(_COMPRESSED_SUFFIX):
        overrides["transport"] = "compressed"
    overrides = {name: value for name, value in overrides.items() if value}
    if parse_bool(arguments, "allow_rejected"):
        overrides["allow_rejected"] = True
    return overrides | clock_of(arguments)


def clock_of(arguments: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameter that makes a node follow /clock, where the arguments request it."""
    return {"use_sim_time": True} if parse_bool(arguments, "use_sim_time") else {}


def perception_nodes(arguments: Mapping[str, str]) -> list[PlannedNode]:
    """Return one inference node for each task that ``tasks`` names.

    Raises:
        AdcpError: an argument has an invalid value; the message names it.
    """
    tasks = parse_tasks(arguments["tasks"])
    namespace = parse_namespace(arguments["namespace"])
    return [
        PlannedNode(f"{task}_node", f"{namespace}/{task}", parameter_overrides(arguments, tasks, task))
        for task in tasks
    ]


def compare_nodes(arguments: Mapping[str, str]) -> list[PlannedNode]:
    """Return a baseline and a compressed node for each task, and the monitor that compares them.

    Raises:
        AdcpError: an argument has an invalid value; the message names it.
    """
    tasks = parse_tasks(arguments["tasks"])
    namespace = parse_namespace(arguments["namespace"])
    nodes = []
    monitor_parameters: dict[str, Any] = {}
    for task in tasks:
        for side in (BASELINE, COMPRESSED):
            parameters = parameter_overrides(arguments, tasks, task, is_baseline=side == BASELINE)
            nodes.append(PlannedNode(f"{task}_node", f"{namespace}/{side}/{task}", parameters))
        monitor_parameters[f"{task}.baseline"] = f"{namespace}/{BASELINE}/{task}"
        monitor_parameters[f"{task}.compressed"] = [f"{namespace}/{COMPRESSED}/{task}"]
    report = arguments.get("report_path", "")
    if report:
        monitor_parameters["report_path"] = str(Path(report).expanduser().absolute())
    monitor = PlannedNode(
        f"{MONITOR}_node", f"{namespace}/{MONITOR}", monitor_parameters | clock_of(arguments)
    )
    return [*nodes, monitor]


def player_node(arguments: Mapping[str, str]) -> PlannedNode:
    """Return the player of a recording, which waits for all nodes of the comparison.

    Raises:
        AdcpError: an argument has an invalid value; the message names it.
    """
    listeners = 2 * len(parse_tasks(arguments["tasks"]))
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


def parse_number(arguments: Mapping[str, str], name: str) -> float:
    """Return an argument as a number; raise AdcpError where it is none."""
    try:
        return float(arguments[name])
    except ValueError:
        raise AdcpError(f"{name}:={arguments[name]} is not a number") from None


def composed(nodes: Sequence[PlannedNode]) -> PlannedNode:
    """Return the one process that runs all the nodes; remappings hold for all nodes of a process."""
    entries = [f"{node.executable}:{node.full_name}" for node in nodes]
    remappings = dict.fromkeys(rule for node in nodes for rule in node.remappings)
    return PlannedNode("compose", "/compose", {"nodes": entries}, tuple(remappings))


def camera_remappings(image_topic: str) -> list[tuple[str, str]]:
    """Return the remappings that connect ``image`` and ``image/compressed`` to a camera.

    ``image_topic`` is the raw image's topic or, with "/compressed" at its end, the compressed one's.
    Empty: no remapping, the nodes listen in their own namespace.
    """
    if not image_topic:
        return []
    raw = image_topic.removesuffix(_COMPRESSED_SUFFIX)
    return [("image", raw), ("image/compressed", raw + _COMPRESSED_SUFFIX)]


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
