# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The plan of a replay: tasks, models and variants, and the nodes that run them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from secrets import token_hex
from typing import Any

import yaml

from ad_compressed_perception.core.errors import DataError, ManifestError
from ad_compressed_perception.core.manifest import MANIFEST_NAME, Manifest, Verdict, load_manifest
from ad_compressed_perception.core.resources import config_folder
from ad_compressed_perception.core.task_names import NO_NODE, RAW, TASK_NAMES
from ad_compressed_perception.workspace.find import find_all

PACKAGE = "ad_compressed_perception"
BASELINE = "baseline"
"""Name of a task's baseline in the report, whatever its manifest calls it."""


@dataclass(frozen=True, eq=False)
class ReplayNode:
    """One variant of one task's model as a node.

    Attributes:
        task: task name.
        name: name in the report: ``baseline`` or the variant's name.
        manifest: the model.
        variant: the variant's name in the manifest.
        node: fully qualified node name.
    """

    task: str
    name: str
    manifest: Manifest
    variant: str
    node: str

    @property
    def verdict(self) -> Verdict | None:
        """The accept gate's verdict on the variant."""
        return self.manifest.variant(self.variant).verdict

    @property
    def namespace(self) -> str:
        """The node's namespace without slashes, the monitor's name of the variant."""
        return self.node.split("/")[-2]

    @property
    def topic(self) -> str:
        """The node's name without the namespace of the replay, as a reader knows it."""
        return f"/{self.namespace}/{self.node.rpartition('/')[2]}"

    @property
    def image_topic(self) -> str:
        """Topic of raw images of this node alone; compressed ones come on ``/compressed`` below it."""
        return f"{self.node}/image"


@dataclass(frozen=True)
class ReplayPlan:
    """Every node of a replay, and notes on the selection.

    Attributes:
        nodes: by task, the baseline of a task first.
        notes: sentences for the report.
        namespace: of all nodes, topics and services of the replay; random, so that nothing else has them.
    """

    nodes: tuple[ReplayNode, ...]
    notes: tuple[str, ...] = ()
    namespace: str = ""
    variants: Mapping[str, Sequence[str]] = field(init=False)

    def __post_init__(self) -> None:
        """Group the names by task."""
        variants: dict[str, list[str]] = {}
        for node in self.nodes:
            variants.setdefault(node.task, []).append(node.name)
        object.__setattr__(self, "variants", variants)

    def without_namespace(self, text: str) -> str:
        """Return a text with the names of the nodes as a reader knows them."""
        return text.replace(self.namespace, "") if self.namespace else text

    def node(self, task: str, name: str) -> ReplayNode:
        """Return the node of a task's variant, or of the variant of a head ``TASK.HEAD``."""
        task = task.partition(".")[0]
        return next(node for node in self.nodes if (node.task, node.name) == (task, name))

    def manifest(self, task: str, name: str) -> Manifest:
        """Return what describes the results of a task's variant: the model, or a head ``TASK.HEAD`` of it."""
        head, manifest = task.partition(".")[2], self.node(task, name).manifest
        return manifest.head(head) if head else manifest

    def compared(self, task: str) -> dict[str, str]:
        """Return what is compared of a task, with the task that its results are of: itself, or its heads."""
        heads = heads_of(self.node(task, BASELINE).manifest)
        if not heads:
            return {task: task}
        return {f"{task}.{head}": kind for head, kind in heads.items() if kind != RAW}


def reference_models() -> list[Path]:
    """Return the model folders that ship with the package; raise DataError where there are none."""
    folder = config_folder("reference_models")
    found = sorted(path.parent for path in folder.glob(f"*/{MANIFEST_NAME}")) if folder else []
    if not found:
        raise DataError("the reference models are not installed; name model folders")
    return found


