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
    *("core", "image", "metrics", "driving", "drift", "workspace", "packing", "data", "messages", "report"),
    *("pass_api", "onnx_graph", "monitor", "backends", "tasks", "serving", "nodes"),
)
# What runs on the development host.
HOST = (
    *("analysis", "importing", "launch_support", "replay", "training", "compression", "targets"),
    *("watch", "cli"),
)
SIMULATION = (
    *("faults", "world", "renderer", "recording", "model_training", "closed_loop"),
    *("nodes", "launch_support", "cli", "demo"),
)
ORDER = {FIRST: (*CAR, *HOST), SECOND: SIMULATION}
# Third-party modules that only some rooms import, lazily or not.
ONLY_IN = {
    "rclpy": {
        *(f"{FIRST}.{room}" for room in ("nodes", "replay", "launch_support", "watch")),
        f"{SECOND}.nodes",
    },
    "launch": {f"{FIRST}.launch_support", f"{SECOND}.launch_support"},
    "launch_ros": {f"{FIRST}.launch_support", f"{SECOND}.launch_support"},
    "av": {f"{FIRST}.image"},
    **{
        name: {*(f"{FIRST}.{room}" for room in HOST), *(f"{SECOND}.{room}" for room in SIMULATION)}
        for name in ("matplotlib", "mpl_toolkits", "pylab", "torch_pruning", "typer", "rich")
    },
    # Of the car's rooms only the backends that run such programs.
    "torch": {
        *(f"{FIRST}.{room}" for room in (*HOST, "backends")),
        *(f"{SECOND}.{room}" for room in SIMULATION),
    },
    **{
        name: {*(f"{FIRST}.{room}" for room in ("messages", "nodes", "replay", "watch")), f"{SECOND}.nodes"}
        for name in (
            *("builtin_interfaces", "diagnostic_msgs", "geometry_msgs", "lifecycle_msgs", "nav_msgs"),
            *("rcl_interfaces", "rosgraph_msgs", "sensor_msgs", "std_msgs", "std_srvs", "vision_msgs"),
        )
    },
}
# Tables that name modules in strings on purpose: plug-ins are found by group, old paths by name.
STRING_TABLES = {f"{FIRST}.core.registry"}
LOADERS = {"import_module", "__import__"}
# Where an executable of the car begins.
CAR_MAINS = (
    *("detection_node", "segmentation_node", "planning_node", "classification_node"),
    "multi_task_node",
    *("latency_monitor_node", "compose"),
)
MONITOR = "latency_monitor_node"
# Runtimes, and the decoders of the shipped models; a car imports the one decoder that its model needs.
CAR_PLUGINS = (
    *("backends.onnxruntime_backend", "backends.openvino_backend"),
    *(f"tasks.decoders.{name}" for name in ("yolox", "argmax", "trajectory")),
)
DECODERS = (
    *("yolox", "yolo", "end_to_end", "detr", "ssd", "nanodet", "centernet", "grid"),
    *("argmax", "sigmoid", "steering", "trajectory", "waypoints", "controls", "classes"),
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
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{module}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in modules() else node.module)
        elif (
            isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in LOADERS
        ):
            found |= {
                arg.value for arg in node.args if isinstance(arg, ast.Constant) and type(arg.value) is str
            }
    return frozenset(found)


