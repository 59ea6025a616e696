# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Launch actions that run planned nodes as processes."""

from __future__ import annotations

import re
import shutil
import signal
import threading
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, GroupAction, OpaqueFunction, UnsetLaunchConfiguration
from launch.launch_context import LaunchContext
from launch.logging import get_logger, launch_config
from launch.utilities import perform_substitutions
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile
from launch_ros.substitutions import FindPackageShare

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.task_names import TASK_NAMES
from ad_compressed_perception.core.yaml_file import read_yaml_mapping
from ad_compressed_perception.launch_support.argument_values import (
    of_camera,
    parse_bool,
    parse_cameras,
    pushed_namespace,
)
from ad_compressed_perception.launch_support.arguments import fill_in_defaults, player_argument_names
from ad_compressed_perception.launch_support.one_session import nodes_of_one_session
from ad_compressed_perception.launch_support.plan import (
    PACKAGE,
    RESPAWN_WATCHDOG_S,
    PlannedNode,
    composed,
    tasks_of,
    with_camera,
    write_parameters,
)

LARGE_IMAGES_PROFILE = "config/fastdds_large_images.xml"
"""In the package's share folder."""
_RESPAWN_DELAY_S = 0.5  # a node that fails at once starts about once a second, its imports included
_OTHERS = {"ros_namespace"}
"""What launch_ros keeps among the arguments."""


class FailWhenAllExited:
    """Exit handler that ends the launch with status 1 when no node is left and one of them failed.

    While another node runs, only the monitor and the log report the end of one.
    """

    def __init__(self, processes: int) -> None:
        """Expect the exits of ``processes`` processes."""
        self._left = processes
        self._failed = False

    def __call__(self, event: Any, context: LaunchContext) -> None:
        """Count a process's exit; raise AdcpError at the last one if any failed."""
        if context.is_shutdown:
            return
        self._left -= 1
        self._failed |= event.returncode != 0
        if self._left == 0 and self._failed:
            raise AdcpError("no node is left running; see their output above")


def start_nodes(
    plan: Callable[[dict[str, str]], list[PlannedNode]], declared: Sequence[DeclareLaunchArgument]
) -> OpaqueFunction:
    """Return an action that starts the nodes which ``plan`` makes of the launch's arguments.

    Args:
        plan: from the values of the arguments to the nodes of one camera.
        declared: the arguments that the launch file declares.
    """

    def start(context: LaunchContext) -> list[Any]:
        _enable_interrupts()
        values = context.launch_configurations
        _suggest_spelling(
            values, {argument.name for argument in declared} | _OTHERS | player_argument_names()
        )
        fill_in_defaults(context, declared)
        # The parameter file reads this one as $(var models), and no shell expands a tilde after := .
        values["models"] = str(Path(values["models"]).expanduser())
        arguments = dict(values)
        arguments["namespace"] = pushed_namespace(values["namespace"], values.get("ros_namespace", ""))
        if parse_bool(arguments, "respawn"):
            _let_hanging_processes_end(arguments)
        cameras = parse_cameras(arguments["cameras"])
        if parse_bool(arguments, "one_session"):
            return _processes(context, arguments, [nodes_of_one_session(plan, arguments, cameras)])
        sets = []
        for camera in cameras or [""]:
            of_one = of_camera(arguments, camera, len(cameras))
            sets.append(with_camera(plan(of_one), of_one))
        return _processes(context, arguments, sets)

    return OpaqueFunction(function=start)


def _processes(
    context: LaunchContext, arguments: dict[str, str], sets: Sequence[Sequence[PlannedNode]]
) -> list[Any]:
    """Return the actions that run the nodes of each camera."""
    params_file = Path(arguments["params_file"]).expanduser()
    read_yaml_mapping(params_file, "params_file", AdcpError, strict=False)
    _check_models_folder(arguments, params_file)
    _name_unused(arguments, tasks_of(arguments))
    is_composed = parse_bool(arguments, "composed")
    planned = [node for nodes in sets for node in ([composed(nodes)] if is_composed else nodes)]
    common: dict[str, Any] = {
        "respawn": parse_bool(arguments, "respawn"),
        **surroundings(context, arguments),
    }
    on_exit = None if common["respawn"] else FailWhenAllExited(sum(not node.is_required for node in planned))
    actions: list[Any] = []
    for nodes in sets:
        parameters: list[Any] = [ParameterFile(str(params_file), allow_substs=True)]
        overrides = write_parameters([composed(nodes), *nodes] if is_composed else nodes, _log_folder())
        if overrides is not None:
            parameters.append(str(overrides))
        for node in [composed(nodes)] if is_composed else nodes:
            if on_exit is not None:
                common["on_exit"] = _fail_without(node) if node.is_required else on_exit
            # No name for a composed process: one given to it would be that of every node in it.
            action = process(context, node, named=not is_composed, parameters=parameters, **common)
            actions.append(_without_pushed_namespace(action) if is_composed else action)
    return actions