def make_plan(
    models: Sequence[Path],
    *,
    work: Path | None = None,
    tasks: Sequence[str] | None = None,
    variants: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    allow_rejected: bool = False,
) -> ReplayPlan:
    """Choose the nodes and check every file they will load.

    Args:
        models: model folders, at most one a task.
        work: work folder with compressed variants.
        tasks: those to run; None is every task there is a model for.
        variants: those to compare with the baseline, which always takes part, of all tasks or task by
            task; None is all there are.
        allow_rejected: include variants their gate rejected.

    Raises:
        AdcpError: an unknown task or variant, two models of a task, a missing or altered file, a
            rejected variant requested by name.
    """
    unknown = [task for task in tasks or () if task not in TASK_NAMES]
    if unknown:
        raise DataError(f"unknown task {unknown[0]!r}; known: {', '.join(TASK_NAMES)}")
    chosen: dict[str, Manifest] = {}
    owners: dict[str, dict[str, Manifest]] = {}
    for path in models:
        manifest = load_manifest(path)
        if tasks and manifest.task not in tasks:
            continue
        if manifest.task == RAW:
            raise ManifestError(f"{path}: {NO_NODE}")
        if manifest.task in chosen:
            raise ManifestError(
                f"two models for task {manifest.task}: {chosen[manifest.task].folder} and {path}; name one"
            )
        chosen[manifest.task] = manifest
        owners[manifest.task] = find_all(manifest, work)
    missing = [task for task in tasks or () if task not in chosen]
    if missing:
        raise ManifestError(f"no model for task {missing[0]} among: {', '.join(map(str, models))}")
    if not chosen:
        raise ManifestError("no model to run: name model folders")
    own = f"/adcp_replay_{token_hex(4)}"
    nodes: list[ReplayNode] = []
    notes: list[str] = []
    available: set[str] = set()
    for task in TASK_NAMES:
        if task in chosen:
            manifest = chosen[task]
            requested = variants.get(task) if isinstance(variants, Mapping) else variants
            nodes += _task_nodes(manifest, owners[task], requested, allow_rejected, notes)
            nodes = [replace(node, node=own + node.node) if node.task == task else node for node in nodes]
            available |= {node.name for node in nodes} | {manifest.baseline, BASELINE}
    named = variants.values() if isinstance(variants, Mapping) else [variants or ()]
    for name in chain.from_iterable(named):
        if name not in available:
            known = sorted({each for names in owners.values() for each in names})
            raise ManifestError(
                f"no model has a variant {name!r}; there are: {', '.join(known)}. "
                "adcp compress makes variants"
            )
    full_names = [node.node for node in nodes]
    for node in nodes:
        if full_names.count(node.node) > 1:
            raise ManifestError(f"two variants of task {node.task} become the same node {node.node}")
    return ReplayPlan(tuple(nodes), tuple(notes), own)


def write_parameters(
    plan: ReplayPlan, path: Path, *, compressed: bool, threads: int, allow_rejected: bool
) -> None:
    """Write the parameter file of the ``compose`` process that runs the plan's nodes.

    Args:
        plan: the nodes.
        path: file to write.
        compressed: whether the images are CompressedImage.
        threads: threads inside one inference.
        allow_rejected: let the nodes load variants their gate rejected.
    """
    entries = [f"{node.task}_node:{node.node}" for node in plan.nodes]
    document: dict[str, Any] = {f"{plan.namespace}/compose": {"ros__parameters": {"nodes": entries}}}
    for node in plan.nodes:
        document[node.node] = {
            "ros__parameters": {
                "model": str(node.manifest.folder),
                "variant": node.variant,
                "allow_rejected": allow_rejected,
                "threads": threads,
                "transport": "compressed" if compressed else "raw",
                "qos_reliability": "reliable",
                "age_reference": "publish_time",
                # The next frame is sent when the timing of the last one has come.
                "timing_period_s": 0.0,
                # The replay configures the nodes one by one, so that it can report why one refuses.
                "autostart": False,
            }
        }
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def remapping_arguments(namespace: str) -> list[str]:
    """Return the ROS arguments that give each node of the process topics of its own, global ones too."""
    rules = ["image:=~/image", "image/compressed:=~/image/compressed", f"compose:__ns:={namespace}"]
    rules += global_remappings(namespace)
    return [*(word for rule in rules for word in ("-r", rule)), "--disable-rosout-logs"]


