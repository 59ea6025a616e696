# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Finds plug-ins of this and of other packages by their entry points."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from ad_compressed_perception.core.one_line import shorten
from ad_compressed_perception.core.renamed import warn_renamed

BACKENDS = "ad_compressed_perception.backends"
DECODERS = "ad_compressed_perception.decoders"
PASSES = "ad_compressed_perception.passes"
NODES = "ad_compressed_perception.nodes"
VERBS = "ad_compressed_perception.verbs"
FRAME_SOURCES = "ad_compressed_perception.frame_sources"
REPORTS = "ad_compressed_perception.reports"
TARGETS = "ad_compressed_perception.targets"

# Where the table PLUGINS of a group's own plug-ins is, so that an uninstalled checkout works too; those of
# other packages come by entry points. A table RENAMED beside it has old names, accepted for one version.
_TABLES = {
    BACKENDS: "ad_compressed_perception.backends",
    DECODERS: "ad_compressed_perception.tasks.decoders",
    NODES: "ad_compressed_perception.nodes",
    PASSES: "ad_compressed_perception.compression.passes",
    REPORTS: "ad_compressed_perception.compression.report_kinds",
    VERBS: "ad_compressed_perception.cli",
}
_KINDS = {
    BACKENDS: "backend",
    DECODERS: "decoder",
    PASSES: "pass",
    NODES: "node",
    VERBS: "verb",
    FRAME_SOURCES: "frame source",
    REPORTS: "kind of report",
    TARGETS: "target",
}


def own_plugins(group: str) -> dict[str, str]:
    """Return name and ``module:class`` of this package's own plug-ins of a group."""
    return dict(import_module(_TABLES[group]).PLUGINS) if group in _TABLES else {}


def renamed_plugins(group: str) -> dict[str, str]:
    """Return old and present names of this package's own plug-ins of a group."""
    return dict(getattr(import_module(_TABLES[group]), "RENAMED", {})) if group in _TABLES else {}


@cache
def _targets(group: str) -> dict[str, str]:
    installed = {entry.name: entry.value for entry in entry_points(group=group)}
    return {**installed, **own_plugins(group)}


def names(group: str) -> list[str]:
    """Names of all plug-ins of a group, sorted."""
    return sorted(_targets(group))


def find(group: str, name: str, error: type[Exception]) -> Any:
    """Import the plug-in ``name`` of a group; raise ``error`` naming the known ones."""
    kind = _KINDS.get(group, group.rsplit(".", 1)[-1])
    own = own_plugins(group)
    # Reading the entry points of all installed packages takes its time at a node's start.
    if name not in own and name not in _targets(group) and name in renamed_plugins(group):
        present = renamed_plugins(group)[name]
        warn_renamed(kind, name, present)
        name = present
    target = own.get(name) or _targets(group).get(name)
    if target is None:
        raise error(f"unknown {kind} {shorten(repr(name))}; known: {', '.join(names(group))}")
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except Exception as cause:  # whatever another package does while it is imported
        raise error(f"{kind} {name!r} ({target}) cannot be imported: {cause}") from cause
