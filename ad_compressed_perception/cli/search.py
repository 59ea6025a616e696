# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp search``: search for a recipe; also ``adcp compress --recipe auto``."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from ad_compressed_perception.cli import options as o
from ad_compressed_perception.cli.exit_codes import ExitCode, of_verdict

if TYPE_CHECKING:
    from ad_compressed_perception.compression.search.search import Request, SearchResult
    from ad_compressed_perception.core.manifest import Manifest
    from ad_compressed_perception.report.schemas.search import SearchReport


def search(
    model_dir: o.ModelOrFile,
    calibration: o.Calibration,
    budget: Annotated[
        str,
        typer.Option(
            metavar="TERMS",
            help="Limits on the variant, such as 'drop<=1%, p99<=20ms, size<=0.25, speed>=2x'.",
        ),
    ] = "drop<=5%",
    minutes: Annotated[float, typer.Option(min=0.1, help="How long to search.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Order of equally cheap candidates, and training.")] = 0,
    frames: o.CalibrationFrames = None,
    name: o.VariantName = None,
    work: o.WorkToWrite = None,
    in_place: o.InPlace = False,
    labels: Annotated[
        str | None, typer.Option(metavar="A,B", help="Compare these labels only; all of them by default.")
    ] = None,
    data: o.OptionalData = None,
    label_map: o.LabelMap = None,
    from_share: o.FromShare = 0.0,
    to_share: o.ToShare = 1.0,
    limit: o.LabeledLimit = None,
    tolerance_ms: o.Tolerance = o.TOLERANCE_MS,
    metric: Annotated[
        str | None,
        typer.Option(
            help="With --data: metric of adcp evaluate; map, miou, rmse_rad or accuracy by default."
        ),
    ] = None,
    train: Annotated[
        bool, typer.Option("--train/--no-train", help="Also prune and distill candidates.")
    ] = True,
    max_bad_frames: o.MaxBadFrames = None,
    as_json: o.AsJson = False,
) -> None:
    """Search for the fastest recipe within a budget by measurements on this computer, and compress by it.

    Candidates are compared on some frames; the best one is verified on others, as by adcp compress. With
    --data they are compared on half of the labels, and the best one is verified on the other half. The
    recipe, every candidate's figures and a plot are written to search/NAME/ in the work folder. After
    Ctrl-C the same command resumes from the measurements so far.

    Exit code 0: accepted, 3: rejected, or nothing is within the budget, 4: inconclusive, 1: error, 2: usage.
    """
    from ad_compressed_perception.cli.compress import check_target
    from ad_compressed_perception.cli.models import loadable_model
    from ad_compressed_perception.compression.search.budget import parse_budget
    from ad_compressed_perception.compression.search.search import NAME, Request
    from ad_compressed_perception.data.bad_frames import parse_limit

    check_target(work, in_place)
    max_bad = None if max_bad_frames is None else parse_limit(max_bad_frames)
    labeled = o.labeled_choice(data, label_map, (from_share, to_share), limit, tolerance_ms, max_bad)
    if labeled is None and metric is not None:
        raise typer.BadParameter("--metric belongs to --data")
    if labeled is not None and labels is not None:
        raise typer.BadParameter("--labels is about agreement; with --data name a metric with --metric")
    request = Request(
        source=calibration,
        budget=parse_budget(budget),
        minutes=minutes,
        frames=frames,
        name=NAME if name is None else name,
        work=work,
        in_place=in_place,
        seed=seed,
        verify={"labels": [label.strip() for label in labels.split(",")]} if labels else {},
        labeled=labeled,
        metric=metric,
        train=train,
        max_bad_frames=max_bad,
    )
    result = _run(loadable_model(model_dir, work, calibration, in_place=in_place), request)
    _show(result, _write(result), as_json=as_json)
    if result.compressed is None:
        raise typer.Exit(ExitCode.REJECTED)
    raise typer.Exit(of_verdict(result.compressed.verdict.status))


def _run(manifest: Manifest, request: Request) -> SearchResult:
    from ad_compressed_perception.cli.progress_bar import ProgressBar
    from ad_compressed_perception.compression.search.search import search as run_search

    end_s = monotonic() + 60.0 * request.minutes
    with ProgressBar() as bar:

        def show(step: str, done: int, total: int) -> None:
            left = max(0, round(end_s - monotonic()))
            bar(f"{step}, {left // 60}:{left % 60:02d} left of the search", done, total)

        try:
            return run_search(manifest, request, show)
        except KeyboardInterrupt:
            print("interrupted; the same command resumes from the measurements so far", file=sys.stderr)
            raise


def _write(result: SearchResult) -> SearchReport:
    """Write search.json with its plot and pages; return the document."""
    from ad_compressed_perception.compression.search.plot import write_front
    from ad_compressed_perception.compression.search.tables import search_report
    from ad_compressed_perception.compression.verification.rerender import render_again

    report = search_report(result, str(write_front(result, result.folder / "front.png")))
    report.write(result.folder / "search.json")
    render_again(result.folder / "search.json")
    return report


def _show(result: SearchResult, report: SearchReport, *, as_json: bool) -> None:
    from rich.console import Console

    from ad_compressed_perception.compression.search.tables import tables
    from ad_compressed_perception.compression.verification import terminal_output

    if as_json:
        print(report.to_json())
        return
    console = Console()
    verified = terminal_output.tables(result.compressed) if result.compressed is not None else ()
    for part in (*tables(result), *verified):
        console.print(part, highlight=False)
