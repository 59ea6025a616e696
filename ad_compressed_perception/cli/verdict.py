# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp verdict``: the accept gate on outputs that a device wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ad_compressed_perception.cli import options as o
from ad_compressed_perception.cli.exit_codes import of_verdict
from ad_compressed_perception.cli.output import new_table, table_console


def verdict(
    outputs: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder of adcp export, with the device's outputs/ in it."),
    ],
    as_json: o.AsJson = False,
) -> None:
    """Judge a device's outputs on the reference frames by the gate of adcp compress, with the same report.

    Outputs that are missing, altered, or of another model or frame are refused by name. Exit code 0:
    accepted, 3: rejected, 4: inconclusive.
    """
    from ad_compressed_perception.cli.progress_bar import ProgressBar
    from ad_compressed_perception.compression.verification.terminal_output import agreement_rows
    from ad_compressed_perception.report.compression_markdown import figure_rows
    from ad_compressed_perception.targets.device_verdict import judge_outputs

    with ProgressBar() as bar:
        found = judge_outputs(outputs, bar)
    report = found.report
    if as_json:
        print(report.to_json())
        raise typer.Exit(of_verdict(report.gate.verdict.status))
    rows = [*figure_rows(report, shown=str), *agreement_rows(report)]
    title = f"{report.model}: {report.variant.name} on {report.variant.provider}"
    console = table_console()
    console.print(new_table(title, "figure", "float baseline", "device", "ratio or interval", rows=rows))
    lines = [f"verdict: {report.gate.verdict_text}"]
    if report.gate.verdict.status != "rejected":
        lines += [f"  - {reason}" for reason in report.gate.verdict.reasons]
    for line in [*lines, *report.notes, f"report: {found.folder / 'report.md'}"]:
        console.print(line, highlight=False, markup=False)
    raise typer.Exit(of_verdict(report.gate.verdict.status))
