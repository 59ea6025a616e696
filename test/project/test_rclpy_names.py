# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the two packages use of rclpy exists in every distribution, or only rclpy_compat.py uses it."""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
COMPATIBILITY = REPOSITORY / "ad_compressed_perception/nodes/rclpy_compat.py"
TABLE = yaml.safe_load(Path(__file__).with_name("rclpy_names.yaml").read_text())
ALL = ["humble", "jazzy", "kilted", "rolling"]
# Members of other classes that are called like one of rclpy that a distribution lacks.
OTHERS = {"_logger", "wait_for_node"}


def where(module: str, name: str) -> list[str]:
    """Return which distributions have a name; nothing where the table does not know it."""
    names = TABLE["modules"].get(module, {"everywhere": []})
    return ALL if name in names["everywhere"] else list(names.get(name, []))


def sources() -> Iterator[tuple[Path, ast.Module]]:
    """Yield the files that import rclpy, and what is in them."""
    for package in ("ad_compressed_perception", "ad_road_simulation"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            text = path.read_text("utf-8")
            if "rclpy" in text:
                yield path, ast.parse(text)


def imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield modules of rclpy and the names taken from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "rclpy":
            yield from ((str(node.module), alias.name) for alias in node.names)
        if isinstance(node, ast.Import):
            dotted = [alias.name for alias in node.names if alias.name.startswith("rclpy.")]
            assert not dotted, f"write 'from {dotted[0]} import NAME', which this test can compare"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rclpy":
            yield "rclpy", node.attr


def members(tree: ast.Module) -> Iterator[str]:
    """Yield the attributes that are used, and ``method(argument)`` for each argument given by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield from (f"{node.func.attr}({each.arg})" for each in node.keywords if each.arg)


def test_every_imported_name_exists_in_every_distribution() -> None:
    """Failed before: image_subscription.py imported rclpy.event_handler, which Humble does not have."""
    missing = [
        f"{path.relative_to(REPOSITORY)}: {module}.{name} is in {where(module, name)} only"
        for path, tree in sources()
        for module, name in imported(tree)
        if path != COMPATIBILITY and where(module, name) != ALL
    ]
    assert not missing, "use nodes/rclpy_compat.py, or see dev/rclpy_names.py for a name not listed yet"


def test_the_alternatives_of_the_compatibility_module_cover_every_distribution() -> None:
    """Its ``try`` and ``except`` import the same name from modules of which each distribution has one."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, name in imported(ast.parse(COMPATIBILITY.read_text())):
        found[name] |= set(where(module, name))
    assert found["SubscriptionEventCallbacks"] == set(ALL), "otherwise the test looks at nothing"
    assert {name: sorted(have) for name, have in found.items() if have != set(ALL)} == {}


def test_no_member_is_used_that_a_distribution_lacks() -> None:
    """Failed before: image_subscription.py called get_publisher_count(), which Humble does not have."""
    lacking = {name: have for owner in TABLE["members"].values() for name, have in owner.items()}
    assert lacking["get_publisher_count"] == ALL[1:], "otherwise the test looks at nothing"
    used = [
        f"{path.relative_to(REPOSITORY)}: {name} is in {lacking[name]} only"
        for path, tree in sources()
        for name in members(tree)
        if path != COMPATIBILITY and name in lacking and name not in OTHERS
    ]
    assert not used, "use nodes/rclpy_compat.py; or, where it is no member of rclpy, add it to OTHERS"


def test_the_handlers_of_signals_are_removed_nowhere() -> None:
    """Failed before: on Kilted rclpy.try_shutdown() does, and a second SIGTERM ended a closing node (-15)."""
    calls = [
        f"{path.relative_to(REPOSITORY)}: rclpy.{name}"
        for path, tree in sources()
        for module, name in imported(tree)
        if module == "rclpy" and name in ("shutdown", "try_shutdown")
    ]
    assert not calls, "call end_context() of nodes/rclpy_compat.py"


def installed_distribution() -> str:
    """Return the name of the column for the rclpy that is installed; skips where there is none."""
    pytest.importorskip("rclpy")
    distribution = os.environ.get("ROS_DISTRO", "")
    if distribution not in ALL:
        try:
            distribution = {"3": "humble", "7": "jazzy", "9": "kilted"}[version("ros-rclpy").split(".")[0]]
        except (PackageNotFoundError, KeyError):
            pytest.skip("this rclpy belongs to a distribution that the table does not have")
    return distribution


def stated() -> Iterator[tuple[str, str, list[str]]]:
    """Yield modules or classes, their public names, and which distributions have them."""
    for module, names in TABLE["modules"].items():
        yield from ((module, name, where(module, name)) for name in [*names["everywhere"], *names])
    for owner in ("Node", "Subscription"):
        for name, have in TABLE["members"][owner].items():
            if not name.startswith("_") and "(" not in name:
                yield f"rclpy.{owner.lower()}.{owner}", name, have


def find(dotted: str) -> Any:
    """Return a module or a class of one; an empty object where it does not exist."""
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        module, _, name = dotted.rpartition(".")
        return getattr(sys.modules.get(module), name, object())


def test_the_table_agrees_with_the_rclpy_that_is_installed() -> None:
    """Names and members of one column are compared with what Python finds."""
    distribution = installed_distribution()
    facts = [(dotted, name, have) for dotted, name, have in stated() if name != "everywhere"]
    assert len(facts) > 200
    wrong = [
        f"{dotted}.{name}"
        for dotted, name, have in facts
        if hasattr(find(dotted), name) != (distribution in have)
    ]
    assert wrong == []
