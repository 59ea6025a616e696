# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checks a graph against a target's rules: which nodes fail, fall back or are slow, and what mends them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.manifest import file_sha256
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.packing.decompress import decompress
from ad_compressed_perception.report.schemas.target_check import TargetCheck, TargetFinding
from ad_compressed_perception.targets.facts import GraphFacts
from ad_compressed_perception.targets.rule import Consequence
from ad_compressed_perception.targets.rule_file import Target

if TYPE_CHECKING:
    from onnx import ModelProto

GRAVITY: Final[tuple[Consequence, ...]] = get_args(Consequence)


def check_graph(model: ModelProto, target: Target) -> list[TargetFinding]:
    """Return what a target's rules find, the gravest first, then in the order of the graph.

    Raises:
        ModelFileError: the shapes of the graph contradict each other.
    """
    facts = GraphFacts(model)
    order = {name: place for place, node in enumerate(facts.nodes) for name in (node.name, *node.output)}
    found = [
        TargetFinding(
            node=fault.node,
            operator=fault.operator,
            consequence=rule.consequence,
            rule=name,
            text=f"{fault.detail}: {rule.text}" if fault.detail else rule.text,
            mend=rule.remedy(fault),
            source=f"{rule.source.document}, {rule.source.section}",
            url=rule.source.url,
        )
        for name, rule in target.rules.items()
        for fault in rule.find(facts)
    ]
    return sorted(found, key=lambda one: (GRAVITY.index(one.consequence), order.get(one.node, -1)))


def check_file(path: Path, target: Target, model: str | None = None) -> TargetCheck:
    """Check an ONNX file, or a packed one; raise ModelFileError where it cannot be read.

    Args:
        path: the file.
        target: whose rules.
        model: name for the document; the file's by default.
    """
    if path.suffix == ".tflite":
        raise ModelFileError(f"{path}: rules are checked on ONNX graphs; check the model it was made from")
    graph = read_model(decompress(path))
    findings = check_graph(graph, target)
    return TargetCheck(
        model=model or path.name,
        file=str(path),
        sha256=file_sha256(path),
        target=target.name,
        title=target.title,
        rules=len(target.rules),
        nodes=len(GraphFacts(graph).nodes),
        counts=_counts(findings),
        findings=findings,
    )


def _counts(findings: list[TargetFinding]) -> dict[str, int]:
    """Return consequence to nodes, each node under its gravest."""
    gravest: dict[str, str] = {}
    for one in findings:
        gravest.setdefault(f"{one.operator} {one.node}", one.consequence)
    return {kind: list(gravest.values()).count(kind) for kind in GRAVITY}
