# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What has one place: options of the command, graph surgery, the type of progress."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "ad_compressed_perception"
# Their texts are commands: what `adcp import` proposes, what other programs are started with, what a report
# repeats, and where documents come from.
COMMANDS = re.compile(
    r"importing/(candidates/|choose|guesser|labeled_ranking|preparations|from_tensorflow)|search/(candidate|tables)"
    r"|launch_support/|nodes/bag_player|replay/(client|node_process|plan)|report/(schema|kit/page)"
    r"|data/bag_files|drift/manifest_references|targets/(device_script|readme)"
)
SURGERY = re.compile(r"make_node|make_tensor|CopyFrom|insert_before|add_constant|remove_dead_nodes")


def sources(folder: Path) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(folder.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text("utf-8"))


def texts(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield the texts of a module that are no docstrings."""
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node


def test_options_of_the_command_are_named_by_the_command_alone() -> None:
    """Failed before: who called a function was asked for --work, --data or --frames."""
    found = [
        f"{name}:{text.lineno}: {text.value}"
        for name, tree in sources(PACKAGE)
        if not name.startswith("cli/") and not COMMANDS.search(name)
        for text in texts(tree)
        if re.search(r"(?<![\w-])--[a-z][a-z-]+", str(text.value))
    ]
    assert found == []


def test_passes_are_shells_over_the_room_of_graphs() -> None:
    """Failed before: equalize_channels, quantize_weights and replace_activation edited graphs themselves."""
    called = [
        f"{name}:{node.lineno}: {node.func.attr}"
        for name, tree in sources(PACKAGE / "compression" / "passes")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and SURGERY.fullmatch(node.func.attr)
    ]
    assert called == []


def test_the_type_of_progress_is_imported_from_where_it_is() -> None:
    """Failed before: eight modules had it from the passes, which depends on more than they need."""
    elsewhere = [
        name
        for name, tree in sources(PACKAGE)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and any(each.name == "Advance" for each in node.names)
        and node.module != "ad_compressed_perception.core.progress"
    ]
    assert elsewhere == []
