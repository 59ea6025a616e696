# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The order of the rooms: a room imports only itself and rooms above it in the lists below."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FIRST, SECOND = "ad_compressed_perception", "ad_road_simulation"
# What runs on the car.
CAR = (
    *("core", "image", "metrics", "driving", "workspace", "packing", "data", "messages", "report"),
    *("pass_api", "onnx_graph", "monitor", "backends", "tasks", "nodes"),
)
# What runs at the desk.
DESK = ("analysis", "importing", "launch_support", "replay", "training", "compression", "cli")
SIMULATION = (
    *("world", "renderer", "recording", "model_training", "closed_loop"),
    *("nodes", "launch_support", "cli", "demo"),
)
ORDER = {FIRST: (*CAR, *DESK), SECOND: SIMULATION}
# Third-party modules that only some rooms import, lazily or not.
ONLY_IN = {
    "rclpy": {f"{FIRST}.nodes", f"{FIRST}.replay", f"{FIRST}.launch_support", f"{SECOND}.nodes"},
    "launch": {f"{FIRST}.launch_support", f"{SECOND}.launch_support"},
    "launch_ros": {f"{FIRST}.launch_support", f"{SECOND}.launch_support"},
    **{
        name: {*(f"{FIRST}.{room}" for room in DESK), *(f"{SECOND}.{room}" for room in SIMULATION)}
        for name in ("matplotlib", "torch", "typer")
    },
}
# Where an executable of the car begins.
CAR_MAINS = ("detection_node", "segmentation_node", "planning_node", "latency_monitor_node", "compose")
CAR_PLUGINS = (
    *("backends.onnxruntime_backend", "backends.openvino_backend"),
    *(f"tasks.decoders.{name}" for name in ("yolox", "argmax", "steering", "trajectory")),
)


@cache
def modules() -> dict[str, Path]:
    """Return dotted name and file of every module of both packages."""
    found = {}
    for package in ORDER:
        for path in (REPOSITORY / package).rglob("*.py"):
            name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


@cache
def imports(module: str) -> frozenset[str]:
    """Return what a module imports anywhere in it, lazily or for types only, as dotted names."""
    found = set()
    for node in ast.walk(ast.parse(modules()[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{module}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in modules() else node.module)
    return frozenset(found)


def own_imports(module: str) -> set[str]:
    return {name for name in imports(module) if name.split(".")[0] in ORDER}


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def test_every_room_is_in_the_order() -> None:
    for package, rooms in ORDER.items():
        folders = {path.parent.name for path in (REPOSITORY / package).glob("*/__init__.py")}
        assert folders == set(rooms)
        loose = {path.name for path in (REPOSITORY / package).glob("*.py")}
        assert loose <= {"__init__.py", "__main__.py", "api.py"}


def test_own_imports_exist() -> None:
    """Mypy does not check this: it ignores imports that it cannot find."""
    missing = {module: sorted(own_imports(module) - modules().keys()) for module in modules()}
    assert not {module: names for module, names in missing.items() if names}


def test_rooms_import_upwards_only() -> None:
    wrong = []
    for module in modules():
        package, *rest = module.split(".")
        for target in own_imports(module):
            other, *place = target.split(".")
            if other == package and rest and place:
                order = ORDER[package]
                if order.index(place[0]) > order.index(rest[0]):
                    wrong.append(f"{module} -> {target}")
            elif other != package and package == FIRST:
                wrong.append(f"{module} -> {target}")
    assert not wrong


def test_no_circles() -> None:
    """Depth-first search over all imports; packages' own ``__init__`` count as modules."""
    state: dict[str, int] = {}
    circles = []

    def visit(module: str, way: tuple[str, ...]) -> None:
        state[module] = 1
        for target in own_imports(module):
            if target == module or target not in modules():
                continue
            if state.get(target) == 1:
                circles.append(" -> ".join((*way[way.index(target) :], target)))
            elif target not in state:
                visit(target, (*way, target))
        state[module] = 2

    for module in modules():
        if module not in state:
            visit(module, (module,))
    assert not circles


@pytest.mark.parametrize("name", sorted(ONLY_IN))
def test_third_party_modules_stay_in_their_rooms(name: str) -> None:
    users = {module for module in modules() if any(one.split(".")[0] == name for one in imports(module))}
    assert not {module for module in users if room(module) not in ONLY_IN[name]}


def car_closure() -> set[str]:
    """Return the modules that the car's executables import, with the packages that hold them."""
    waiting = [f"{FIRST}.nodes.{name}" for name in CAR_MAINS] + [f"{FIRST}.{name}" for name in CAR_PLUGINS]
    found: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in found or module not in modules():
            continue
        found.add(module)
        waiting += own_imports(module)
        waiting.append(module.rpartition(".")[0])
    return found


def test_what_runs_on_the_car_stays_readable_in_a_day() -> None:
    """A limit of 9,500 lines; more than that needs a reason."""
    closure = car_closure()
    assert {room(module).partition(".")[2] for module in closure} <= {*CAR, ""}
    lines = sum(len(modules()[module].read_text("utf-8").splitlines()) for module in closure)
    assert lines <= 9_500


def test_importing_a_node_imports_nothing_of_the_desk() -> None:
    """A fresh interpreter, so that what other tests imported does not count."""
    import subprocess

    pytest.importorskip("rclpy")
    code = (
        f"import sys, {FIRST}.nodes.detection_node, {FIRST}.nodes.latency_monitor_node;"
        "print(*sorted(sys.modules))"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=REPOSITORY).split()
    desk = {f"{FIRST}.{name}" for name in DESK}
    assert not {name for name in printed if room(name) in desk or name in ("matplotlib", "torch", "typer")}


if __name__ == "__main__":
    found = car_closure()
    print(len(found), sum(len(modules()[one].read_text("utf-8").splitlines()) for one in found))
