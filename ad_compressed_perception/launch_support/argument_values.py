# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the texts of launch arguments mean; imports neither ROS nor launch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.resources import config_folder, models_folder
from ad_compressed_perception.core.task_names import DEFAULT_TASKS, MULTI_TASK, NO_NODE, RAW, TASK_NAMES
from ad_compressed_perception.core.yaml_file import read_yaml_mapping

COMPRESSED_SUFFIX = "/compressed"
CAMERA_FIELD = "{camera}"
"""Stands in image_topic for the name of a camera."""
DEFAULT_CAMERA = "camera"
"""The name of the camera where ``cameras`` names none."""
_MANIFEST = "model.yaml"
_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MEANINGS = {"true": True, "false": False, "": False}


def names_in(text: str) -> list[str]:
    """Return the entries of a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def parse_tasks(text: str) -> list[str]:
    """Return the tasks of a comma-separated list, in the order of the list; DEFAULT_TASKS where it is empty.

    Raises:
        AdcpError: one is unknown or listed twice.
    """
    names = names_in(text) or list(DEFAULT_TASKS)
    for name in names:
        if name not in TASK_NAMES:
            raise AdcpError(f"tasks:={text}: {name!r} is not one of {', '.join(TASK_NAMES)}")
    if len(set(names)) != len(names):
        raise AdcpError(f"tasks:={text}: name one or more of {', '.join(TASK_NAMES)}, each once")
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


def pushed_namespace(text: str, pushed: str) -> str:
    """Return a namespace below one that a launch file has pushed; as in ROS an absolute one is not."""
    return text if text.startswith("/") else f"{pushed.rstrip('/')}/{text}"


def parse_cameras(text: str) -> list[str]:
    """Return the cameras of a comma-separated list.

    Raises:
        AdcpError: one cannot be a part of a namespace or is listed twice.
    """
    names = names_in(text)
    wrong = [name for name in names if not _TOKEN.fullmatch(name)]
    if wrong or len(set(names)) != len(names):
        raise AdcpError(f"cameras:={text}: name each camera once, with letters, digits and underscores")
    return names


def of_camera(arguments: Mapping[str, str], camera: str, cameras: int) -> dict[str, str]:
    """Return the arguments of one camera's nodes: below its namespace, on its topic.

    Args:
        arguments: the launch's.
        camera: its name; empty for the only one, without a namespace.
        cameras: how many there are.

    Raises:
        AdcpError: all cameras would get the images of one topic.
    """
    topic = arguments["image_topic"]
    if cameras > 1 and topic.startswith("/") and CAMERA_FIELD not in topic:
        raise AdcpError(
            f"image_topic:={topic}: all cameras would get the same images; write {CAMERA_FIELD} in it where "
            "the camera's name belongs"
        )
    changed = {**arguments, "image_topic": topic.replace(CAMERA_FIELD, camera or DEFAULT_CAMERA)}
    if camera:
        changed["namespace"] = f"{arguments['namespace'].rstrip('/')}/{camera}"
    report = arguments.get("report_path", "")
    if report and cameras > 1:  # two monitors would replace each other's file
        path = Path(report)
        changed["report_path"] = str(path.with_name(f"{path.stem}_{camera}{path.suffix}"))
    return changed


def parse_bool(arguments: Mapping[str, str], name: str) -> bool:
    """Return whether an argument is "true"; False where it is empty.

    Raises:
        AdcpError: it is neither true nor false.
    """
    text = arguments.get(name, "")
    if text.lower() not in _MEANINGS:
        raise AdcpError(f"{name}:={text} is neither true nor false")
    return _MEANINGS[text.lower()]


def parse_number(arguments: Mapping[str, str], name: str) -> float:
    """Return an argument as a number; raise AdcpError where it is none."""
    try:
        return float(arguments[name])
    except ValueError:
        raise AdcpError(f"{name}:={arguments[name]} is not a number") from None


def parse_whole(arguments: Mapping[str, str], name: str) -> int:
    """Return an argument as a whole number; raise AdcpError where it is none."""
    try:
        return int(arguments[name])
    except ValueError:
        raise AdcpError(f"{name}:={arguments[name]} is not a whole number") from None


def find_model(model: str, models: str) -> Path:
    """Return the folder that a model argument names.

    A folder with a model.yaml (or that file) is taken as it is. A bare name is otherwise that of a model in
    the folder ``models``, then of one that ships with the package. What is not found is returned as given.
    """
    path = Path(model).expanduser()
    if (path / _MANIFEST).is_file() or path.is_file() or path.name != model:
        return path
    folders = [Path(models).expanduser(), models_folder(), config_folder("reference_models")]
    found = [folder / model for folder in folders if folder and (folder / model / _MANIFEST).is_file()]
    return found[0] if found else path


def task_of_model(model: Path) -> str:
    """Return the task that a model's manifest names; empty where it does not say, which its node will.

    Raises:
        AdcpError: a model that no node runs.
    """
    file = model / _MANIFEST if model.is_dir() else model
    try:
        read = read_yaml_mapping(file, "manifest", AdcpError, strict=False)
        task = read.get("task") or (MULTI_TASK if read.get("outputs") else None)
    except AdcpError:
        return ""
    if task == RAW:
        raise AdcpError(f"model:={model}: {NO_NODE}")
    return task if task in TASK_NAMES else ""
