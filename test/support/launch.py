# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluates launch files where ROS 2's launch is not installed, with stub classes that record their use.

The stubs behave as launch documents it for the few classes that the launch files use: arguments get
their values and OpaqueFunctions are called, but no process is started.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = "ad_compressed_perception"
# Modules that import launch: imported again with the stubs, and without them afterwards.
_LAUNCH_MODULES = (
    "ad_compressed_perception.launch_support.actions",
    "ad_compressed_perception.launch_support.arguments",
    "ad_compressed_perception.launch_support.bag_playback",
    "ad_road_simulation.launch_support.arguments",
)


@dataclass
class Recording:
    """What a launch file requested.

    Attributes:
        declared: the arguments, by name.
        values: their final values.
        processes: keyword arguments of every launch_ros Node.
        included: launch files that were included.
        packages: packages whose share folder was requested.
        environment: variables that were set for the processes after it.
    """

    declared: dict[str, Any] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    processes: list[dict[str, Any]] = field(default_factory=list)
    included: list[Path] = field(default_factory=list)
    packages: set[str] = field(default_factory=set)
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class _Context:
    launch_configurations: dict[str, str]
    recording: Recording
    is_shutdown: bool = False


@dataclass
class _Entity:
    args: tuple[Any, ...]
    options: dict[str, Any]

    @property
    def name(self) -> Any:
        return self.args[0]

    @property
    def default_value(self) -> Any:
        return self.options.get("default_value")


def _stub(name: str) -> Callable[..., _Entity]:
    def make(self: Any, *args: Any, **options: Any) -> None:
        _Entity.__init__(self, args, options)

    return type(name, (_Entity,), {"__init__": make})


_STUBS = {
    "launch": ("LaunchDescription",),
    "launch.actions": (
        "DeclareLaunchArgument",
        "GroupAction",
        "IncludeLaunchDescription",
        "OpaqueFunction",
        "SetEnvironmentVariable",
        "Shutdown",
        "TimerAction",
        "UnsetLaunchConfiguration",
    ),
    "launch.launch_context": ("LaunchContext",),
    "launch.launch_description_sources": ("PythonLaunchDescriptionSource",),
    "launch_ros.actions": ("Node",),
    "launch_ros.parameter_descriptions": ("ParameterFile",),
    "launch_ros.substitutions": ("ExecutableInPackage", "FindPackageShare"),
}


def _install(patch: pytest.MonkeyPatch, log_folder: Path) -> None:
    for name in (*_STUBS, "launch.logging", "launch.utilities", "launch_ros"):
        module = ModuleType(name)
        for stub in _STUBS.get(name, ()):
            setattr(module, stub, _stub(stub))
        patch.setitem(sys.modules, name, module)
    log: Any = sys.modules["launch.logging"]
    log.launch_config = type("LaunchConfig", (), {"log_dir": str(log_folder)})()
    log.get_logger = _logger
    utilities: Any = sys.modules["launch.utilities"]
    utilities.normalize_to_list_of_substitutions = lambda value: value if type(value) is list else [value]
    utilities.perform_substitutions = lambda context, value: _text(value, context.recording)
    substitutions: Any = sys.modules["launch_ros.substitutions"]
    substitutions.ExecutableInPackage.perform = lambda self, _: str(_script(self.options, log_folder))
    for name in _LAUNCH_MODULES:
        patch.delitem(sys.modules, name, raising=False)


def _logger(name: str) -> logging.Logger:
    # Where a test has imported the real launch, the loggers made since do not propagate, so that pytest
    # would not see their warnings.
    logger = logging.getLogger(f"recorded.{name}")
    logger.propagate = True
    return logger


def _script(executable: dict[str, str], folder: Path) -> Path:
    """Return a file that runs an executable of the package as the installed one does."""
    path = folder / executable["executable"]
    module = f"{executable['package']}.nodes.{executable['executable']}"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
    os.chmod(path, 0o755)
    return path


def record(path: Path, log_folder: Path, **given: str) -> Recording:
    """Evaluate a launch file as ``ros2 launch`` would, with the given arguments.

    Args:
        path: the launch file.
        log_folder: used as the folder of the launch's logs.
        given: values of launch arguments.

    Raises:
        ValueError: an argument without default is not given, or a value is not among the choices.
    """
    recording = Recording(values=dict(given))
    with pytest.MonkeyPatch.context() as patch:
        _install(patch, log_folder)
        try:
            _visit(_load(path), recording)
        finally:
            for name in _LAUNCH_MODULES:
                sys.modules.pop(name, None)
    return recording


def _load(path: Path) -> Any:
    spec = spec_from_file_location(path.name.replace(".", "_"), path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def _visit(entity: Any, recording: Recording) -> None:
    name = type(entity).__name__
    if name == "LaunchDescription":
        _visit_all(entity.args[0], recording)
    elif name == "DeclareLaunchArgument":
        _declare(entity.args[0], entity.options, recording)
    elif name == "OpaqueFunction":
        context = _Context(recording.values, recording)
        _visit_all(entity.options["function"](context) or [], recording)
    elif name == "IncludeLaunchDescription":
        path = Path(entity.args[0].args[0])
        recording.included.append(path)
        _visit(_load(path), recording)
    elif name == "GroupAction":
        _visit_all(entity.args[0], recording)
    elif name == "UnsetLaunchConfiguration":
        pass  # as for a process without a pushed namespace
    elif name == "SetEnvironmentVariable":
        assert not recording.processes, "a process that is started before does not have it"
        recording.environment[entity.args[0]] = entity.args[1]
    elif name == "Node":
        recording.processes.append(entity.options)
    else:
        raise TypeError(f"no stub for {name}")


def _visit_all(entities: Iterable[Any], recording: Recording) -> None:
    for entity in entities:
        _visit(entity, recording)


def _declare(name: str, options: dict[str, Any], recording: Recording) -> None:
    recording.declared.setdefault(name, options)
    if name not in recording.values:
        if options.get("default_value") is None:
            raise ValueError(f"required launch argument {name!r} was not provided")
        recording.values[name] = _text(options["default_value"], recording)
    choices = options.get("choices")
    if choices is not None and recording.values[name] not in choices:
        raise ValueError(f"argument {name!r}: {recording.values[name]!r} is not one of {choices}")


def _text(value: Any, recording: Recording) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_text(part, recording) for part in value)
    assert type(value).__name__ == "FindPackageShare"
    recording.packages.add(value.args[0])
    # What is installed to share/PACKAGE has the same folders as the repository.
    return str(REPOSITORY)
