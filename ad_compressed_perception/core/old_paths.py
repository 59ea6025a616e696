# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Old import paths of modules, such as plug-ins use: accepted for one version, with a warning.

``old_paths.json`` has old packages, modules with their present place, and names that a module lost.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from ad_compressed_perception.core.renamed import warn_renamed

_PACKAGE = "ad_compressed_perception."


@cache
def renamed_paths() -> dict[str, Any]:
    """Return the table; it is read when something is imported that is not there."""
    table: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
    return table


class _PresentModule(Loader):
    """Fills an old module with the names, and so the very classes, of the present one."""

    def __init__(self, old: str) -> None:
        self._old = old

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None  # an ordinary module

    def exec_module(self, module: ModuleType) -> None:
        present = renamed_paths()["modules"].get(self._old)
        if present is None:  # a package whose modules moved
            return
        warn_renamed("module", module.__name__, _PACKAGE + present)
        names = vars(import_module(_PACKAGE + present))
        vars(module).update({name: value for name, value in names.items() if not name.startswith("__")})
        for name, place in renamed_paths()["names"].get(self._old, {}).items():
            home, _, attribute = place.partition(":")
            vars(module)[name] = getattr(import_module(_PACKAGE + home), attribute)


def find_spec(fullname: str) -> ModuleSpec | None:
    """Return how to load a module by its old path; None for all other names."""
    old = fullname.removeprefix(_PACKAGE)
    is_package = old in renamed_paths()["packages"]
    if not is_package and old not in renamed_paths()["modules"]:
        return None
    return ModuleSpec(fullname, _PresentModule(old), is_package=is_package)