def global_remappings(namespace: str) -> list[str]:
    """Return the rules that move topics of a fixed name, which a running car has too, into the namespace."""
    return [f"/{name}:={namespace}/{name}" for name in ("diagnostics", "parameter_events")]


def parse_deadlines(entries: Sequence[str], tasks: Sequence[str]) -> dict[str, float]:
    """Return task to deadline in milliseconds from entries ``50`` (all tasks) or ``detection=50``.

    Raises:
        DataError: a value that is no positive number, or a task that does not run.
    """
    deadlines: dict[str, float] = {}
    for entry in entries:
        task, equals, value = entry.rpartition("=")
        try:
            deadline_ms = float(value)
        except ValueError:
            deadline_ms = 0.0
        if not 0.0 < deadline_ms < float("inf"):
            raise DataError(f"deadline {entry!r}: expected milliseconds above 0, or TASK=MILLISECONDS")
        if equals and task not in tasks:
            raise DataError(f"deadline {entry!r}: task {task!r} does not run; running: {', '.join(tasks)}")
        deadlines |= dict.fromkeys([task] if equals else tasks, deadline_ms)
    return deadlines


def _task_nodes(
    manifest: Manifest,
    owners: Mapping[str, Manifest],
    requested: Sequence[str] | None,
    allow_rejected: bool,
    notes: list[str],
) -> list[ReplayNode]:
    others = [name for name in owners if name != manifest.baseline]
    if requested is not None:
        absent = [name for name in requested if name not in (*owners, BASELINE)]
        notes += [f"{manifest.task}: {manifest.name} has no variant {name}." for name in absent]
        others = [name for name in others if name in requested]
    nodes = [_planned(manifest.task, BASELINE, manifest, manifest.baseline)]
    nodes[0].manifest.checked_path(manifest.baseline, allow_rejected=allow_rejected)
    for name in others:
        model = owners[name]
        verdict = model.variant(name).verdict
        rejected = verdict is not None and verdict.status == "rejected"
        if rejected and not allow_rejected and requested is None:
            notes.append(
                f"{manifest.task}: variant {name} was rejected by its accept gate and left out; "
                "allow_rejected runs it."
            )
            continue
        model.checked_path(name, allow_rejected=allow_rejected)
        if heads_of(model) != heads_of(manifest):
            raise ManifestError(
                f"{model.folder}: variant {name} has {_heads_text(model)}, the baseline in {manifest.folder} "
                f"has {_heads_text(manifest)}: they cannot be compared head by head"
            )
        nodes.append(_planned(manifest.task, name, model, name))
    notes += [
        f"{manifest.task}: head {head} is of task raw: no node publishes it, and it is not compared here."
        for head, kind in heads_of(manifest).items()
        if kind == RAW
    ]
    if len(nodes) == 1:
        notes.append(
            f"{manifest.task}: no compressed variant of {manifest.name} ran; adcp compress makes one."
        )
    return nodes


def heads_of(manifest: Manifest) -> dict[str, str]:
    """Return head to task, of a model with several."""
    return {head: each.task for head, each in (manifest.outputs or {}).items()}


def _heads_text(manifest: Manifest) -> str:
    return ", ".join(f"{head} ({task})" for head, task in heads_of(manifest).items()) or "one task"


def _planned(task: str, name: str, manifest: Manifest, variant: str) -> ReplayNode:
    if name == BASELINE != variant and BASELINE in manifest.variants:
        raise ManifestError(
            f"model {manifest.name!r} has a variant named {BASELINE!r} that is not its baseline "
            f"({variant!r}); rename it"
        )
    # ROS names hold letters, digits and underscores only and begin with no digit.
    namespace = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if not namespace[0].isalpha():
        namespace = f"v_{namespace}"
    return ReplayNode(task, name, manifest, variant, f"/{namespace}/{task}")
