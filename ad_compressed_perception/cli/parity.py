# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp parity``: one model on every backend in every precision, in one interleaved run."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from ad_compressed_perception.cli import options as o

if TYPE_CHECKING:
    from ad_compressed_perception.report.schemas.parity import Parity


def parity(
    model_dir: o.ModelOrFile,
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="BAG:TOPIC|FOLDER",
            help="Camera frames to compare results on; noise by default, on which only raw outputs compare.",
        ),
    ] = None,
    backends: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these backends; all registered ones by default.")
    ] = None,
    precisions: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these: fp32, bf16, fp16, int8; all by default.")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VARIANT@BACKEND:OPTION=VALUE",
            help="One more cell, such as another provider or a server; may be repeated.",
        ),
    ] = None,
    convert: Annotated[
        bool, typer.Option(help="Make the files of runtimes that do not read the baseline's format.")
    ] = True,
    rounds: Annotated[int, typer.Option(min=1, max=1_000_000, help="How often each cell runs.")] = 50,
    threads: Annotated[int, typer.Option(min=0, help="Threads inside one inference.")] = 1,
    max_drop: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Largest loss of agreement of int8 and of variants.")
    ] = 0.05,
    max_bad_frames: o.MaxBadFrames = None,
    work: o.WorkToRead = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write report.json, report.md and report.html there.")
    ] = None,
    as_json: o.AsJson = False,
) -> None:
    """Compare every available backend and precision with ONNX Runtime in fp32: results, speed, load, memory.

    Float precisions must agree with it (F1 0.99, equal pixels 0.995, steering within 0.001 rad), int8 and
    variants within --max-drop. A cell that is wrong says why and has no speed; what is not installed is
    listed with what installs it. Exit status 3 where a cell is wrong.
    """
    from ad_compressed_perception.analysis.benchmark import parse_benchmark_variant
    from ad_compressed_perception.analysis.parity import run_parity
    from ad_compressed_perception.analysis.parity_cells import find_cells, given_cells
    from ad_compressed_perception.cli.benchmark import MAX_FRAMES
    from ad_compressed_perception.cli.exit_codes import ExitCode
    from ad_compressed_perception.cli.model_file import folder_of
    from ad_compressed_perception.cli.models import open_model
    from ad_compressed_perception.cli.progress_bar import ProgressBar
    from ad_compressed_perception.compression.runtime_files import make_cells, open_parity_frames
    from ad_compressed_perception.data.bad_frames import parse_limit
    from ad_compressed_perception.workspace.find import find_all

    manifest = open_model(folder_of(model_dir, work, frames), work, None)
    manifests = find_all(manifest, work)
    asked = (o.names_in(backends, "--backends"), o.names_in(precisions, "--precisions"))
    cells, missing = find_cells(manifests, manifest.baseline, threads, *asked)
    further = [parse_benchmark_variant(text) for text in also or ()]
    cells += given_cells(further, manifests, manifest.baseline, threads)
    images = open_parity_frames(frames, min(rounds, MAX_FRAMES), parse_limit(max_bad_frames))
    for sentence in images.warnings:
        print(f"warning: {sentence}", file=sys.stderr)
    with ProgressBar() as bar, TemporaryDirectory(prefix="adcp-parity-") as folder:
        if convert:
            made, lacking = make_cells(manifest, images, Path(folder), threads, asked, bar)
            cells, missing = [*cells, *made], [*missing, *lacking]
        found = run_parity(
            cells,
            missing,
            frames=images.compared,
            source=images.source,
            rounds=rounds,
            max_drop=max_drop,
            progress=bar,
        )
    if out is not None:
        _write(found, out)
    if as_json:
        print(found.to_json())
    else:
        _print(found)
    if any(one.status == "wrong" for one in found.cells.values()):
        raise typer.Exit(ExitCode.REJECTED)


def _write(found: Parity, folder: Path) -> None:
    from ad_compressed_perception.report.parity_markdown import render_parity

    found.write(folder / "report.json")
    rendered = render_parity(found)
    rendered.write_markdown(folder / "report.md")
    rendered.write_page(folder / "report.html")


def _print(found: Parity) -> None:
    from ad_compressed_perception.cli.output import new_table, table_console
    from ad_compressed_perception.report.kit.text import shown
    from ad_compressed_perception.report.parity_markdown import HEAD, cell_rows, reasons

    console = table_console()
    title = f"{found.model}: {found.rounds} rounds on {found.source}, {found.frames} frames"
    columns = [title if place < 5 else f">{title}" for place, title in enumerate(HEAD)]
    console.print(new_table(title, *columns, rows=cell_rows(found)))
    lines = [f"{name}: {why}" for name, why in reasons(found)]
    for one in found.missing:
        what = f"{one.backend} {one.precision}".strip()
        lines.append(f"not run: {what}: {one.why}" + (f": {one.install}" if one.install else ""))
    lines.append(
        f"Fastest that is right: {found.best or 'none is surely faster than the reference'}; of the baseline "
        f"in a float precision: {found.best_float or 'none'}. Speed-up against {found.reference}, "
        "inference alone; load and memory are of a process of its own."
    )
    for line in lines:
        console.print(shown(line), highlight=False, markup=False)
