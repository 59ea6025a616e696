# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Launch actions that run planned nodes as processes."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.launch_context import LaunchContext
from launch.logging import get_logger, launch_config
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.yaml_file import read_yaml_mapping
from ad_compressed_perception.launch_support.arguments import argument_names
from ad_compressed_perception.launch_support.plan import (
    PACKAGE,
    PlannedNode,
    camera_remappings,
    composed,
    parse_bool,
    parse_tasks,
    write_parameters,
)

_RESPAWN_DELAY_S = 0.5  # a node that fails at once starts about once a second, its imports included


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
    plan: Callable[[dict[str, str]], list[PlannedNode]], arguments_of: Iterable[DeclareLaunchArgument] = ()
) -> OpaqueFunction:
    """Return an action that starts the nodes which ``plan`` makes of the launch's arguments.

    Args:
        plan: from the values of the arguments to the nodes.
        arguments_of: arguments that the launch file declares besides those of this package.
    """
    further = {argument.name for argument in arguments_of}

    def start(context: LaunchContext) -> list[Node]:
        _enable_interrupts()
        # The parameter file reads this one as $(var models), and no shell expands a tilde after := .
        models = context.launch_configurations["models"]
        context.launch_configurations["models"] = str(Path(models).expanduser())
        arguments = dict(context.launch_configurations)
        nodes = plan(arguments)
        _suggest_spelling(arguments, argument_names() | further)
        params_file = Path(arguments["params_file"]).expanduser()
        read_yaml_mapping(params_file, "params_file", AdcpError, strict=False)
        _check_models_folder(arguments, params_file)
        if parse_bool(arguments, "composed"):
            nodes = [composed(nodes), *nodes]
        parameters: list[Any] = [ParameterFile(str(params_file), allow_substs=True)]
        overrides = write_parameters(nodes, Path(launch_config.log_dir))
        if overrides is not None:
            parameters.append(str(overrides))
        common: dict[str, Any] = {
            "parameters": parameters,
            "remappings": camera_remappings(arguments["image_topic"]),
            "respawn": parse_bool(arguments, "respawn"),
        }
        if not common["respawn"]:
            common["on_exit"] = FailWhenAllExited(1 if parse_bool(arguments, "composed") else len(nodes))
        if parse_bool(arguments, "composed"):
            # No name: one given to the process would be that of every node in it.
            return [process(context, nodes[0], named=False, **common)]
        return [process(context, node, **common) for node in nodes]

    return OpaqueFunction(function=start)


def process(context: LaunchContext, node: PlannedNode, *, named: bool = True, **options: Any) -> Node:
    """Return the action that runs a node as a process, which ends with the launch.

    Args:
        context: of the launch.
        node: what to run.
        named: give the process's node its name and namespace.
        options: of launch_ros.actions.Node.
    """
    names = {"namespace": node.namespace, "name": node.name} if named else {}
    remappings = [*options.pop("remappings", ()), *node.remappings]
    return Node(
        package=PACKAGE,
        executable=node.executable,
        exec_name=node.full_name.strip("/"),
        output="both",
        respawn_delay=_RESPAWN_DELAY_S,
        remappings=remappings,
        **names,
        **_end_with_launch(context),
        **options,
    )


def _check_models_folder(arguments: dict[str, str], params_file: Path) -> None:
    # Otherwise each node would report it and exit, and nodes that need no model would keep running.
    tasks = parse_tasks(arguments["tasks"])
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
