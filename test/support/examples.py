# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The packages in examples/, registered as an installation registers them: modules beside a dist-info."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from ad_compressed_perception.core import registry

EXAMPLES = Path(__file__).parents[2] / "examples"


def read_toml(path: Path) -> dict[str, Any]:
    """Return a TOML file; pip has a reader where Python 3.10 has none."""
    module = "tomllib" if sys.version_info >= (3, 11) else "pip._vendor.tomli"
    parsed: dict[str, Any] = import_module(module).loads(path.read_text("utf-8"))
    return parsed


@contextmanager
def registered(example: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install the module and the entry points of an example's pyproject.toml into an empty folder."""
    source = EXAMPLES / example
    project = read_toml(source / "pyproject.toml")
    name, modules = project["project"]["name"], project["tool"]["setuptools"]["py-modules"]
    info = folder / f"{name.replace('-', '_')}-{project['project']['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, entries in project["project"]["entry-points"].items():
        lines += [f"[{group}]", *(f"{key} = {target}" for key, target in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for module in modules:
        shutil.copy(source / f"{module}.py", folder)
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.syspath_prepend(str(folder))
    registry._targets.cache_clear()
    try:
        yield folder
    finally:
        registry._targets.cache_clear()
        for module in modules:
            sys.modules.pop(module, None)
