# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp compress --recipe auto``: search for a recipe."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from ad_compressed_perception.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from ad_compressed_perception.compression.search.budget import Budget
    from ad_compressed_perception.compression.verification.labeled_check import LabeledChoice
    from ad_compressed_perception.core.manifest import Manifest
    from ad_compressed_perception.data.bad_frames import BadFrameLimit


def run_search(
    manifest: Manifest,
    calibration: str,
    *,
    budget: Budget,
    minutes: float,
    seed: int,
    frames: int | None,
    name: str | None,
    work: Path | None,
    in_place: bool,
    labels: str | None,
    labeled: LabeledChoice | None,
    metric: str | None,
    train: bool,
    max_bad_frames: BadFrameLimit | None,
    as_json: bool,
) -> NoReturn:
    """Search, print the results, and exit with the verdict's exit code.

    Raises:
        typer.Exit: always; 0 accepted, 3 rejected or nothing within the budget, 4 inconclusive.
        AdcpError: an invalid model or source.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    from ad_compressed_perception.compression.search.plot import write_front
    from ad_compressed_perception.compression.search.search import NAME, Request, search
    from ad_compressed_perception.compression.search.tables import as_dict, tables
    from ad_compressed_perception.compression.verification import terminal_output
    from ad_compressed_perception.compression.verification.rerender import render_again

    request = Request(
        source=calibration,
        budget=budget,
        minutes=minutes,
        frames=frames,
        name=name or NAME,
        work=work,
        in_place=in_place,
        seed=seed,
        verify={"labels": [label.strip() for label in labels.split(",")]} if labels else {},
        labeled=labeled,
        metric=metric,
        train=train,
        max_bad_frames=max_bad_frames,
    )
    if labeled is None and metric is not None:
        raise typer.BadParameter("--metric belongs to --data")
    if labeled is not None and labels is not None:
        raise typer.BadParameter("--labels is about agreement; with --data name a metric with --metric")
    started, total_s = monotonic(), 60.0 * minutes
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        overall = bar.add_task("search", total=total_s, left="")
        step = bar.add_task("", total=1, left="")

        def advance(what: str, done: int, total: int) -> None:
            spent = monotonic() - started
            left = max(0, round(total_s - spent))
            bar.update(overall, completed=min(spent, total_s), left=f"{left // 60}:{left % 60:02d} left")
            bar.update(step, description=what, completed=done, total=max(total, 1), left=f"{done} of {total}")

        try:
            result = search(manifest, request, advance)
        except KeyboardInterrupt:
            bar.stop()
            print("interrupted; the same command resumes from the measurements so far", file=sys.stderr)
            raise
    found: dict[str, Any] = as_dict(result)
    if result.compressed is not None:
        found["compressed"] = terminal_output.as_dict(result.compressed)
    plot = write_front(result, result.folder / "front.png")
    found["plot"] = str(plot)
    text = json.dumps(_plain(found), indent=2, allow_nan=False)
    (result.folder / "search.json").write_text(text + "\n", encoding="utf-8")
    render_again(result.folder / "search.json")
    if as_json:
        print(text)
    else:
        console = Console()
        for part in tables(result):
            console.print(part, highlight=False)
        if result.compressed is not None:
            for part in terminal_output.tables(result.compressed):
                console.print(part, highlight=False)
    if result.compressed is None:
        raise typer.Exit(ExitCode.REJECTED)
    exits = {"accepted": ExitCode.OK, "rejected": ExitCode.REJECTED, "inconclusive": ExitCode.INCONCLUSIVE}
    raise typer.Exit(exits[result.compressed.verdict.status])


def _plain(value: Any) -> Any:
    """Return a value with NaN and infinities, which JSON lacks, as None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value - value != 0.0:
        return None
    return value