@cache
def plugins(module: str) -> frozenset[str]:
    """Return the modules that a module names in strings such as ``module:class``."""
    if module in STRING_TABLES:
        return frozenset()
    texts = {
        node.value.partition(":")[0]
        for node in ast.walk(ast.parse(modules()[module].read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return frozenset(text for text in texts if text in modules() and text.count(".") > 1)


def own_imports(module: str) -> set[str]:
    return {name for name in imports(module) if name.split(".")[0] in ORDER}


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def rank(module: str) -> int:
    """Return a module's place in its package's order; the package itself and api.py may import anything."""
    package, *rest = module.split(".")
    rooms = ORDER[package]
    return rooms.index(rest[0]) if rest and rest[0] in rooms else len(rooms)


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
        for target in own_imports(module) | plugins(module):
            package, other = module.split(".")[0], target.split(".")[0]
            if (
                package == other
                and target.count(".")
                and rank(target) > rank(module)
                or package == FIRST
                and other == SECOND
            ):
                wrong.append(f"{module} -> {target}")
    assert not wrong


@pytest.mark.parametrize(
    ("source", "imported"),
    [
        ("import ad_compressed_perception.cli.main", "ad_compressed_perception.cli.main"),
        ("from ad_compressed_perception.cli import main", "ad_compressed_perception.cli.main"),
        ("from ad_compressed_perception import cli", "ad_compressed_perception.cli"),
        ("import_module('ad_compressed_perception.cli.main')", "ad_compressed_perception.cli.main"),
        ("importlib.import_module('torch')", "torch"),
        ("PLUGINS = {'x': 'ad_road_simulation.cli.camera:camera'}", "ad_road_simulation.cli.camera"),
        ("if TYPE_CHECKING:\n    from matplotlib import figure", "matplotlib"),
    ],
)
def test_imports_of_every_form_are_seen(
    source: str, imported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "probe.py"
    file.write_text(source)
    monkeypatch.setitem(modules(), f"{FIRST}.core.probe", file)
    imports.cache_clear()
    plugins.cache_clear()
    assert imported in imports(f"{FIRST}.core.probe") | plugins(f"{FIRST}.core.probe")
    imports.cache_clear()
    plugins.cache_clear()


def test_relative_imports_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "probe.py"
    file.write_text("from .. import cli")
    monkeypatch.setitem(modules(), f"{FIRST}.core.probe", file)
    imports.cache_clear()
    with pytest.raises(AssertionError, match="relative import"):
        imports(f"{FIRST}.core.probe")
    imports.cache_clear()


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


def car_closure(mains: tuple[str, ...] = CAR_MAINS, plugins: tuple[str, ...] = CAR_PLUGINS) -> set[str]:
    """Return the modules that the car's executables import, with the packages that hold them."""
    waiting = [f"{FIRST}.nodes.{name}" for name in mains] + [f"{FIRST}.{name}" for name in plugins]
    found: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in found or module not in modules():
            continue
        found.add(module)
        waiting += own_imports(module)
        waiting.append(module.rpartition(".")[0])
    return found


def lines_of(closure: set[str]) -> int:
    return sum(len(modules()[module].read_text("utf-8").splitlines()) for module in closure)


# Inference itself, and what checks it: watchdog, output contract, signatures; images of all kinds of cameras.
# Swap, guard, shadow and drift are 10,100 of these lines, with the agreement shared with the monitor.
INFERENCE_LINES = 29_000
# What the monitor adds: pairing, windows, alarms, topics of figures, images side by side.
MONITOR_LINES = 5_000
# What all further decoders add; each is read by those whose models need it.
DECODER_LINES = 2_450


@pytest.mark.parametrize(
    ("mains", "limit"),
    [
        (tuple(name for name in CAR_MAINS if name != MONITOR), INFERENCE_LINES),
        (CAR_MAINS, INFERENCE_LINES + MONITOR_LINES),
    ],
    ids=["inference", "with-monitor"],
)
def test_what_runs_on_the_car_stays_readable(mains: tuple[str, ...], limit: int) -> None:
    closure = car_closure(mains)
    assert {room(module).partition(".")[2] for module in closure} <= {*CAR, ""}
    assert lines_of(closure) <= limit


def test_decoders_stay_readable() -> None:
    every = tuple(f"tasks.decoders.{name}" for name in DECODERS)
    assert lines_of(car_closure(plugins=(*CAR_PLUGINS, *every)) - car_closure()) <= DECODER_LINES


def test_importing_a_node_imports_nothing_of_the_development_host() -> None:
    """A fresh interpreter, so that what other tests imported does not count."""
    import subprocess

    pytest.importorskip("rclpy")
    code = (
        f"import sys, {FIRST}.nodes.detection_node, {FIRST}.nodes.latency_monitor_node;"
        "print(*sorted(sys.modules))"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=REPOSITORY).split()
    host = {f"{FIRST}.{name}" for name in HOST}
    assert not {name for name in printed if room(name) in host or name in ("matplotlib", "torch", "typer")}


if __name__ == "__main__":
    inference = car_closure(tuple(name for name in CAR_MAINS if name != MONITOR))
    print(f"inference {lines_of(inference)}, with the monitor {lines_of(car_closure())} lines")