def _let_hanging_processes_end(arguments: dict[str, str]) -> None:
    # Only what is started again gains by its end; a parameter file that names the limit has it.
    name, params_file = "process_watchdog_s", Path(arguments["params_file"]).expanduser()
    text = params_file.read_text(encoding="utf-8", errors="replace") if params_file.is_file() else ""
    if not arguments.get(name) and not re.search(rf"(?m)^[^#\n]*\b{name}\b", text):
        arguments[name] = str(RESPAWN_WATCHDOG_S)


def _log_folder() -> Path:
    return Path(launch_config.log_dir)


def surroundings(context: LaunchContext, arguments: dict[str, str]) -> dict[str, Any]:
    """Return what all processes of a launch have in common, as options of launch_ros.actions.Node.

    The profile of Fast DDS has one name before and one since its version 3.
    """
    level = arguments["log_level"]
    environment = {}
    if parse_bool(arguments, "large_images"):
        share = perform_substitutions(context, [FindPackageShare(PACKAGE)])
        names = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
        environment = dict.fromkeys(names, f"{share}/{LARGE_IMAGES_PROFILE}")
    return {"ros_arguments": ["--log-level", level] if level else [], "additional_env": environment}


def _without_pushed_namespace(action: Node) -> GroupAction:
    # The process's nodes have full names, which a namespace given to the process would replace.
    return GroupAction([UnsetLaunchConfiguration("ros_namespace"), action])


def _fail_without(node: PlannedNode) -> Callable[[Any, LaunchContext], None]:
    def fail(event: Any, context: LaunchContext) -> None:
        if event.returncode and not context.is_shutdown:
            raise AdcpError(f"{node.name} failed with status {event.returncode}; see its output above")

    return fail


def process(context: LaunchContext, node: PlannedNode, *, named: bool = True, **options: Any) -> Node:
    """Return the action that runs a node as a process, which ends with the launch.

    Args:
        context: of the launch.
        node: what to run.
        named: give the process's node its name and namespace.
        options: of launch_ros.actions.Node.
    """
    names = {"namespace": node.namespace, "name": node.name} if named else {}
    return Node(
        package=PACKAGE,
        executable=node.executable,
        exec_name=node.full_name.strip("/"),
        output="both",
        respawn_delay=_RESPAWN_DELAY_S,
        remappings=list(node.remappings),
        **names,
        **_end_with_launch(context),
        **options,
    )


def _check_models_folder(arguments: dict[str, str], params_file: Path) -> None:
    # Otherwise each node would report it and exit, and nodes that need no model would keep running.
    tasks = tasks_of(arguments)
    named = arguments["model"] or all(arguments[f"{task}_model"] for task in tasks)
    if named or "$(var models)" not in params_file.read_text(encoding="utf-8"):
        return
    if not Path(arguments["models"]).is_dir():
        raise AdcpError(f"models:={arguments['models']}: there is no such folder")


def _suggest_spelling(arguments: dict[str, str], known: set[str]) -> None:
    # Launch accepts any name, and a file that includes this one may have more; but a name that is
    # nearly one of these was most likely meant to be it.
    for name in arguments.keys() - known:
        for meant in get_close_matches(name, known, n=1, cutoff=0.8):
            get_logger("launch").warning(f"launch argument {name!r} is unknown; did you mean {meant!r}?")


def _name_unused(arguments: dict[str, str], tasks: Sequence[str]) -> None:
    # Not refused: a file that includes this one may pass on the same arguments whatever it runs.
    for name, value in arguments.items():
        task = next((each for each in TASK_NAMES if name.startswith(f"{each}_")), None)
        if value and task is not None and task not in tasks:
            get_logger("launch").warning(
                f"{name}:={value} has no effect: this launch runs {', '.join(tasks)}"
            )


def _enable_interrupts() -> None:
    # A shell script starts its background jobs with SIGINT ignored; a launch needs it to end.
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    if ignored and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end_with_launch(context: LaunchContext) -> dict[str, Sequence[str]]:
    # A launch that gets SIGTERM or SIGKILL does not stop its processes: with setpriv the kernel signals
    # them. A launch prefix that the user set, such as a debugger, has precedence.
    setpriv = shutil.which("setpriv")
    if setpriv is None or context.launch_configurations.get("launch-prefix"):
        return {}
    return {"prefix": [f"{setpriv} --pdeathsig TERM"]}
