# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The nodes of demo.launch.py: a road camera, baseline and compressed models on it, and the ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.launch_support.argument_values import (
    parse_namespace,
    parse_number,
    parse_whole,
)
from ad_compressed_perception.launch_support.plan import (
    BASELINE,
    COMPRESSED,
    MONITOR,
    PlannedNode,
    clock_of,
    compare_nodes,
    ground_truth_of,
    tasks_of,
)
from ad_road_simulation.launch_support.demo_faults import with_fault

CAMERA = "road_camera"
EXPERT = "expert"
DRIVERS = (EXPERT, BASELINE, COMPRESSED)
_GROUND_TRUTHS = {"detection": "detections", "segmentation": "mask", "planning": "trajectory"}


def demo_nodes(arguments: Mapping[str, str]) -> list[PlannedNode]:
    """Return the nodes of compare_nodes on the images of a road camera, followed by that camera.

    The monitor subscribes to the ground truth of every task. The car is driven by the planner of the side
    that ``drive`` names, or by the expert. ``fault`` names what is injected into the compressed side.

    Raises:
        AdcpError: an argument's value is invalid; the message names it.
    """
    tasks, driver = tasks_of(arguments), arguments["drive"]
    if driver != EXPERT and "planning" not in tasks:
        raise AdcpError(f"drive:={driver} needs planning among tasks:={arguments['tasks']}")
    if unknown := [task for task in tasks if task not in _GROUND_TRUTHS]:
        raise AdcpError(
            f"tasks:={unknown[0]}: the road camera has ground truth of {', '.join(_GROUND_TRUTHS)} only; use "
            "compare.launch.py on its images"
        )
    namespace = parse_namespace(arguments["namespace"])
    camera = f"{namespace}/{CAMERA}"
    image_remappings: tuple[tuple[str, str], ...] = ()
    if not arguments["image_topic"]:
        image_remappings = (("image", f"{camera}/image"), ("image/compressed", f"{camera}/image/compressed"))
    nodes = []
    for node in with_fault(compare_nodes(arguments), arguments):
        if node.name == MONITOR:
            ground_truths: dict[str, str] = {}
            for task in tasks:
                topic = f"{camera}/ground_truth/{_GROUND_TRUTHS[task]}"
                ground_truths |= ground_truth_of(task, topic)
            nodes.append(
                replace(node, parameters=ground_truths | node.parameters, remappings=image_remappings)
            )
        else:
            nodes.append(replace(node, remappings=(*image_remappings, ("odometry", f"{camera}/odometry"))))
    commands: tuple[tuple[str, str], ...] = ()
    if driver != EXPERT:
        commands = (("~/drive_command", f"{namespace}/{driver}/planning/command"),)
    return [*nodes, PlannedNode(f"{CAMERA}_node", camera, _camera_parameters(arguments), commands, True)]


def _camera_parameters(arguments: Mapping[str, str]) -> dict[str, Any]:
    """Return what the arguments set; the camera refuses what is out of its ranges, which ends the launch."""
    chosen: dict[str, Any] = {name: arguments[name] for name in ("weather", "transport") if arguments[name]}
    if arguments["seed"]:
        chosen["seed"] = parse_whole(arguments, "seed")
    if arguments["traffic"]:
        chosen["traffic"] = parse_number(arguments, "traffic")
    return {"drive": "expert" if arguments["drive"] == EXPERT else "command"} | chosen | clock_of(arguments)
