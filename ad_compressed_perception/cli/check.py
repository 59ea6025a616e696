# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp check``: whether a device's tool takes a model, and which of its nodes fall back there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ad_compressed_perception.cli import options as o
from ad_compressed_perception.cli.exit_codes import ExitCode
from ad_compressed_perception.cli.output import new_table, table_console

if TYPE_CHECKING:
    from ad_compressed_perception.report.schemas.target_check import TargetCheck, TargetFinding

_SHOWN_NODES = 6
TargetName = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="NAME",
        help="tensorrt10, tensorrt11, qnn, litert, openvino, onnxruntime, or that of another package.",
    ),
]
Rules = Annotated[
    Path | None, typer.Option("--rules", metavar="FILE", help="Rules of another target (YAML).")
]


def check(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL_DIR|FILE", help="Folder with model.yaml, or an ONNX file.")
    ],
    target: TargetName = None,
    rules: Rules = None,
    variant: Annotated[
        str | None, typer.Option(metavar="VARIANT", help="The variant; the baseline by default.")
    ] = None,
    work: o.WorkToRead = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the JSON document to this file, too.")
    ] = None,
    as_json: o.AsJson = False,
) -> None:
    """Name the nodes that a device's tool refuses, runs elsewhere or in float, or runs slowly.

    Each finding has the rule's public source and the pass that mends it. Nothing is run. Exit code 3 where
    a node fails, 0 otherwise: a node that falls back computes the same, and costs time.
    """
    from ad_compressed_perception.cli.models import open_model
    from ad_compressed_perception.core.manifest import MANIFEST_NAME
    from ad_compressed_perception.targets.check import check_file
    from ad_compressed_perception.targets.rule_file import load_target

    chosen = load_target(target, rules)
    if model.is_dir() or model.name == MANIFEST_NAME:
        manifest = open_model(model, work, variant)
        name = variant or manifest.baseline
        document = check_file(
            manifest.checked_path(name, allow_rejected=True), chosen, f"{manifest.name}/{name}"
        )
    elif variant is not None:
        raise typer.BadParameter("--variant needs a model folder, not a file")
    else:
        document = check_file(model, chosen)
    if out is not None:
        document.write(out)
    if as_json:
        print(document.to_json())
    else:
        _print(document)
    raise typer.Exit(ExitCode.REJECTED if document.counts["fails"] else ExitCode.OK)


def _print(document: TargetCheck) -> None:
    console = table_console()
    rows = [_row(group) for group in _grouped(document)]
    if rows:
        table = new_table(
            f"{document.model} on {document.title}", *("consequence", "nodes", "why", "mended by", "source"),
            rows=rows,
        )  # fmt: skip
        console.print(table)
    console.print(_summary(document), highlight=False, markup=False)


def _grouped(document: TargetCheck) -> list[list[TargetFinding]]:
    """Return the findings of one rule, operator and remedy together, in order of their first."""
    groups: dict[tuple[str, str, str], list[TargetFinding]] = {}
    for one in document.findings:
        groups.setdefault((one.rule, one.operator, one.mend), []).append(one)
    return list(groups.values())


def _row(group: list[TargetFinding]) -> list[str]:
    first = group[0]
    names = [one.node for one in group[:_SHOWN_NODES]]
    more = f" and {len(group) - _SHOWN_NODES} more (--json)" if len(group) > _SHOWN_NODES else ""
    nodes = f"{len(group)} {first.operator}: {', '.join(names)}{more}"
    return [first.consequence.replace("_", " "), nodes, first.text, first.mend, first.source]


def _summary(document: TargetCheck) -> str:
    counts = document.counts
    return (
        f"{document.model} on {document.target}: of {document.nodes} nodes {counts['fails']} fail, "
        f"{counts['falls_back']} fall back, {counts['slower']} are slower ({document.rules} rules)"
    )
