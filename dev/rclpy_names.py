# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Print test/project/rclpy_names.yaml from the rclpy of each distribution, which lie on this machine.

    python dev/rclpy_names.py humble=FOLDER jazzy=FOLDER kilted=FOLDER rolling=FOLDER

A FOLDER is the Python package rclpy of a distribution: rclpy/rclpy in a checkout of its branch, or
site-packages/rclpy of its installation. Names are read from the syntax trees; nothing is imported.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DISTRIBUTIONS = ("humble", "jazzy", "kilted", "rolling")
MODULES = (
    "",
    "callback_groups",
    "clock",
    "context",
    "duration",
    "event_handler",
    "exceptions",
    "executors",
    "experimental.events_executor",
    "guard_condition",
    "impl.implementation_singleton",
    "lifecycle",
    "logging",
    "node",
    "parameter",
    "publisher",
    "qos",
    "qos_event",
    "serialization",
    "signals",
    "subscription",
    "task",
    "time",
    "timer",
    "utilities",
    "waitable",
)
# Their own interface is partly what they import from elsewhere in rclpy.
REEXPORTING = ("", "clock", "lifecycle", "logging")
# Modules with the classes whose objects a node handles.
CLASSES = {
    "client": ("Client",),
    "clock": ("Clock",),
    "context": ("Context",),
    "executors": ("Executor", "SingleThreadedExecutor"),
    "impl.rcutils_logger": ("RcutilsLogger",),
    "lifecycle.node": ("LifecycleNodeMixin", "LifecycleNode"),
    "node": ("Node",),
    "parameter": ("Parameter",),
    "publisher": ("Publisher",),
    "qos": ("QoSProfile",),
    "service": ("Service",),
    "subscription": ("Subscription",),
    "time": ("Time",),
    "timer": ("Timer",),
}


def read(folder: Path, module: str) -> ast.Module:
    """Return the syntax tree of a module; an empty one where it does not exist."""
    place = folder.joinpath(*module.split("."))
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return ast.parse(path.read_text("utf-8"))
    return ast.Module([], [])


def names_in(tree: ast.Module, *, reexports: bool) -> Iterator[str]:
    """Yield the names that a module defines; with ``reexports`` those too that it imports from rclpy."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.ImportFrom) and reexports:
            if node.level or str(node.module).startswith("rclpy."):
                yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign):
            yield from (each.id for each in node.targets if isinstance(each, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def members_of(body: ast.ClassDef) -> Iterator[str]:
    """Yield a class's members, and ``method(argument)`` for each argument of each method."""
    for node in body.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
            yield from (f"{node.name}({each.arg})" for each in [*node.args.args[1:], *node.args.kwonlyargs])
        elif isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (each.id for each in node.targets if isinstance(each, ast.Name))
    for inner in ast.walk(body):
        if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
            yield from [inner.attr] if ast.unparse(inner.value) == "self" else []


def modules_table(found: dict[str, list[str]]) -> dict[str, Any]:
    """Return the public names that every distribution has, and where each of the others is."""
    public = {name: where for name, where in sorted(found.items()) if not name.startswith("_")}
    return {
        "everywhere": [name for name, where in public.items() if len(where) == len(DISTRIBUTIONS)],
        **{name: where for name, where in public.items() if len(where) < len(DISTRIBUTIONS)},
    }


def members_table(found: dict[str, list[str]]) -> dict[str, Any]:
    """Return the members that not every distribution has; their arguments are not listed again."""
    differing = {name: where for name, where in sorted(found.items()) if len(where) < len(DISTRIBUTIONS)}
    return {
        name: where
        for name, where in differing.items()
        if not name.startswith("__") and ("(" not in name or name.partition("(")[0] not in differing)
    }


def main(*arguments: str) -> None:
    """Print the table."""
    folders = {name: Path(text) for name, _, text in (each.partition("=") for each in arguments)}
    modules: dict[str, dict[str, list[str]]] = {module: defaultdict(list) for module in MODULES}
    members: dict[str, dict[str, list[str]]] = {
        classes[-1]: defaultdict(list) for classes in CLASSES.values()
    }
    for distribution in DISTRIBUTIONS:
        folder = folders[distribution]
        for module, table in modules.items():
            tree = read(folder, module)
            if module == "qos_event" and "event_handler" in {
                str(node.module).removeprefix("rclpy.")
                for node in tree.body
                if isinstance(node, ast.ImportFrom)
            }:  # a deprecated alias
                tree = read(folder, "event_handler")
            for name in set(names_in(tree, reexports=module in REEXPORTING)):
                table[name].append(distribution)
        for module, classes in CLASSES.items():
            bodies = [node for node in read(folder, module).body if isinstance(node, ast.ClassDef)]
            for member in {each for body in bodies if body.name in classes for each in members_of(body)}:
                members[classes[-1]][member].append(distribution)
    document = {
        "modules": {f"rclpy.{module}".rstrip("."): modules_table(found) for module, found in modules.items()},
        "members": {owner: members_table(found) for owner, found in members.items()},
    }
    print(yaml.safe_dump(document, sort_keys=False, width=116, default_flow_style=None), end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
